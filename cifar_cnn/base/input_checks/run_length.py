"""Checks for schedules and progressive resizing, which depend on the length of a run."""

from collections.abc import Sequence

from lightning.pytorch import Trainer

from cifar_cnn.base.errors import InputError

Sizes = Sequence[tuple[float, int]]  # (fraction of the run at which the size applies, pixels per side)


def finite_steps(steps: float, what: str) -> int:
    """The number of steps in a run as an int.

    Args:
        steps: the Trainer's ``estimated_stepping_batches``.
        what: the setting that depends on the number, for the message.

    Raises:
        InputError: the number is infinite.
    """
    if steps == float("inf"):
        raise InputError(
            f"{what} needs the length of the run: set max_epochs or max_steps of the trainer",
            options=["trainer.max_epochs", "trainer.max_steps"],
        )
    return int(steps)


def check_batch_sizes(*sizes: int) -> None:
    """Check the numbers of images per step.

    Raises:
        InputError: one is below 1.
    """
    if min(sizes) < 1:
        raise InputError(f"batch sizes must be 1 or more, not {' and '.join(map(str, sizes))}")


def check_sizes(sizes: Sizes, side: int | None = None) -> None:
    """Check the fractions and sizes of progressive resizing.

    Raises:
        InputError: the fractions do not increase from 0, or a size is below 1 or above ``side``.
    """
    starts = [fraction for fraction, _ in sizes]
    if starts and (starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= 1):
        raise InputError(f"the fractions in image_sizes must increase from 0 and stay below 1; they are {starts}")
    if any(size < 1 for _, size in sizes):
        raise InputError("the sizes in image_sizes must be 1 or more pixels")
    if side is not None and any(size > side for _, size in sizes):
        raise InputError(f"image_sizes must not exceed the {side} pixels of the images; they are {list(sizes)}")


def side_at_this_step(sizes: Sizes, trainer: Trainer | None) -> int | None:
    """The side of training images at this step in pixels; None without progressive resizing or a running Trainer.

    Args:
        sizes: pairs of (fraction of the run, pixels per side).
        trainer: the running Trainer.
    """
    if not sizes or trainer is None:
        return None
    done = trainer.global_step / finite_steps(trainer.estimated_stepping_batches, "image_sizes")
    return next(size for fraction, size in reversed(sizes) if done >= fraction)
