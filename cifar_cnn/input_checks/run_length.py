"""The length of a run, on which schedules and progressive resizing depend."""

from collections.abc import Sequence

from cifar_cnn.errors import InputError

Sizes = Sequence[tuple[float, int]]  # (fraction of the run at which it starts, pixels a side)


def finite_steps(steps: float, what: str) -> int:
    """The number of steps of a run, if it has an end.

    Args:
        steps: as the Trainer estimates them.
        what: the setting that depends on it, for the message.

    Raises:
        InputError: the run has no end.
    """
    if steps == float("inf"):
        raise InputError(
            f"{what} needs the run's length: set max_epochs or max_steps of the trainer",
            options=["trainer.max_epochs", "trainer.max_steps"],
        )
    return int(steps)


def check_sizes(sizes: Sizes, side: int | None = None) -> None:
    """Check the fractions and sizes of progressive resizing.

    Raises:
        InputError: the fractions do not rise from 0, or a size is not between 1 and ``side``, if that is given.
    """
    starts = [fraction for fraction, _ in sizes]
    if starts and (starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= 1):
        raise InputError(f"image_sizes must start at fraction 0 of the run and rise; they start at {starts}")
    if any(size < 1 for _, size in sizes):
        raise InputError("image_sizes must be 1 or more pixels")
    if side is not None and any(size > side for _, size in sizes):
        raise InputError(f"image_sizes must not exceed the images' {side} pixels; they are {list(sizes)}")
