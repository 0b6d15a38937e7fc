"""On images of which size a network runs, and how to give it such images."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_SIDES = (64, 96, 128, 160, 192, 224, 256, 299, 384)  # that networks are made for, and some between


def smallest_side(runs: Callable[[int], bool], side: int) -> int | None:
    """A small number of pixels a side on which a network runs, and on one less not; None if it runs on no usual size.

    Args:
        runs: tries a number of pixels.
        side: on which it does not run.
    """
    fails, found = side, None
    for each in _SIDES:
        if each > side and runs(each):
            found = each
            break
        fails = max(fails, each)
    while found is not None and found - fails > 1:
        middle = (fails + found) // 2
        fails, found = (fails, middle) if runs(middle) else (middle, found)
    return found


def wrong_side(network: nn.Module, side: int, needed: int | None, source: Any) -> str | None:
    """What to do about a network that does not run on the images, in one sentence; None if that is not known.

    Args:
        network: that has failed.
        side: pixels a side of the images.
        needed: on which it runs.
        source: of the images.
    """
    name = type(network).__name__
    made_for, patch = getattr(network, "image_size", None), getattr(network, "patch_size", None)
    if isinstance(made_for, int) and made_for != side and "image_size" in inspect.signature(type(network)).parameters:
        start = f"{name} is made for images of {made_for} x {made_for} pixels, and these have {side} x {side}"
        if isinstance(patch, int) and side % patch:
            return f"{start}, which its patches of {patch} pixels do not divide: choose another patch size"
        return f"{start}: give --model.backbone.image_size {side}"
    if needed is None:
        return None
    start = f"{name} does not run on images of {side} x {side} pixels, but does on {needed} x {needed}"
    if "image_size" in inspect.signature(type(source)).parameters:
        return f"{start}: give --data.source.image_size {needed}, or take a network for small images"
    return f"{start}: take a network for small images, or larger ones by --data.source ImageFolder"
