"""Load a trained network from a checkpoint, with its classes, image size and normalization."""

import copy
import logging
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.tables import printable_values
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.hardware import best_precision
from cifar_cnn.runs import kept_code, trained_as
from cifar_cnn.runs.contents import check_weights, load_weights
from cifar_cnn.runs.folders import LAST, PREVIOUS
from cifar_cnn.runs.schemas import CheckpointContent
from cifar_cnn.runs.typed import mismatch
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import ownership

log = logging.getLogger("cifar_cnn")

_MAP = os.name != "nt"  # map checkpoints into memory; Windows would not allow a mapped file to be replaced


@dataclass(frozen=True)
class Trained:
    """A trained network that is ready for use.

    Attributes:
        classifier: the classifier, in eval mode.
        class_names: names of the classes, in the order of the logits.
        image_size: side of the training images, in pixels.
        mean: mean per channel, for images in [0, 1].
        std: standard deviation per channel, for images in [0, 1].
        precision: the Trainer's precision during training.
    """

    classifier: ImageClassifier
    class_names: tuple[str, ...]
    image_size: int
    mean: Tensor
    std: Tensor
    precision: str = "32-true"

    @property
    def channels(self) -> int:
        """The number of channels of the images."""
        return len(self.mean)

    def probabilities(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, channels, image_size, image_size) to probabilities (N, num_classes), on the CPU.

        With test-time augmentation, if the run was configured with it.
        """
        return self.logits(images).softmax(1)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, channels, image_size, image_size) to float32 logits (N, num_classes), on the CPU.

        With test-time augmentation, if the run was configured with it.
        """
        device = self.classifier.device
        pixels = normalize(images.to(device), self.mean, self.std)
        with autocast(self.precision, device):
            logits = self.classifier.logits_with_tta(pixels)
        if logits.shape[1] != len(self.class_names):
            raise InputError(
                f"the network has {logits.shape[1]} outputs, the checkpoint {len(self.class_names)} class names"
            )
        return logits.float().cpu()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a trained network is applied to images.

    A network trained in bfloat16 loses no accuracy in it; bfloat16 is used only where it is faster.

    Args:
        precision: the Trainer's precision during training.
        device: device of the images.
    """
    mixed = precision == best_precision(device.type) == "bf16-mixed"
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project without running any code from it.

    Raises:
        InputError: the file is damaged, does not belong to this project, or holds more than plain data and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive)
            if damaged := archive.testzip():  # torch.load does not check the checksums
                raise zipfile.BadZipFile(damaged)
        content = printable_values(torch.load(path, map_location="cpu", weights_only=True, mmap=_MAP))
        _check_tensors(content, path.stat().st_size)
    except Exception as error:  # a damaged file can fail in many ways
        raise _not_a_checkpoint(path, type(error).__name__) from error
    return checked(path, content)


def checked(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Check the fields of a checkpoint's content; remove what Lightning would import and call.

    Args:
        path: path of the file, for the message.
        content: plain data and tensors, changed in place.

    Raises:
        InputError: a field is missing or wrong.
    """
    if line := mismatch(content, CheckpointContent) or _data_mismatch(content):
        raise _not_a_checkpoint(path, line)
    for group in ("hyper_parameters", "datamodule_hyper_parameters"):
        content[group].pop("_instantiator", None)  # a function's name, which Lightning would import and call
    content.setdefault("first_step", content["global_step"])  # a checkpoint of Lightning's own Trainer has none
    return content


def _check_sizes(archive: zipfile.ZipFile) -> None:
    """Check that an archive takes no more memory than its file: torch does not compress checkpoints."""
    for part in archive.infolist():
        if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
            raise zipfile.BadZipFile(part.filename)
        if part.filename.endswith("data.pkl") and b"bytearray" in archive.read(part):
            raise pickle.UnpicklingError("bytearray")  # the only allowed type that a few bytes can make huge


def _check_tensors(value: Any, most: int) -> None:
    """Check that no tensor has more bytes than the file: with a stride of 0, one value fills a tensor of any size."""
    if isinstance(value, Tensor) and value.nbytes > most:
        raise ValueError("tensor")
    if isinstance(value, (Mapping, list, tuple)):
        for each in value.values() if isinstance(value, Mapping) else value:
            _check_tensors(each, most)


def _not_a_checkpoint(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is not a checkpoint of this project, or is damaged ({reason}); no code from it was run")


def _data_mismatch(content: dict[str, Any]) -> str | None:
    """A line on contradictory numbers of classes or channels in a checkpoint; None if there are none."""
    data, classes = content[CIFAR10DataModule.__qualname__], content["hyper_parameters"].get("num_classes")
    if len(data["mean"]) != len(data["std"]):
        return f"mean has {len(data['mean'])} numbers, std {len(data['std'])}"
    if classes is not None and classes != len(data["class_names"]):
        return f"class_names has {len(data['class_names'])} names, num_classes is {classes!r:.20}"
    return None


class Checkpoint(NamedTuple):
    """A checkpoint and its content.

    Attributes:
        path: path of the file.
        content: its content, plain data and tensors.
    """

    path: Path
    content: dict[str, Any]


def read_to_resume(path: Path) -> Checkpoint:
    """Read the checkpoint to resume from; if ``last.ckpt`` is damaged, read the one before it.

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
            log.warning("%s: resuming from %s (step %d)", error, previous.name, content["global_step"])
        return Checkpoint(previous, content)


def load_trained(path: Path, content: dict[str, Any] | None = None, backbone: nn.Module | None = None) -> Trained:
    """Load a checkpoint, on the GPU if there is one.

    Args:
        path: path of the checkpoint.
        content: its content, if it has been read already.
        backbone: the network, if it cannot be rebuilt from the checkpoint; it is copied.

    Raises:
        InputError: see :func:`read_checkpoint`.
    """
    if content is None:
        content = read_checkpoint(path)
        kept_code.compare(path, content)
    classifier = _rebuilt(path, content) if backbone is None else _with_backbone(backbone, content)
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


def _rebuilt(path: Path, content: dict[str, Any]) -> ImageClassifier:
    """Create the classifier that a checkpoint describes."""
    cls = trained_as.classifier_class(content)
    trained_as.fit_to(cls, content)
    if "backbone" not in content["hyper_parameters"]:
        reason = content.get("not_recorded", {}).get("backbone", "it was given as a Python object")
        raise InputError(
            f"{path} does not describe its network ({reason}): load it in Python with load_run(folder, backbone=...)"
        )
    # Compiling would take longer than it saves here, and would hide the layers.
    hyper_parameters = {**content["hyper_parameters"], "compile": False}
    check_network(cls, content)
    try:
        return trust.instantiate(cls, hyper_parameters, content)
    except (
        Exception,
        SystemExit,
    ) as error:  # from jsonargparse, if the name is not a network or its arguments are different
        raise InputError(f"the network of {path} cannot be created here: {trust.reason(error)}") from error


def check_network(cls: type[ImageClassifier], content: dict[str, Any]) -> None:
    """Check that the network of somebody else's checkpoint fits its weights, before memory is allocated.

    Otherwise, a checkpoint of a few bytes could describe a layer that needs more memory than there is.

    Args:
        cls: class of the classifier.
        content: content of the checkpoint.

    Raises:
        InputError: the weights belong to another network.
    """
    if ownership.is_own(content) or "backbone" not in content["hyper_parameters"]:
        return
    try:
        with torch.device("meta"):
            network = trust.instantiate(cls, {**content["hyper_parameters"], "compile": False}, content)
    except (Exception, SystemExit):  # the caller creates the network again and reports the error
        return
    check_weights(network, content)


def _with_backbone(backbone: nn.Module, content: dict[str, Any]) -> ImageClassifier:
    """Create a classifier with the given network."""
    names = ("num_classes", "tta", "channels_last")
    arguments = {name: value for name, value in content["hyper_parameters"].items() if name in names}
    # In float32 like a network that is created anew; that of a fit with 64-true or bf16-true is not.
    return ImageClassifier(copy.deepcopy(backbone).float(), **arguments)
