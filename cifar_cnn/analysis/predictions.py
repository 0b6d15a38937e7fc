"""What a network answered on a set of images, kept so that reports and comparisons need not ask it again."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Predictions:
    """The answers.

    Attributes:
        logits: float32, (N, num_classes), with test-time augmentation if the network has it.
        labels: int64, (N,): the true classes.
        fingerprint: of the network that gave them.
    """

    logits: Tensor
    labels: Tensor
    fingerprint: str

    @property
    def probabilities(self) -> Tensor:
        """(N, num_classes)."""
        return self.logits.softmax(1)

    @property
    def classes(self) -> Tensor:
        """The likeliest class of each image: int64, (N,)."""
        return self.logits.argmax(1)

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return (self.classes == self.labels).float().mean().item()

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        with path.open("wb") as file:
            np.savez(file, logits=self.logits.numpy(), labels=self.labels.numpy(), fingerprint=self.fingerprint)


def load_predictions(path: Path, network: nn.Module) -> Predictions | None:
    """Read what ``Predictions.save`` wrote; None if there is nothing, or it is another network's or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            logits, labels = torch.from_numpy(arrays["logits"]), torch.from_numpy(arrays["labels"])
            found = Predictions(logits, labels, str(arrays["fingerprint"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    whole = logits.ndim == 2 and labels.shape == logits.shape[:1] and len(labels) > 0
    return found if whole and found.fingerprint == fingerprint(network) else None


def fingerprint(network: nn.Module) -> str:
    """A short name of a network's weights: another after any training, the same wherever its files are copied to."""
    value = 0
    for tensor in network.state_dict().values():
        # As float32, which bfloat16 weights become when their checkpoint is loaded.
        value = zlib.crc32(tensor.detach().float().cpu().contiguous().numpy(), value)
    return f"{value:08x}"
