"""Progressive resizing: the size of training images in each part of a run."""

from collections.abc import Sequence

from cifar_cnn.errors import InputError

Sizes = Sequence[tuple[float, int]]  # (fraction of the run at which it starts, pixels a side)


def check_sizes(sizes: Sizes, side: int | None = None) -> None:
    """Check the fractions and sizes.

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


def size_at(sizes: Sizes, step: int, total_steps: float) -> int:
    """Pixels a side after ``step`` of ``total_steps`` steps.

    Raises:
        InputError: the run has no end.
    """
    if total_steps == float("inf"):
        raise InputError(
            "image_sizes needs the run's length: set max_epochs or max_steps of the trainer",
            options=["trainer.max_epochs", "trainer.max_steps"],
        )
    return next(size for fraction, size in reversed(sizes) if step / total_steps >= fraction)
