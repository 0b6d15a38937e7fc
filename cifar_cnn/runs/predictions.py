"""Stored predictions of a network, so that reports need not compute them again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from cifar_cnn.files import replacing


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network on a set of images.

    Attributes:
        logits: float32, (N, num_classes), with test-time augmentation if it was enabled.
        labels: int64, (N,): the true classes.
        indices: int64, (N,): the predicted images in ascending order; None for all.
        step: the step of the weights; None if it was not recorded.
    """

    logits: Tensor
    labels: Tensor
    indices: Tensor | None = None
    step: int | None = None

    @property
    def probabilities(self) -> Tensor:
        """(N, num_classes)."""
        return self.logits.softmax(1)

    @property
    def classes(self) -> Tensor:
        """The most probable class of each image: int64, (N,)."""
        return self.logits.argmax(1)

    def save(self, path: Path) -> None:
        """Write an .npz file.

        Raises:
            OSError: the file cannot be written.
        """
        with replacing(path) as file:
            arrays: dict[str, Any] = {"logits": self.logits.numpy(), "labels": self.labels.numpy()}
            if self.indices is not None:
                arrays["indices"] = self.indices.numpy()
            if self.step is not None:
                arrays["step"] = np.array(self.step)
            np.savez(file, **arrays)


def load_predictions(path: Path, num_classes: int) -> Predictions | None:
    """Read what ``save`` or :class:`cifar_cnn.callbacks.predictions.StorePredictions` wrote; None if there is nothing,
    or it is damaged or of other classes."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = Predictions(
                torch.from_numpy(arrays["logits"]),
                torch.from_numpy(arrays["labels"]),
                torch.from_numpy(arrays["indices"]) if "indices" in arrays else None,
                int(arrays["step"]) if "step" in arrays else None,
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    whole = len(found.labels) > 0 and found.logits.shape == (len(found.labels), num_classes)
    return found if whole else None
