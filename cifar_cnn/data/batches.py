"""The order of the batches: fixed in evaluation, a pure function of (seed, epoch, step) in training."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cifar_cnn.data.augment import Draws, draw
from cifar_cnn.data.images import ImageSet
from cifar_cnn.errors import InputError
from cifar_cnn.generators import generator
from cifar_cnn.input_checks.images import check_normalised
from cifar_cnn.splitting import random_order


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        images: (N, C, H, W): uint8 from the loader, normalised floats once the batch is on the device.
        labels: int64, (N,): indices of class names.
        draws: random numbers for the augmentation; None if there is none, or once it is done.
        indices: int64, (N,): positions in the loader's ``image_set``; None if no loader made the batch.
    """

    images: Tensor
    labels: Tensor
    draws: Draws | None = None
    indices: Tensor | None = None


def as_batch(batch: Any) -> Batch:
    """Make a Batch of (images, labels) from an ordinary DataLoader; a Batch is returned unchanged.

    Raises:
        InputError: the images are not normalised floats.
    """
    if isinstance(batch, Batch):
        return batch
    images, labels = batch[:2]
    check_normalised(images)
    return Batch(images, labels)


class EvalBatches:
    """All images once, for validation and test, in a random order that is the same in every run.

    The order depends on the number of images alone. Its first batches are a random sample, also if the images are
    stored by class.

    Args:
        image_set: the images.
        batch_size: images per step in this process; the last batch may be smaller.
        rank: index of this process, from 0.
        world_size: number of processes, which share each step's images. No image is seen twice.
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
        images, labels = self.image_set.images, self.image_set.labels
        step_size = self.batch_size * self.world_size
        for start in range(0, len(labels), step_size):
            share = slice(start + self.rank, start + step_size, self.world_size)
            indices = self.order[share].to(images.device, non_blocking=True)
            yield Batch(images[indices], labels[indices], indices=indices)


class TrainBatches:
    """The images in a new random order each epoch, with the draws for their augmentation.

    Order and draws depend on (seed, epoch, step) alone. A run resumed in mid-epoch therefore sees the same batches, and
    two processes with half the batch size together see the batches of one.

    Args:
        image_set: the images.
        batch_size: images per step in this process.
        seed: seed of order and augmentation.
        epoch: called when an iteration starts; returns the epoch to iterate over.
        drop_last: leave out the images that do not fill the last step, different ones in each epoch.
        rank: index of this process, from 0.
        world_size: number of processes, which share each step's images.
        alternating_flip: mirror each image in every second epoch; the first one is random.
        fixed: give the batches of the first epoch in every epoch, without augmentation (``overfit_batches``).
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
        # Equal shares, because ddp weights all processes equally; up to world_size - 1 images are left out.
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
        self._position = (0, 0)  # the current epoch and the number of its steps that are done
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
        """An epoch's order as indices into the image set: int64, (N,)."""
        return torch.randperm(len(self.image_set), generator=generator(self.seed, 0 if self.fixed else epoch))

    def batch(self, order: Tensor, epoch: int, step: int) -> Batch:
        """This process's share of a step; ``order`` is that epoch's."""
        indices = order[step * self.step_size : min((step + 1) * self.step_size, self.size)]
        draws = None if self.fixed else self._draws(indices, epoch, step)
        # Order and draws are made on the CPU: they are the same wherever the images are.
        indices = indices[self.rank :: self.world_size].to(self.image_set.images.device, non_blocking=True)
        return Batch(self.image_set.images[indices], self.image_set.labels[indices], draws, indices)

    def _draws(self, indices: Tensor, epoch: int, step: int) -> Draws:
        """The draws for this process's images; ``indices`` are those of the whole step."""
        # Each process draws for the whole step and takes its rows: augmentation does not depend on their number.
        draws = draw(len(indices), generator(self.seed, epoch, step + 1))
        if self.mirrored_first is not None:
            draws = draws._replace(mirrored=self.mirrored_first[indices] ^ bool(epoch % 2))
        return draws.rows(self.rank, self.world_size)

    def state_dict(self) -> dict[str, Any]:
        """The position of the iteration."""
        epoch, step = self._position
        return {"epoch": epoch, "step": step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved position if the next iteration is over the same epoch."""
        self._position = (state["epoch"], state["step"])
        self._resume = True
