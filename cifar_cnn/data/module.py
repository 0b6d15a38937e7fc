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

from cifar_cnn.data.augment import Augment, normalize, resize
from cifar_cnn.data.batches import Batch, EvalBatches, PreparedBatches, TrainBatches
from cifar_cnn.data.images import ImageSet, channel_mean_std, check_classes, stratified_split
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
    """Images of a source as training, validation and test batches.

    The validation images are taken from the training images; the test images are loaded for ``test`` alone.

    It also serves a training loop without a Trainer::

        data.prepare_data()
        data.setup("fit")
        for epoch in range(5):
            for batch in data.train_dataloader():  # see :class:`cifar_cnn.data.Batch`
                loss = loss_of(network(batch.images), batch.labels)

    Args:
        source: where the images come from: CIFAR10, ImageFolder or Shapes.
        batch_size: images a training step in each process.
        eval_batch_size: images a step in validation and test, where no gradient needs memory.
        val_size: training images set aside for validation, the classes in proportion; 0 trains on all.
        split_seed: chooses which. Apart from ``seed``, so that runs with other seeds validate on the same images.
        seed: of the order of the images and of their augmentation; by default the run's own (``seed_everything``) or,
            in a run without a seed, that of torch's random numbers (:attr:`order_seed`).
        augment: what is done to training images.
        on_gpu: keep the images in the GPU's memory, where they fit, and make the batches there.
        image_sizes: progressive resizing: (fraction of the run, pixels a side), the first at 0. From each fraction on,
            training images are scaled down to that size, which most networks are trained faster on; validation and
            test see whole images. Source: fast.ai's DAWNBench entries (2018).
        drop_last: leave out, another few each epoch, the training images that do not fill the last batch.
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
            raise InputError(f"batch sizes are 1 or more; not {batch_size}, {eval_batch_size}")
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
        self._train: ImageSet | None = None
        self._val: ImageSet | None = None
        self._test: ImageSet | None = None
        self._train_batches: TrainBatches | None = None
        self._position: dict[str, int] | None = None  # in the training batches, of a checkpoint to go on from
        self._epochs = count()  # of the loops without a Trainer
        self._drawn_seed: int | None = None  # of a run without a seed
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""
        return self.source.class_names

    @property
    def num_classes(self) -> int:
        """How many."""
        return len(self.class_names)

    @property
    def mean_std(self) -> ChannelStats:
        """Per-channel mean and standard deviation that normalise the images, in [0, 1].

        From the checkpoint if one was loaded, else the source's own or measured from the training images.
        """
        if self._mean_std is None:
            self._mean_std = channel_mean_std(self.train_images)
        return self._mean_std

    def prepare_data(self) -> None:
        """Let the source download or decode; Lightning calls this in one process a machine."""
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.TESTING:
            if self._test is None:
                self.source.prepare("test")
        elif self._train is None:
            self.source.prepare("train")

    def setup(self, stage: str) -> None:
        """Load the images that ``stage`` needs."""
        if stage in ("fit", "validate"):
            self._load_train()
        elif stage == "test" and self._test is None:
            self._test = self._load("test")

    def _load(self, split: Split) -> ImageSet:
        images = self.source.load(split)
        if not isinstance(images, ImageSet):
            source = type(self.source).__name__
            raise InputError(f"{source}.load must return an ImageSet; it returned {type(images).__name__}")
        return images

    def _load_train(self) -> None:
        if self._train is None:
            whole = self._load("train")
            self._train, self._val = stratified_split(whole, self.val_size, self.split_seed)
            check_classes(whole, self._train, self.val_size)

    @property
    def train_images(self) -> Tensor:
        """The training images as they are in memory: uint8, (N, 3, H, W)."""
        return self.image_set("train").images

    def image_set(self, split: Literal["train", "val", "test"]) -> ImageSet:
        """The images of a split as they are in memory, loaded (not downloaded) if they are not yet.

        Raises:
            InputError: there is no such split, or its images cannot be used.
        """
        if split not in ("train", "val", "test"):
            raise InputError(f"image_set takes 'train', 'val' or 'test'; not {split!r}")
        self.setup("test" if split == "test" else "fit")
        images = {"train": self._train, "val": self._val, "test": self._test}[split]
        assert images is not None
        return images

    def show(self, split: Literal["train", "val", "test"] = "train", n: int = 24, augmented: bool = False) -> "Figure":
        """Draw images with their classes: a random sample that is the same at each call.

        Args:
            split: of the images.
            n: how many.
            augmented: draw them as a training step sees them, with the normalisation undone.

        Returns:
            A matplotlib figure; Jupyter shows it inline.

        Raises:
            InputError: there is no such split, or its images cannot be used.
        """
        images = self.image_set(split)
        return show_augmented(images, n, self.augment, self.mean_std) if augmented else show_images(images, n)

    def train_dataloader(self) -> Batches:
        """Batches in another order each epoch: uint8, with the draws for their augmentation, while a Trainer runs.

        Without a Trainer they are augmented and normalised already, and each iteration is an epoch.
        """
        check_sizes(self.image_sizes or [], self.train_images.shape[-1])
        batches = self._make_train_batches(fixed=self._overfits)
        if self._running_trainer is None:
            return self._prepared(batches)
        if batches.fixed and self._running_trainer.is_global_zero:
            log.info("Training and validating on the same unaugmented batches of %d images.", batches.step_size)
        # Lightning keeps a loader's position too, but forgets it when the schedule asks for the run's length.
        if self._position is not None:
            batches.load_state_dict(self._position)
            self._position = None
        self._train_batches = batches
        return batches

    @property
    def order_seed(self) -> int:
        """The seed of the order of the training images and of their augmentation, the same in all processes.

        That of a run without a seed is kept in its checkpoints, so that a resumed run sees the same order.
        """
        if self.seed is not None:
            return self.seed
        if "PL_GLOBAL_SEED" in os.environ:
            return int(os.environ["PL_GLOBAL_SEED"])
        if self._drawn_seed is None:
            own = torch.initial_seed() % 2**32  # which torch draws, unless a program has set it
            trainer = self._running_trainer
            self._drawn_seed = own if trainer is None else trainer.strategy.broadcast(own)
        return self._drawn_seed

    def val_dataloader(self) -> Batches | list[Batches]:
        """The validation images in a fixed order; no loader with ``val_size`` 0.

        With ``overfit_batches`` these are the batches that are trained on. Without a running Trainer the images are
        normalised already.
        """
        if self._overfits:
            return self._make_train_batches(fixed=True)
        return self._eval_batches("val") if len(self.image_set("val")) else []

    def test_dataloader(self) -> Batches:
        """The test images in a fixed order; without a running Trainer they are normalised already."""
        return self._eval_batches("test")

    @property
    def _running_trainer(self) -> Trainer | None:
        """The Trainer, while it fits or tests: it moves batches to its device and calls on_after_batch_transfer."""
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
        device = self._running_trainer.strategy.root_device
        if device.type != "cuda":
            return image_set
        # At most half of what is free: the rest is the network's. 50,000 CIFAR-10 images are 150 MB.
        free, _ = torch.cuda.mem_get_info(device)
        return image_set.to(device) if image_set.images.nbytes < free / 2 else image_set

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment (training batches) and normalise, on the device, in the precision of the model's weights.

        Anything but a Batch of uint8 images is returned as it is.
        """
        if not isinstance(batch, Batch) or batch.images.dtype != torch.uint8:
            return batch
        images, draws = batch.images, batch.draws
        if draws is None:
            # Of bytes the layout that networks are fastest in costs a quarter of what it costs of floats.
            images = images.contiguous(memory_format=torch.channels_last)
        else:
            images = self.augment.pixels(images, draws)
            if self.image_sizes and self._running_trainer is not None:
                images = resize(images, self._image_size())
        dtype = torch.float32
        if self.trainer is not None and self.trainer.lightning_module is not None:
            dtype = self.trainer.lightning_module.dtype  # type: ignore[assignment]
        images = normalize(images, *self._mean_std_on(images.device), dtype)
        if draws is not None:
            images = self.augment.values(images, draws)
        return batch._replace(images=images, draws=None)

    def _image_size(self) -> int:
        """Pixels a side of this step's training images."""
        assert self.trainer is not None
        assert self.image_sizes
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise InputError("data.image_sizes needs the run's length: set --trainer.max_epochs or --trainer.max_steps")
        return size_at(self.image_sizes, self.trainer.global_step / total)

    def _mean_std_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        # Kept on the device: copying two small tensors there each step would make a GPU wait.
        if device not in self._constants:
            mean, std = self.mean_std
            self._constants[device] = (torch.tensor(mean, device=device), torch.tensor(std, device=device))
        return self._constants[device]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must know to see new images as the training saw its own."""
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
        """Take over the normalisation of a checkpoint, and where its training was.

        Raises:
            InputError: it was trained on other classes or another image size.
        """
        if list(self.class_names) != state_dict["class_names"]:
            raise InputError(
                f"the checkpoint was trained on the classes {', '.join(state_dict['class_names'])}; "
                f"these images have {', '.join(self.class_names)}"
            )
        images = self._test or self._train
        if images is not None and images.images.shape[-1] != state_dict["image_size"]:
            raise InputError(
                f"the checkpoint was trained on images of {state_dict['image_size']} pixels a side; these have "
                f"{images.images.shape[-1]}: see --data.source.image_size"
            )
        self._position = state_dict.get("position")
        self._drawn_seed = state_dict.get("drawn_seed")
        self._mean_std = (tuple(state_dict["mean"]), tuple(state_dict["std"]))
        self._constants.clear()
