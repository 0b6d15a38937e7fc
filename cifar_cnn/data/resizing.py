"""Progressive resizing: how large training images are in each part of a run."""

from collections.abc import Sequence

from cifar_cnn.errors import InputError

Sizes = Sequence[tuple[float, int]]  # (fraction of the run from which it holds, pixels a side)


def check_sizes(sizes: Sizes, side: int | None = None) -> None:
    """Check the fractions and, if the images' ``side`` is given, that no size is larger.

    Raises:
        InputError: see above.
    """
    starts = [fraction for fraction, _ in sizes]
    if starts and (starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= 1):
        raise InputError(f"data.image_sizes must start at fraction 0 of the run and rise; they start at {starts}")
    if any(size < 1 for _, size in sizes):
        raise InputError("data.image_sizes are pixels a side, 1 or more")
    if side is not None and any(size > side for _, size in sizes):
        raise InputError(f"data.image_sizes go up to the images' {side} pixels; not {list(sizes)}")


def size_at(sizes: Sizes, done: float) -> int:
    """Pixels a side once the fraction ``done`` of the run is done."""
    return next(size for fraction, size in reversed(sizes) if done >= fraction)
