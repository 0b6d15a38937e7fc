"""Read and check indices and labels from files. Pickled objects are never loaded."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cifar_cnn import compat
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.arrays import read_array
from cifar_cnn.base.paths import expanded, relative


def read_indices(file: str | os.PathLike, images: int) -> Tensor:
    """Indices of images: int64, (N,), in ascending order.

    Args:
        file: .npy, .npz (array ``indices``), .json (a list) or text with one integer a line.
        images: number of images; indices go from 0 to ``images`` - 1.

    Raises:
        InputError: the file cannot be read, or an index is out of range or occurs twice.
    """
    path = expanded(file)
    arrays = path.suffix in (".npy", ".npz")
    name = relative(path)
    indices = _integers(read_array(path, "indices", "") if arrays else _from_text(path), f"{name}: indices")
    if not len(indices):
        raise InputError(f"{name} holds no indices")
    if indices.min() < 0 or indices.max() >= images:
        raise InputError(
            f"{name}: indices go from {indices.min()} to {indices.max()}; those of the {images:,} training images go "
            f"from 0 to {images - 1}"
        )
    ordered, counts = indices.unique(return_counts=True)
    if twice := ordered[counts > 1].tolist():
        raise InputError(f"{name} holds an index twice: {twice[0]}")
    return ordered


def read_labels(file: str | os.PathLike, array: str | None, images: int, class_names: tuple[str, ...]) -> Tensor:
    """A label for each training image: int64, (N,).

    Args:
        file: .npy, .npz or .pt; .pt holds a tensor or an array, or several by name, such as CIFAR-10_human.pt of
            CIFAR-10N.
        array: name of the array, if the file holds several; ``labels`` by default in an .npz file.
        images: number of images.
        class_names: the classes that the labels are indices of.

    Raises:
        InputError: the file cannot be read, or does not hold one class index per image.
    """
    path = expanded(file)
    if not path.exists():
        raise InputError(f"label_noise is a fraction from 0 to 1 or a file; there is no file {relative(path)}")
    if path.suffix in (".pt", ".pth"):
        found = _from_pt(path, array)
    elif array is not None and path.suffix == ".npy":
        raise _single(path, array)
    else:
        found = read_array(path, array or "labels", "" if array else "; name one with label_noise_array")
    labels = _integers(found, f"{relative(path)}: labels")
    if len(labels) != images:
        raise InputError(f"{relative(path)} holds {len(labels):,} labels; there are {images:,} training images")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise InputError(
            f"{relative(path)}: labels go from {labels.min()} to {labels.max()}, but there are {len(class_names)} "
            f"classes, 0 to {len(class_names) - 1}"
        )
    return labels


def _from_text(path: Path) -> np.ndarray:
    if not path.is_file():  # opening a pipe would wait for a writer
        raise InputError(f"{relative(path)} is not a file: give .npy, .npz, .json or text with one integer a line")
    try:
        text = path.read_text(encoding="utf-8")
        return np.array(json.loads(text) if path.suffix == ".json" else [int(word) for word in text.split()])
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{relative(path)} cannot be read as integers: {' '.join(str(error).split())}") from error


def _from_pt(path: Path, array: str | None) -> Any:
    options = ["data.label_noise_array"]
    try:
        if not path.is_file():
            raise InputError(f"{relative(path)} is not a file")
        with torch.serialization.safe_globals(compat.NUMPY_ARRAYS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{relative(path)} cannot be read: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # damaged files raise many types
        raise InputError(
            f"{relative(path)} cannot be read as tensors or arrays of integers; other Python objects are not loaded"
        ) from error
    if not isinstance(content, dict):
        if array is not None:
            raise _single(path, array)
        return content
    there = ", ".join(map(str, content))
    if array is None and len(content) != 1:
        raise InputError(f"{relative(path)} holds {there}: name one with label_noise_array", options=options)
    if array is not None and array not in content:
        raise InputError(f"{relative(path)} holds no {array!r}; it holds {there}", options=options)
    return content[array] if array is not None else next(iter(content.values()))


def _single(path: Path, array: str) -> InputError:
    return InputError(
        f"{relative(path)} holds a single array without a name: leave out label_noise_array {array}",
        ["data.label_noise_array"],
    )


def _integers(values: Any, what: str) -> Tensor:
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"{what} are {array.dtype} of shape {array.shape}: save integers of shape (N,)")
    return torch.from_numpy(array.astype(np.int64))
