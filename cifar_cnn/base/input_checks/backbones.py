"""Checks of a backbone's input images: (N, C, H, W)."""

from torch import Tensor

from cifar_cnn.base.errors import InputError


def check_channels(images: Tensor, network: str, channels: int) -> None:
    """Check the number of channels.

    Raises:
        InputError: the images have another number of channels.
    """
    if images.shape[1] != channels:
        raise InputError(
            f"{network} was made for {channels} channels; the images have {images.shape[1]}: set in_channels of the "
            "backbone",
            options=["model.backbone.in_channels"],
        )


def check_at_least(images: Tensor, network: str, side: int) -> None:
    """Check that height and width are at least ``side`` pixels.

    Raises:
        InputError: the images are too small.
    """
    height, width = images.shape[-2:]
    if min(height, width) < side:
        raise InputError(f"{network} needs images of at least {side}x{side} pixels; they have {height}x{width}")


def check_exactly(images: Tensor, network: str, side: int, alternative: str) -> None:
    """Check that height and width are ``side`` pixels.

    Args:
        images: (N, C, H, W).
        network: name of the network, for the message.
        side: the argument ``image_size`` of the network.
        alternative: another remedy than a new ``image_size``, for the message.

    Raises:
        InputError: the images have another size.
    """
    height, width = images.shape[-2:]
    if (height, width) != (side, side):
        raise InputError(
            f"{network} was made for {side}x{side} pixels, the images have {height}x{width}: "
            f"set image_size of the backbone, or {alternative}",
            options=["model.backbone.image_size"],
        )
