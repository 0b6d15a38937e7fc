"""The network of the 94 % record: few layers, whitened input, BatchNorm without a trained scale.

Source: Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (2024), https://arxiv.org/abs/2404.00498, and its
repository KellerJordan/cifar10-airbench.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.input_checks.backbones import check_at_least, check_channels
from cifar_cnn.parts import remember_arguments

Activation = Literal["gelu", "silu"]


@remember_arguments
class SpeedrunGroup(nn.Module):
    """conv - 2x2 max-pooling - BN - GELU - conv - BN - GELU; the convolutions start as the identity.

    A third convolution, conv - BN, is added to the output of the first, before the last GELU.

    Args:
        in_channels: channels of the input.
        channels: channels of the output, and between the convolutions.
        norm_momentum: momentum of BatchNorm's running statistics.
        depth: number of convolutions, 2 or 3.
        activation: ``gelu`` or ``silu``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        norm_momentum: float = 0.4,
        depth: Literal[2, 3] = 2,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.conv1 = _identity_conv(in_channels, channels)
        self.pool = nn.MaxPool2d(2)
        self.bn1 = _bias_norm(channels, norm_momentum)
        self.conv2 = _identity_conv(channels, channels)
        self.bn2 = _bias_norm(channels, norm_momentum)
        self.conv3 = _identity_conv(channels, channels) if depth == 3 else None
        self.bn3 = _bias_norm(channels, norm_momentum) if depth == 3 else None
        self.activation = nn.GELU() if activation == "gelu" else nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H // 2, W // 2)."""
        first = self.activation(self.bn1(self.pool(self.conv1(x))))
        x = self.activation(self.bn2(self.conv2(first)))
        if self.conv3 is None or self.bn3 is None:
            return x
        return self.activation(first + self.bn3(self.conv3(x)))


@remember_arguments
class SpeedrunNet(nn.Module):
    """Whitening convolution, three groups of two or three convolutions, maximum over the image, one linear layer.

    The callback WhitenFirstConv computes the first convolution from the training images and freezes it. Without the
    callback, this convolution is trained like any other.

    Args:
        num_classes: number of logits.
        widths: number of channels of the three groups.
        whitening_size: kernel size of the first convolution, which has two filters of opposite sign per patch
            dimension.
        logit_scale: factor of the logits; by default 1 / widths[-1].
        norm_momentum: momentum of BatchNorm's running statistics. The source uses 0.4 for batches of 2000 images;
            smaller batches need a smaller value.
        in_channels: number of channels of the images.
        depth: number of convolutions in each group: 2, or 3 with a residual connection, as in the 96 % record.
        activation: ``gelu`` or ``silu``, of the groups; the whitened image always goes through GELU.
    """

    def __init__(
        self,
        num_classes: int = 10,
        widths: tuple[int, int, int] = (64, 256, 256),
        whitening_size: int = 2,
        logit_scale: float | None = None,
        norm_momentum: float = 0.4,
        in_channels: int = 3,
        depth: Literal[2, 3] = 2,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        # Each group halves the image, and at least one pixel must remain.
        self.min_size = 8 + whitening_size - 1
        first = 2 * in_channels * whitening_size**2
        if any(c_out < c_in for c_in, c_out in zip((first, *widths), widths, strict=False)):
            raise InputError(
                f"widths must not decrease, nor be below the {first} filters of the first layer; they are {widths}"
            )
        self.whitening = nn.Conv2d(in_channels, first, whitening_size)
        self.activation = nn.GELU()
        self.groups = nn.Sequential(
            *(
                SpeedrunGroup(c_in, c_out, norm_momentum, depth, activation)
                for c_in, c_out in zip((first, *widths), widths, strict=False)
            )
        )
        self.pool = nn.AdaptiveMaxPool2d(1)  # over 3x3 pixels, for images of 32x32
        self.head = nn.Linear(widths[-1], num_classes, bias=False)
        self.logit_scale = logit_scale if logit_scale is not None else 1 / widths[-1]
        with torch.no_grad():
            self.head.weight /= self.head.weight.std()

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, num_classes); InputError for other channels or small images."""
        check_channels(images, "SpeedrunNet", self.in_channels)
        check_at_least(images, "SpeedrunNet", self.min_size)
        x = self.groups(self.activation(self.whitening(images)))
        return self.head(torch.flatten(self.pool(x), 1)) * self.logit_scale


def _identity_conv(in_channels: int, channels: int) -> nn.Conv2d:
    """A 3x3 convolution without bias whose first ``in_channels`` filters are the identity."""
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight[:in_channels].data)
    return conv


def _bias_norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    """BatchNorm with a trained bias and a scale of 1."""
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm
