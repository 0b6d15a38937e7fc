"""Fractions of a batch."""

from cifar_cnn.base.errors import InputError


def checked_fraction(fraction: float) -> float:
    """A fraction of the images for test-time augmentation.

    Raises:
        InputError: it is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"tta_fraction must be above 0 and at most 1; it is {fraction}")
    return fraction
