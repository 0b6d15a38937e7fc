"""CIFAR10DataModule: from a source to normalised batches on the device."""

import logging
import os
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from torch import Tensor

from cifar_cnn.data.augment import Augment
from cifar_cnn.data.batches import Batch, EvalBatches, PreparedBatches, TrainBatches
from cifar_cnn.data.images import ImageSet, channel_mean_std, check_classes, on_gpu_if_it_fits, stratified_split
from cifar_cnn.data.preparation import Preparation
from cifar_cnn.data.resizing import check_sizes, size_at
from cifar_cnn.data.show import show_augmented, show_images
from cifar_cnn.data.sources import CIFAR10, ChannelStats, Source, Split
from cifar_cnn.errors import InputError
from cifar_cnn.parts import keep_plain

Batches = EvalBatches | TrainBatches | PreparedBatches
log = logging.getLogger("cifar_cnn")

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CIFAR10DataModule(LightningDataModule):
    """Training, validation and test batches of the images of a source.

    The validation images come from the training images; the test images are loaded only for ``test``.

    It also works in a training loop without a Trainer::

        data.prepare_data()
        data.setup("fit")
        for epoch in range(5):
            for batch in data.train_dataloader():  # see :class:`cifar_cnn.data.Batch`
                loss = loss_of(network(batch.images), batch.labels)

    Args:
        source: where the images come from: CIFAR10, ImageFolder or Shapes.
        batch_size: images per training step in each process.
        eval_batch_size: images per step in validation and test, which need no memory for gradients.
        val_size: number of training images to use for validation, the classes in proportion; 0 trains on all.
        split_seed: seed of that choice. Runs that differ only in ``seed`` validate on the same images.
        seed: seed of the order of the images and of their augmentation; by default the run's (``seed_everything``) or,
            in a run without one, torch's (:attr:`order_seed`).
        augment: augmentation of the training images.
        on_gpu: keep the images in the GPU's memory, if they fit, and make the batches there.
        image_sizes: progressive resizing: (fraction of the run, pixels a side), the first at 0. From each fraction on,
            training images are scaled down to that size, which makes most networks faster. Validation and test use
            whole images. Source: fast.ai's DAWNBench entries (2018).
        drop_last: leave out the training images that do not fill the last batch, different ones in each epoch.
    """

    def __init__(
        self,
        source: Source | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        val_size: int = 5000,
        split_seed: int = 0,
        seed: int | None = None,
        augment: Augment = Augment(),  # noqa: B008  (frozen)
        drop_last: bool = True,
        on_gpu: bool = True,
        image_sizes: list[tuple[float, int]] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise InputError(f"batch sizes must be 1 or more, not {batch_size} and {eval_batch_size}")
        check_sizes(image_sizes or [])
        self.save_hyperparameters()
        self.not_recorded = keep_plain(self.hparams, type(self))  # why an argument is missing in hparams
        self.source = source or CIFAR10()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_size = val_size
        self.split_seed = split_seed
        self.seed = seed
        self.augment = augment
        self.drop_last = drop_last
        self.on_gpu = on_gpu
        self.image_sizes = image_sizes
        self._mean_std: ChannelStats | None = self.source.mean_std
        self._sets: dict[str, ImageSet] = {}  # train, val, test, once they are loaded
        self._train_batches: TrainBatches | None = None
        self._position: dict[str, int] | None = None  # in the training batches, from a checkpoint
        self._epochs = count()  # of loops without a Trainer
        self._drawn_seed: int | None = None  # in a run without a seed
        self._preparation: Preparation | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""
        return self.source.class_names

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def mean_std(self) -> ChannelStats:
        """Per-channel mean and standard deviation, in [0, 1], that normalise the images.

        They come from the checkpoint if one was loaded, else from the source, or are measured on the training images.
        """
        if self._mean_std is None:
            self._mean_std = channel_mean_std(self.train_images)
        return self._mean_std

    def prepare_data(self) -> None:
        """Let the source download or decode. Lightning calls this in one process per machine."""
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.TESTING:
            if "test" not in self._sets:
                self.source.prepare("test")
        elif "train" not in self._sets:
            self.source.prepare("train")

    def setup(self, stage: str) -> None:
        """Load the images that ``stage`` needs."""
        if stage in ("fit", "validate") and "train" not in self._sets:
            whole = self._load("train")
            train, val = stratified_split(whole, self.val_size, self.split_seed)
            self._sets |= {"train": train, "val": val}
            check_classes(whole, train, self.val_size)
        elif stage == "test" and "test" not in self._sets:
            self._sets["test"] = self._load("test")

    def _load(self, split: Split) -> ImageSet:
        images = self.source.load(split)
        if not isinstance(images, ImageSet):
            source = type(self.source).__name__
            raise InputError(f"{source}.load must return an ImageSet; it returned {type(images).__name__}")
        return images

    @property
    def train_images(self) -> Tensor:
        """The training images in memory: uint8, (N, 3, H, W)."""
        return self.image_set("train").images

    def image_set(self, split: Literal["train", "val", "test"]) -> ImageSet:
        """The images of a split, which are loaded if necessary, but not downloaded.

        Raises:
            InputError: there is no such split, or its images cannot be used.
        """
        if split not in ("train", "val", "test"):
            raise InputError(f"split must be 'train', 'val' or 'test', not {split!r}")
        self.setup("test" if split == "test" else "fit")
        return self._sets[split]

    def show(self, split: Literal["train", "val", "test"] = "train", n: int = 24, augmented: bool = False) -> "Figure":
        """Draw a random sample of images with their classes, the same at each call.

        Args:
            split: which images.
            n: number of images.
            augmented: draw them as a training step sees them, with normalisation undone.

        Returns:
            A matplotlib figure; Jupyter shows it inline.
        """
        images = self.image_set(split)
        return show_augmented(images, n, self.augment, self.mean_std) if augmented else show_images(images, n)

    def train_dataloader(self) -> Batches:
        """Batches in a new order each epoch: uint8 images, and draws for their augmentation.

        Without a running Trainer they are already augmented and normalised, and each iteration is an epoch.
        """
        check_sizes(self.image_sizes or [], self.train_images.shape[-1])
        batches = self._make_train_batches(fixed=self._overfits)
        if self._running_trainer is None:
            return self._prepared(batches)
        if batches.fixed and self._running_trainer.is_global_zero:
            log.info("Training and validating on the same unaugmented batches of %d images.", batches.step_size)
        # Lightning restores a loader's position too, but loses it when the schedule asks for the run's length.
        if self._position is not None:
            batches.load_state_dict(self._position)
            self._position = None
        self._train_batches = batches
        return batches

    @property
    def order_seed(self) -> int:
        """The seed of the training images' order and augmentation, the same in all processes."""
        if self.seed is not None:
            return self.seed
        if "PL_GLOBAL_SEED" in os.environ:
            return int(os.environ["PL_GLOBAL_SEED"])
        if self._drawn_seed is None:
            # Checkpoints keep it for a resumed run.
            own = torch.initial_seed() % 2**32  # torch draws it, unless the program has set it
            trainer = self._running_trainer
            self._drawn_seed = own if trainer is None else trainer.strategy.broadcast(own)
        return self._drawn_seed

    def val_dataloader(self) -> Batches | list[Batches]:
        """The validation images in a fixed order, or the training batches (``overfit_batches``)."""
        if self._overfits:
            return self._make_train_batches(fixed=True)
        return self._eval_batches("val") if len(self.image_set("val")) else []

    def test_dataloader(self) -> Batches:
        """The test images in a fixed order; without a running Trainer they are already normalised."""
        return self._eval_batches("test")

    @property
    def _running_trainer(self) -> Trainer | None:
        """The Trainer while it runs: it then calls on_after_batch_transfer."""
        return self.trainer if self.trainer and self.trainer.state.status == TrainerStatus.RUNNING else None

    @property
    def _overfits(self) -> bool:
        trainer = self._running_trainer
        return trainer is not None and trainer.state.fn == TrainerFn.FITTING and trainer.overfit_batches > 0  # type: ignore[attr-defined]

    def _prepared(self, batches: EvalBatches | TrainBatches) -> PreparedBatches:
        return PreparedBatches(batches, partial(self.on_after_batch_transfer, dataloader_idx=0))

    def _make_train_batches(self, fixed: bool) -> TrainBatches:
        trainer = self._running_trainer
        return TrainBatches(
            self._where_batches_are_made(self.image_set("train")),
            self.batch_size,
            self.order_seed,
            epoch=(lambda: trainer.current_epoch) if trainer is not None else self._epochs.__next__,
            drop_last=self.drop_last,
            alternating_flip=self.augment.flip == "alternating",
            rank=trainer.global_rank if trainer is not None else 0,
            world_size=trainer.world_size if trainer is not None else 1,
            fixed=fixed,
        )

    def _eval_batches(self, split: Literal["val", "test"]) -> Batches:
        images, trainer = self._where_batches_are_made(self.image_set(split)), self._running_trainer
        if trainer is None:
            return self._prepared(EvalBatches(images, self.eval_batch_size))
        return EvalBatches(images, self.eval_batch_size, trainer.global_rank, trainer.world_size)

    def _where_batches_are_made(self, image_set: ImageSet) -> ImageSet:
        if self._running_trainer is None or not self.on_gpu:
            return image_set
        return on_gpu_if_it_fits(image_set, self._running_trainer.strategy.root_device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment (training batches) and normalise, on the device, in the precision of the model's weights.

        Anything but a Batch of uint8 images is returned unchanged.
        """
        if not isinstance(batch, Batch) or batch.images.dtype != torch.uint8:
            return batch
        if self._preparation is None:
            self._preparation = Preparation(self.augment, self.mean_std)
        size = None
        if self.image_sizes and (trainer := self._running_trainer) is not None:
            size = size_at(self.image_sizes, trainer.global_step, trainer.estimated_stepping_batches)
        model = self.trainer.lightning_module if self.trainer is not None else None
        return self._preparation(batch, size, model.dtype if model is not None else torch.float32)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Classes, image size and normalisation for use with new images, and the position in the training batches."""
        mean, std = self.mean_std
        return {
            "class_names": list(self.class_names),
            "image_size": self.train_images.shape[-1],
            "mean": list(mean),
            "std": list(std),
            "drawn_seed": self._drawn_seed,
            "position": self._train_batches.state_dict() if self._train_batches is not None else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Use the normalisation of a checkpoint, and its position in the training batches.

        Raises:
            InputError: the checkpoint was trained on other classes or another image size.
        """
        if list(self.class_names) != state_dict["class_names"]:
            raise InputError(
                f"the checkpoint was trained on the classes {', '.join(state_dict['class_names'])}; "
                f"these images have {', '.join(self.class_names)}"
            )
        images = self._sets.get("test") or self._sets.get("train")
        if images is not None and images.images.shape[-1] != state_dict["image_size"]:
            raise InputError(
                f"the checkpoint was trained on images of {state_dict['image_size']} pixels a side; these have "
                f"{images.images.shape[-1]}: set image_size of the source",
                options=["data.source.image_size"],
            )
        self._position = state_dict.get("position")
        self._drawn_seed = state_dict.get("drawn_seed")
        self._mean_std = (tuple(state_dict["mean"]), tuple(state_dict["std"]))
        self._preparation = None
