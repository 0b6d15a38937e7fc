"""Loaders: a fixed order for evaluation; for training, an order that is a pure function of (seed, epoch, step)."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.generators import generator
from cifar_cnn.base.input_checks.images import check_normalized
from cifar_cnn.data.augment import Draws, draw
from cifar_cnn.data.images import ImageSet
from cifar_cnn.subsets.splitting import random_order


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        images: (N, C, H, W); uint8 from the loader, normalized floats after the transfer to the device.
        labels: int64, (N,), class indices; of mixed images float32, (N, num_classes), probabilities.
        draws: random numbers for the augmentation; None in evaluation and after augmentation.
        indices: int64, (N,); positions of the images in the source's split; None for the batches of another loader.
    """

    images: Tensor
    labels: Tensor
    draws: Draws | None = None
    indices: Tensor | None = None


def as_batch(batch: Any) -> Batch:
    """Convert (images, labels) from an ordinary DataLoader to a Batch; InputError if the images are uint8."""
    if isinstance(batch, Batch):
        return batch
    images, labels = batch[:2]
    check_normalized(images)
    return Batch(images, labels)


class EvalBatches:
    """Iterate over all images once, for validation and test.

    The order is random, so that the first batches are a random sample even if the images are sorted by class, but
    depends only on the number of images. Each step's images, ``batch_size`` per process, are divided among
    ``world_size`` processes; the last batch may be smaller.
    """

    def __init__(self, image_set: ImageSet, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.image_set = image_set
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.order = random_order(len(image_set))

    def __len__(self) -> int:
        return -(-len(self.image_set) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        step_size = self.batch_size * self.world_size
        for start in range(0, len(self.image_set), step_size):
            share = slice(start + self.rank, start + step_size, self.world_size)
            indices = self.order[share].to(self.image_set.images.device, non_blocking=True)
            images, labels, positions = self.image_set.take(indices)
            yield Batch(images, labels, None, positions)


class TrainBatches:
    """Iterate over the images in a new random order each epoch, with random draws for their augmentation.

    Order and draws depend only on (seed, epoch, step). A run resumed in mid-epoch therefore sees the same batches, and
    so do two processes with half the batch size each.

    Args:
        image_set: the images.
        batch_size: images per step in each process.
        seed: seed of order and augmentation.
        epoch: called at the start of each iteration; returns the epoch.
        drop_last: omit the images that do not fill the last step; they differ from epoch to epoch.
        rank: index of this process.
        world_size: number of processes, among which each step's images are divided.
        alternating_flip: mirror each image in every second epoch, starting at random in the first or second.
        fixed: repeat the first epoch's batches, without augmentation (``overfit_batches``).
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
        alternating_flip: bool = False,
        fixed: bool = False,
    ) -> None:
        self.image_set = image_set
        # DDP weights all processes equally, so their shares must be equal: up to world_size - 1 images are omitted.
        self.size = len(image_set) - len(image_set) % world_size
        if not self.size:
            raise InputError(f"{len(image_set)} training images are too few for {world_size} processes")
        self.step_size = min(batch_size * world_size, self.size)
        self.seed = seed
        self.epoch = epoch
        self.drop_last = drop_last
        self.fixed = fixed
        self.mirrored_first: Tensor | None = None  # bool, (len(image_set),): in epochs 0, 2, ...
        if alternating_flip:
            self.mirrored_first = torch.rand(len(image_set), generator=generator(seed)) < 0.5
        self.rank = rank
        self.world_size = world_size
        self._position = (0, 0)  # the current epoch and the number of completed steps
        self._resume = False

    def __len__(self) -> int:
        return self.size // self.step_size if self.drop_last else -(-self.size // self.step_size)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch()
        start = self._position[1] if self._resume and self._position[0] == epoch else 0
        self._resume = False
        order = self.order(epoch)
        for step in range(start, len(self)):
            self._position = (epoch, step + 1)
            yield self.batch(order, epoch, step)

    def order(self, epoch: int) -> Tensor:
        """The order of an epoch: indices into the image set, int64, (N,)."""
        return torch.randperm(len(self.image_set), generator=generator(self.seed, 0 if self.fixed else epoch))

    def batch(self, order: Tensor, epoch: int, step: int) -> Batch:
        """This process's share of a step; ``order`` is the order of the epoch."""
        indices = order[step * self.step_size : min((step + 1) * self.step_size, self.size)]
        draws = None if self.fixed else self._draws(indices, epoch, step)
        # Order and draws are generated on the CPU, so that they do not depend on the device of the images.
        indices = indices[self.rank :: self.world_size].to(self.image_set.images.device, non_blocking=True)
        images, labels, positions = self.image_set.take(indices)
        return Batch(images, labels, draws, positions)

    def _draws(self, indices: Tensor, epoch: int, step: int) -> Draws:
        # Each process draws for all images of the step (``indices``) and takes its own rows, so that the augmentation
        # does not depend on the number of processes.
        draws = draw(len(indices), generator(self.seed, epoch, step + 1))
        if self.mirrored_first is not None:
            draws = draws._replace(mirrored=self.mirrored_first[indices] ^ bool(epoch % 2))
        return draws.rows(self.rank, self.world_size)

    def state_dict(self) -> dict[str, Any]:
        """The current epoch and step."""
        epoch, step = self._position
        return {"epoch": epoch, "step": step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved position if the next iteration is over the same epoch."""
        self._position = (state["epoch"], state["step"])
        self._resume = True
