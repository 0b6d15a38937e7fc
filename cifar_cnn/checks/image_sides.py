"""Find the image size that a network needs, and explain how to provide it."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_SIDES = (64, 96, 128, 160, 192, 224, 256, 299, 384)  # common input sizes and some sizes between them


def smallest_side(runs: Callable[[int], bool], side: int) -> int | None:
    """The smallest image side in pixels on which a network runs; None if it runs on no common size.

    Args:
        runs: returns whether the network runs on images of a given side.
        side: a side on which the network does not run.
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
    """Explain in one sentence how to make a network and its images fit; None if unknown.

    Args:
        network: the network that failed.
        side: the side of the images, in pixels.
        needed: the smallest side on which the network runs, if known.
        source: the source of the images.
    """
    name = type(network).__name__
    made_for, patch = getattr(network, "image_size", None), getattr(network, "patch_size", None)
    if isinstance(made_for, int) and made_for != side and "image_size" in inspect.signature(type(network)).parameters:
        start = f"{name} is built for images of {made_for} x {made_for} pixels, but these have {side} x {side}"
        if isinstance(patch, int) and side % patch:
            return f"{start}, which is not a multiple of its patch size of {patch}: choose another patch size"
        return f"{start}: add --model.backbone.image_size {side}"
    if needed is None:
        return None
    start = f"{name} does not run on images of {side} x {side} pixels; it needs at least {needed} x {needed}"
    if "image_size" in inspect.signature(type(source)).parameters:
        return f"{start}: add --data.source.image_size {needed}, or use a network for small images"
    return f"{start}: use a network for small images, or larger images with --data.source ImageFolder"
