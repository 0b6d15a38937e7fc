"""CIFAR10DataModule: load images from a source and make normalized batches on the device."""

import logging
import os
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor

from cifar_cnn.augmentations import class_titles
from cifar_cnn.base.batch_mapping import PreparedBatches
from cifar_cnn.base.channel_statistics import channel_mean_std, denormalize
from cifar_cnn.base.gpu_memory import on_gpu_if_it_fits
from cifar_cnn.base.input_checks.images import check_alike, check_as_trained, check_loaded, check_split
from cifar_cnn.base.input_checks.run_length import check_batch_sizes, check_sizes, side_at_this_step
from cifar_cnn.base.running_trainer import drawn_seed, is_fitting, is_testing, overfits, running, seed_of_run, share_of
from cifar_cnn.data.augment import Augment, draw
from cifar_cnn.data.batches import Batch, EvalBatches, TrainBatches
from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.preparation import Preparation
from cifar_cnn.data.sources import CIFAR10, ChannelStats, Source, Split
from cifar_cnn.parts import keep_plain
from cifar_cnn.subsets.splitting import random_order
from cifar_cnn.subsets.subset import Chosen, Subset

Batches = EvalBatches | TrainBatches | PreparedBatches
log = logging.getLogger("cifar_cnn")

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CIFAR10DataModule(LightningDataModule):
    """Training, validation and test batches from a source of images.

    Unless the source has validation images of its own, they are taken from the training images; the test images are
    loaded only for ``test``. In a training loop without a Trainer, call ``prepare_data()`` and ``setup("fit")``, then
    iterate over ``train_dataloader()`` once per epoch (:class:`cifar_cnn.data.Batch`).

    Args:
        source: CIFAR10, ImageFolder, Shapes or another Source.
        batch_size: images per training step in each process.
        eval_batch_size: images per step of validation and test, in each process.
        val_size: number or fraction of the training images to use for validation, stratified by class; 0 trains on all.
            By default 5000, unless the source, ``folds`` or ``val_indices`` give the validation images.
        split_seed: seed of all choices of images and labels, so that none of them depends on ``seed``.
        seed: seed of the order and augmentation of the training images; by default the seed of ``seed_everything`` or,
            without one, torch's seed.
        augment: augmentation of the training images.
        on_gpu: keep the images in GPU memory, if they fit, and make the batches there.
        image_sizes: progressive resizing: pairs of (fraction of the run, pixels per side); the first fraction is 0.
            From each fraction on, training images are scaled down to that size, which makes most networks faster.
            Validation and test images are not resized. Source: fast.ai's DAWNBench entries (2018).
        drop_last: omit the training images that do not fill the last batch; they differ from epoch to epoch.
        val_indices: file of the validation images' indices in the training split: .npy, .npz, .json or .txt.
        fold: index, from 0, of the part of the training images to validate on (cross-validation).
        folds: number of parts, stratified by class.
        train_fraction: fraction of the images left for training to train on, stratified by class.
        train_per_class: number of images of each class to train on instead.
        label_noise: fraction of the training labels to replace with another class, or a file of training labels: .npy,
            .npz or .pt. Validation and test labels are not changed.
        label_noise_pairs: replace only labels of these classes, each with the other class of its pair.
        label_noise_array: name of the array of labels, if the file holds several.
    """

    chosen: Chosen  # the training and validation images, set when they are loaded

    def __init__(
        self,
        source: Source | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        val_size: int | float | None = None,
        split_seed: int = 0,
        seed: int | None = None,
        augment: Augment = Augment(),  # noqa: B008  (frozen)
        drop_last: bool = True,
        on_gpu: bool = True,
        image_sizes: list[tuple[float, int]] | None = None,
        val_indices: str | os.PathLike | None = None,
        fold: int | None = None,
        folds: int | None = None,
        train_fraction: float = 1.0,
        train_per_class: int | None = None,
        label_noise: float | str | os.PathLike = 0.0,
        label_noise_pairs: dict[str, str] | None = None,
        label_noise_array: str | None = None,
    ) -> None:
        super().__init__()
        check_batch_sizes(batch_size, eval_batch_size)
        check_sizes(image_sizes or [])
        validation = (val_size, split_seed, val_indices, fold, folds)
        noise = (label_noise, label_noise_pairs, label_noise_array)
        self.subset = Subset(*validation, train_fraction, train_per_class, *noise)
        self.save_hyperparameters()
        self.not_recorded = keep_plain(self.hparams, type(self))  # arguments missing in hparams, with the reason
        self.source = source or CIFAR10()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.augment = augment
        self.drop_last = drop_last
        self.on_gpu = on_gpu
        self.image_sizes = image_sizes
        self._mean_std: ChannelStats | None = self.source.mean_std
        self._sets: dict[Split, ImageSet] = {}  # once they are loaded
        self._train_batches: TrainBatches | None = None
        self._position: dict[str, int] | None = None  # of the training batches, from a checkpoint
        self._epochs = count()  # for loops without a Trainer
        self._drawn_seed: int | None = None  # for runs without a seed
        self._preparation: Preparation | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.source.class_names

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def mean_std(self) -> ChannelStats:
        """Channel means and standard deviations in [0, 1], from the checkpoint, the source or the training images."""
        if self._mean_std is None:
            self._mean_std = channel_mean_std(self.train_images)
        return self._mean_std

    def prepare_data(self) -> None:
        """Download or decode the images. Lightning calls this in one process per machine."""
        fits: tuple[Split, ...] = ("train", "val") if self.source.has_val else ("train",)
        for split in ("test",) if is_testing(self.trainer) else fits:
            if split not in self._sets:
                self.source.prepare(split)

    def setup(self, stage: str) -> None:
        """Load the images of ``stage``."""
        if stage in ("fit", "validate") and "train" not in self._sets:
            whole = self._load("train")
            own_val = type(self.source).__name__ if self.source.has_val else None
            self.chosen = self.subset.split(whole.labels, whole.class_names, own_val)
            val = self._load("val") if own_val else whole.subset(self.chosen.val)
            check_alike(whole.images, val.images, whole.class_names, val.class_names)
            train = replace(whole.subset(self.chosen.train), labels=self.chosen.labels)
            self._sets |= {"train": train, "val": val}
        elif stage == "test" and "test" not in self._sets:
            self._sets["test"] = self._load("test")

    def _load(self, split: Split) -> ImageSet:
        check_loaded(images := self.source.load(split), ImageSet, self.source)
        return images

    @property
    def train_images(self) -> Tensor:
        """The training images in memory: uint8, (N, 3, H, W)."""
        return self.image_set("train").images

    def image_set(self, split: Split) -> ImageSet:
        """The images of a split, loaded if necessary but never downloaded; InputError if they cannot be loaded."""
        check_split(split)
        self.setup("test" if split == "test" else "fit")
        return self._sets[split]

    def show(self, split: Split = "train", n: int = 24, augmented: bool = False) -> "Figure":
        """Plot ``n`` random images with their classes, the same at each call, in a matplotlib figure.

        With ``augmented``, the images are augmented as in a training step.
        """
        from cifar_cnn.base.figures import draw_images  # matplotlib takes half a second to import

        image_set = self.image_set(split)
        sample = random_order(len(image_set))[:n]
        images, labels = image_set.images[sample].cpu(), image_set.labels[sample]
        if augmented:
            draws = draw(len(sample), torch.Generator().manual_seed(0))
            seen = Preparation(self.augment, self.mean_std, self.num_classes)(Batch(images, labels, draws))
            images, labels = denormalize(seen.images, *self.mean_std), seen.labels
        return draw_images(images, class_titles(labels, image_set.class_names))

    def train_dataloader(self) -> Batches:
        """Batches of uint8 images in a new order each epoch, with draws for their augmentation.

        Without a running Trainer, they are already augmented and normalized, and each iteration is one epoch.
        """
        trainer = self._running_trainer
        check_sizes(self.image_sizes or [], self.train_images.shape[-1])
        batches = self._make_train_batches(fixed=overfits(trainer))
        if trainer is None:
            return PreparedBatches(batches, self)
        if batches.fixed and trainer.is_global_zero:
            log.info("Training and validating on the same unaugmented batches of %d images.", batches.step_size)
        # Lightning also restores a loader's position, but loses it if the schedule needs the length of the run.
        if self._position is not None:
            batches.load_state_dict(self._position)
            self._position = None
        self._train_batches = batches
        return batches

    def val_dataloader(self) -> Batches | list[Batches]:
        """The validation images in a fixed order, or the training batches (``overfit_batches``)."""
        if overfits(self._running_trainer):
            return self._make_train_batches(fixed=True)
        return self._eval_batches("val") if len(self.image_set("val")) else []

    def test_dataloader(self) -> Batches:
        """The test images in a fixed order; already normalized if no Trainer is running."""
        return self._eval_batches("test")

    @property
    def order_seed(self) -> int:
        """The seed of the training images' order and augmentation, the same in all processes."""
        given = self.seed if self.seed is not None else seed_of_run()
        if given is not None:
            return given
        if self._drawn_seed is None:
            self._drawn_seed = drawn_seed(self._running_trainer)  # saved in checkpoints for a resumed run
        return self._drawn_seed

    @property
    def _running_trainer(self) -> Trainer | None:
        return running(self.trainer)

    def _make_train_batches(self, fixed: bool) -> TrainBatches:
        trainer = self._running_trainer
        return TrainBatches(
            self._where_batches_are_made("train"),
            self.batch_size,
            self.order_seed,
            epoch=(lambda: trainer.current_epoch) if trainer is not None else self._epochs.__next__,
            drop_last=self.drop_last,
            alternating_flip=self.augment.flip == "alternating",
            fixed=fixed,
            **share_of(trainer),
        )

    def _eval_batches(self, split: Split) -> Batches:
        trainer = self._running_trainer
        batches = EvalBatches(self._where_batches_are_made(split), self.eval_batch_size, **share_of(trainer))
        return PreparedBatches(batches, self) if trainer is None else batches

    def _where_batches_are_made(self, split: Split) -> ImageSet:
        images, trainer = self.image_set(split), self._running_trainer
        if trainer is None or not self.on_gpu or (split == "train" and self.augment.of_single_images):
            return images
        return on_gpu_if_it_fits(images, trainer.strategy.root_device)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Prepare a batch already here if its images are transformed one by one, which is slow on a GPU."""
        is_here = self.augment.of_single_images and isinstance(batch, Batch) and batch.draws is not None
        return self.on_after_batch_transfer(batch, dataloader_idx) if is_here else batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalize a Batch of uint8 images, in training after augmentation; return any other batch unchanged."""
        if not isinstance(batch, Batch) or batch.images.dtype != torch.uint8:
            return batch
        if self._preparation is None:
            self._preparation = Preparation(self.augment, self.mean_std, self.num_classes)
        model = self.trainer.lightning_module if self.trainer is not None else None
        size = side_at_this_step(self.image_sizes or [], self._running_trainer)
        return self._preparation(batch, size, model.dtype if model is not None else torch.float32)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Classes, image size, normalization, and the position in the training batches."""
        mean, std = self.mean_std
        return {
            "class_names": list(self.class_names),
            "image_size": self.train_images.shape[-1],
            "mean": list(mean),
            "std": list(std),
            "drawn_seed": self._drawn_seed,
            "training_images": self.chosen.digest,
            "position": self._train_batches.state_dict() if self._train_batches is not None else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore normalization and position; InputError if the checkpoint has other classes or another image size."""
        images = self._sets.get("test") or self._sets.get("train")
        digest = self.chosen.digest if is_fitting(self.trainer) else None
        check_as_trained(state_dict, self.class_names, images.images if images is not None else None, digest)
        self._position = state_dict.get("position")
        self._drawn_seed = state_dict.get("drawn_seed")
        self._mean_std = (tuple(state_dict["mean"]), tuple(state_dict["std"]))
        self._preparation = None
