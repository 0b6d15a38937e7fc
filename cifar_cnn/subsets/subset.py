"""Which images of a source a run trains and validates on, and with which labels."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.generators import generator
from cifar_cnn.base.input_checks.images import check_classes
from cifar_cnn.subsets.files import read_indices, read_labels
from cifar_cnn.subsets.label_noise import pair_noise, symmetric_noise
from cifar_cnn.subsets.splitting import same_per_class, stratified_choice, stratified_fold

DEFAULT_VAL_SIZE = 5000


@dataclass(frozen=True)
class Chosen:
    """The images of a run.

    Attributes:
        train: int64, (N,), ascending; positions of the training images in the source's training split.
        val: int64, (M,), ascending; positions of the validation images there.
        labels: int64, (N,); labels of the training images, with label noise.
        facts: facts for fit.json that readers of the results need: the number of images that the training images were
            chosen from (``train_of``), the fold (``fold``) and the number of changed labels (``labels_changed``).
    """

    train: Tensor
    val: Tensor
    labels: Tensor
    facts: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """A hash of positions and labels of the training images, in hexadecimal."""
        return hashlib.sha256(torch.stack([self.train, self.labels]).numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Subset:
    """The options of :class:`cifar_cnn.data.CIFAR10DataModule` that choose images and labels, documented there."""

    val_size: float | None = None
    seed: int = 0
    val_indices: str | os.PathLike | None = None
    fold: int | None = None
    folds: int | None = None
    train_fraction: float = 1.0
    train_per_class: int | None = None
    label_noise: float | str | os.PathLike = 0.0
    label_noise_pairs: Mapping[str, str] | None = None
    label_noise_array: str | None = None

    def __post_init__(self) -> None:
        self._check_validation()
        if not 0 < self.train_fraction <= 1:
            raise InputError(f"train_fraction must be above 0 and at most 1; it is {self.train_fraction}")
        if self.train_per_class is not None and self.train_per_class < 1:
            raise InputError(f"train_per_class must be 1 or more; it is {self.train_per_class}")
        if self.train_per_class is not None and self.train_fraction != 1:
            raise InputError("train_fraction and train_per_class both choose training images: give one of them")
        of_file = isinstance(self.label_noise, (str, os.PathLike))
        if not of_file and not 0 <= self.label_noise <= 1:  # type: ignore[operator]
            raise InputError(f"label_noise must be a fraction from 0 to 1 or a file; it is {self.label_noise}")
        if self.label_noise_pairs and (of_file or not self.label_noise):
            raise InputError("label_noise_pairs needs label_noise, the fraction of their labels to replace")
        if self.label_noise_array is not None and not of_file:
            raise InputError("label_noise_array names an array in a file: give the file as label_noise")

    def _check_validation(self) -> None:
        """Check that at most one option chooses the validation images."""
        if (self.fold is None) != (self.folds is None):
            raise InputError("fold and folds belong together: fold 0 and folds 5 validate on the first of five parts")
        if self.fold is not None and self.folds is not None and not (self.folds >= 2 and 0 <= self.fold < self.folds):
            raise InputError(
                f"folds must be 2 or more, and fold from 0 to folds - 1; they are {self.folds} and {self.fold}"
            )
        size = self.val_size
        all_of_them = isinstance(size, float) and size == 1  # 1.0 could also mean one image
        if size is not None and (size < 0 or (size >= 1 and size % 1) or all_of_them):
            raise InputError(f"val_size must be a number of images or a fraction below 1; it is {size}")
        given = {"val_size": size, "folds": self.folds, "val_indices": self.val_indices}
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            values = " and ".join(f"{name} {given[name]}" for name in names)
            advice = "set val_size to null" if size is not None else "give one of them"
            raise InputError(f"{values} both choose the validation images: {advice}", [f"data.{names[0]}"])

    def split(self, labels: Tensor, class_names: tuple[str, ...], own_val: str | None = None) -> Chosen:
        """Choose the images.

        Args:
            labels: int64, (N,); labels of the source's training split.
            class_names: one name per class.
            own_val: name of the source if it has validation images of its own.

        Raises:
            InputError: a class that has images would have none for training, or an option does not fit the images.
        """
        val = self._val(labels, class_names, own_val)
        train = torch.nonzero(~val)[:, 0]
        chosen = train[self._training(labels[train], class_names)]
        check_classes(class_names, labels, labels[chosen], self._choice(len(labels)))
        noisy = self._noisy(labels, chosen, class_names)
        facts: dict[str, Any] = {"train_of": len(train)} if len(chosen) < len(train) else {}
        facts |= {"fold": f"{self.fold} of {self.folds}"} if self.folds else {}
        facts |= {"labels_changed": int((noisy != labels[chosen]).sum())} if self.label_noise else {}
        return Chosen(chosen, torch.nonzero(val)[:, 0], noisy, facts)

    def _val(self, labels: Tensor, class_names: tuple[str, ...], own_val: str | None) -> Tensor:
        """The validation images: bool, (N,)."""
        n = len(labels)
        if own_val is not None:
            if name := next((name for name in ("val_size", "folds", "val_indices") if getattr(self, name)), None):
                raise InputError(
                    f"{own_val} has validation images of its own: {name} cannot choose others; set it to null",
                    [f"data.{name}"],
                )
            return torch.zeros(n, dtype=torch.bool)
        if self.val_indices is not None:
            return torch.zeros(n, dtype=torch.bool).index_fill_(0, read_indices(self.val_indices, n), True)
        if self.fold is not None and self.folds is not None:
            return stratified_fold(labels, self.fold, self.folds, self.seed)
        given = DEFAULT_VAL_SIZE if self.val_size is None else self.val_size
        size = round(given * n) if 0 < given < 1 else int(given)
        if not size < n:
            raise InputError(f"val_size must be from 0 to {n - 1} for {n} training images; it is {size}")
        return stratified_choice(labels, len(class_names), size, self.seed)

    def _training(self, labels: Tensor, class_names: tuple[str, ...]) -> Tensor:
        """The training images among those that are not for validation: bool, (N,)."""
        seed = generator(self.seed, 0).initial_seed()
        if self.train_per_class is not None:
            counts = labels.bincount(minlength=len(class_names)).tolist()
            if few := [i for i, count in enumerate(counts) if 0 < count < self.train_per_class]:
                raise InputError(
                    f"train_per_class {self.train_per_class} is too many: class {class_names[few[0]]} has "
                    f"{counts[few[0]]} training images"
                )
            return same_per_class(labels, len(class_names), self.train_per_class, seed)
        if self.train_fraction == 1:
            return torch.ones(len(labels), dtype=torch.bool)
        return stratified_choice(labels, len(class_names), round(self.train_fraction * len(labels)), seed)

    def _noisy(self, labels: Tensor, chosen: Tensor, class_names: tuple[str, ...]) -> Tensor:
        """The labels of the images at the positions ``chosen``."""
        noise = self.label_noise
        if isinstance(noise, (str, os.PathLike)):
            return read_labels(noise, self.label_noise_array, len(labels), class_names)[chosen]
        if self.label_noise_pairs:
            return pair_noise(labels[chosen], class_names, noise, self.seed, self.label_noise_pairs)
        return symmetric_noise(labels[chosen], len(class_names), noise, self.seed) if noise else labels[chosen]

    def _choice(self, images: int) -> str:
        """The options that choose the images, for messages."""
        size = DEFAULT_VAL_SIZE if self.val_size is None else self.val_size
        names = [name for name in ("val_indices", "folds", "train_per_class") if getattr(self, name)]
        found = [f"{name} {getattr(self, name)}" for name in names]
        found += [f"val_size {size:g}"] if not {"val_indices", "folds"} & set(names) else []
        found += [f"train_fraction {self.train_fraction:g}"] if self.train_fraction < 1 else []
        return f"{' with '.join(found)} of {images} images"
