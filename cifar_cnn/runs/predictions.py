"""Stored predictions of a network, so that reports need not compute them again."""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import replacing
from cifar_cnn.base.image_files.arrays import declared
from cifar_cnn.base.paths import relative

# The arrays of the file, with their dtype and number of dimensions.
_ARRAYS = {"logits": ("f4", 2), "labels": ("i8", 1), "indices": ("i8", 1)}
_SCALARS = {"step": ("i8", 0), "images_sha256": ("U", 0), "checkpoint_checksum": ("U", 0)}


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network on a set of images.

    Attributes:
        logits: float32, (N, num_classes), with test-time augmentation if it was enabled.
        labels: int64, (N,): the true classes.
        indices: int64, (N,): the predicted images in ascending order; None for all.
        step: the step of the weights; None if it was not recorded.
        images_sha256: SHA-256 of the images; empty if it was not recorded.
        checkpoint_checksum: checksum of the tested checkpoint, see :func:`cifar_cnn.runs.checksum.checksum`; empty for
            a validation.
    """

    logits: Tensor
    labels: Tensor
    indices: Tensor | None = None
    step: int | None = None
    images_sha256: str = ""
    checkpoint_checksum: str = ""

    @property
    def probabilities(self) -> Tensor:
        """The softmax of the logits: float32, (N, num_classes)."""
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
        arrays: dict[str, Any] = {"logits": self.logits.numpy(), "labels": self.labels.numpy()}
        if self.indices is not None:
            arrays["indices"] = self.indices.numpy()
        if self.step is not None:
            arrays["step"] = np.array(self.step)
        if self.images_sha256:
            arrays["images_sha256"] = self.images_sha256
        if self.checkpoint_checksum:
            arrays["checkpoint_checksum"] = self.checkpoint_checksum
        with replacing(path) as file:
            np.savez(file, **arrays)


def mean_of(predictions: Sequence[Predictions]) -> Predictions:
    """The predictions of an ensemble: the mean of the probabilities of several networks on the same images.

    Args:
        predictions: the predictions of each network, one or more.

    Returns:
        The logits are the logarithms of the mean probabilities; there is no step and no checksum.

    Raises:
        InputError: the predictions have different classes or are of different images.
    """
    first, *others = predictions
    if any(each.logits.shape[1] != first.logits.shape[1] for each in others):
        numbers = sorted({each.logits.shape[1] for each in predictions})
        raise InputError(f"predictions of different classes have no mean: {' and '.join(map(str, numbers))} classes")
    if not all(_same_images(first, each) for each in others):
        raise InputError("predictions of different images have no mean")
    summed = torch.stack([each.logits.double().log_softmax(1) for each in predictions]).logsumexp(0)
    logits = (summed - math.log(len(predictions))).float()
    return Predictions(logits, first.labels, first.indices, images_sha256=first.images_sha256)


def _same_images(a: Predictions, b: Predictions) -> bool:
    if (a.indices is None) != (b.indices is None) or a.images_sha256 != b.images_sha256:
        return False
    same = a.indices is None or b.indices is None or torch.equal(a.indices, b.indices)
    return same and torch.equal(a.labels, b.labels)


def load_predictions(path: Path, num_classes: int | None = None) -> Predictions | None:
    """Like :func:`read_predictions`, but return None if there is no file, or it is damaged or has other classes."""
    try:
        return read_predictions(path, num_classes)
    except InputError:
        return None


def read_predictions(path: Path, num_classes: int | None = None) -> Predictions:
    """Read predictions that a test, a validation or :meth:`Predictions.save` wrote.

    Args:
        path: path of the file.
        num_classes: expected number of classes; None for any.

    Raises:
        InputError: there is no such file, or an array is missing or wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {part.filename.removesuffix(".npy"): _read(archive, part) for part in archive.infolist()}
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file can raise any exception
        raise InputError(f"{relative(path)} is damaged ({' '.join(str(error).split()) or 'empty'})") from error
    if line := _mismatch(arrays, num_classes):
        raise InputError(f"{relative(path)}: {line}")
    found: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _ARRAYS if name in arrays}
    found |= {name: arrays[name].item() for name in _SCALARS if name in arrays}
    return Predictions(**found)


def _read(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> np.ndarray:
    """Read an array of the archive; its header is checked first, because it could describe a huge array."""
    content = archive.read(part) if part.compress_type == zipfile.ZIP_STORED else b""
    shape, dtype = declared(io.BytesIO(content))
    if math.prod(shape) * dtype.itemsize > len(content):
        raise ValueError(f"{part.filename} is truncated")
    return np.load(io.BytesIO(content), allow_pickle=False)


def _mismatch(arrays: Mapping[str, np.ndarray], num_classes: int | None) -> str | None:
    """A line on the first array that is missing or wrong; None if all are valid."""
    if missing := [name for name in ("logits", "labels") if name not in arrays]:
        return f"{missing[0]} is missing"
    images = len(arrays["labels"]) if arrays["labels"].ndim else 0
    if not images:
        return "labels must not be empty"
    for name, (kind, dimensions) in {**_ARRAYS, **_SCALARS}.items():
        array = arrays.get(name)
        if array is None:
            continue
        if array.dtype.kind + str(array.dtype.itemsize) * (array.dtype.kind != "U") != kind or array.ndim != dimensions:
            return f"{name} must be {kind} with {dimensions} dimensions, not {array.dtype} with {array.ndim}"
        if dimensions and len(array) != images:
            return f"{name} must have {images} images, like labels, not {len(array)}"
    classes = arrays["logits"].shape[1]
    if classes < 1 or classes != (num_classes or classes):
        return f"logits must have {num_classes or 'at least 1'} classes, not {classes}"
    if arrays["labels"].min() < 0 or arrays["labels"].max() >= classes:
        return f"labels must be between 0 and {classes - 1}"
    return None
