"""A trained network as a checkpoint holds it: weights, classes, image size and normalisation."""

import copy
import logging
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.errors import InputError
from cifar_cnn.hardware import best_precision
from cifar_cnn.runs import kept_code, trained_as
from cifar_cnn.runs.contents import load_weights
from cifar_cnn.runs.folders import LAST, PREVIOUS
from cifar_cnn.trust import names as trust

log = logging.getLogger("cifar_cnn")

_MAP = os.name != "nt"  # a checkpoint is mapped into memory, unless Windows would then not let it be replaced


@dataclass(frozen=True)
class Trained:
    """A network ready for use.

    Attributes:
        classifier: in eval mode, on ``device``.
        class_names: in the order of the logits.
        image_size: pixels a side that it was trained on.
        mean: per channel, of the images in [0, 1].
        std: likewise.
        precision: that it was trained in, as the Trainer names it.
    """

    classifier: ImageClassifier
    class_names: tuple[str, ...]
    image_size: int
    mean: Tensor
    std: Tensor
    precision: str = "32-true"

    def probabilities(self, images: Tensor) -> Tensor:
        """From uint8 images (N, 3, image_size, image_size) to probabilities (N, num_classes), on the CPU.

        With test-time augmentation, if the run was configured with it.
        """
        return self.logits(images).softmax(1)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """From uint8 images (N, 3, image_size, image_size) to logits (N, num_classes), float32, on the CPU.

        With test-time augmentation, if the run was configured with it.
        """
        device = self.classifier.device
        pixels = normalize(images.to(device), self.mean, self.std)
        # What was trained in bfloat16 is as good in it, and only where that is faster.
        mixed = self.precision == best_precision(device.type) == "bf16-mixed"
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            logits = self.classifier.logits_with_tta(pixels)
        return logits.float().cpu()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project without running anything that is in it.

    Raises:
        InputError: it is damaged, not of this project, or holds anything but plain data and tensors.
    """
    keys = {
        "state_dict",
        "global_step",
        "hyper_parameters",
        "datamodule_hyper_parameters",
        CIFAR10DataModule.__qualname__,
    }
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(damaged)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=_MAP)
        if missing := keys - content.keys():
            raise KeyError(", ".join(sorted(missing)))
        groups = [content[group] for group in ("hyper_parameters", "datamodule_hyper_parameters")]
        for group in groups:
            group.pop("_instantiator", None)  # a function's name, which Lightning would import and call
        content.setdefault("first_step", content["global_step"])  # of version 0.1.0
        int(content["global_step"]), int(content["first_step"])
    except Exception as error:  # a damaged file can fail in a hundred ways
        reason = f"it lacks {error}" if isinstance(error, KeyError) else type(error).__name__
        raise InputError(
            f"{path} is not a checkpoint of this project, or is damaged ({reason}); nothing in it was run"
        ) from error
    return content


class Checkpoint(NamedTuple):
    """A checkpoint that has been read.

    Attributes:
        path: of the file.
        content: plain data and tensors.
    """

    path: Path
    content: dict[str, Any]


def read_to_resume(path: Path) -> Checkpoint:
    """Read a checkpoint that a run is resumed from; where a ``last.ckpt`` is damaged, the one before it.

    Raises:
        InputError: see :func:`read_checkpoint`.
    """
    try:
        return Checkpoint(path, read_checkpoint(path))
    except InputError as error:
        previous = path.with_name(PREVIOUS)
        if path.name != LAST or not previous.is_file():
            raise
        content = read_checkpoint(previous)
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            log.warning("%s: going on from %s, of step %d", error, previous.name, content["global_step"])
        return Checkpoint(previous, content)


def load_trained(path: Path, content: dict[str, Any] | None = None, backbone: nn.Module | None = None) -> Trained:
    """Load a checkpoint, on the GPU if there is one.

    Args:
        path: of the checkpoint.
        content: what has been read of it already.
        backbone: the network, where the checkpoint does not name it; it is copied.

    Raises:
        InputError: see :func:`read_checkpoint`.
    """
    if content is None:
        content = read_checkpoint(path)
        kept_code.compare(path, content)
    classifier = _made(path, content) if backbone is None else _made_of(backbone, content)
    load_weights(classifier, content)
    classifier.setup("predict")
    classifier.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    data = content[CIFAR10DataModule.__qualname__]
    return Trained(
        classifier,
        tuple(data["class_names"]),
        data["image_size"],
        torch.tensor(data["mean"]),
        torch.tensor(data["std"]),
        content.get("precision", "32-true"),
    )


def _made(path: Path, content: dict[str, Any]) -> ImageClassifier:
    """The classifier that a checkpoint names."""
    cls = trained_as.classifier_class(content)
    trained_as.fit_to(cls, content)
    if "backbone" not in content["hyper_parameters"]:
        reason = content.get("not_recorded", {}).get("backbone", "it was given as a Python object")
        raise InputError(
            f"{path} does not say how its network is made ({reason}): load it in Python, with "
            "load_run(folder, backbone=...)"
        )
    # Compiling takes longer than what is done with the network here, and hides its layers.
    hyper_parameters = {**content["hyper_parameters"], "compile": False}
    try:
        return trust.instantiate(cls, hyper_parameters, content)
    except (Exception, SystemExit) as error:  # jsonargparse's, for what is no network or has other arguments
        raise InputError(f"{path} names a network that cannot be made here: {trust.reason(error)}") from error


def _made_of(backbone: nn.Module, content: dict[str, Any]) -> ImageClassifier:
    """A classifier of a network that was given."""
    names = ("num_classes", "tta", "channels_last")
    arguments = {name: value for name, value in content["hyper_parameters"].items() if name in names}
    return ImageClassifier(copy.deepcopy(backbone), **arguments)
