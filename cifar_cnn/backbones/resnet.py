"""The residual block and ResNet-18 (exercise 4).

Source: He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition (2015), https://arxiv.org/abs/1512.03385.
"""

import torch
from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.input_checks.backbones import check_channels
from cifar_cnn.parts import remember_arguments


@remember_arguments
class ResidualBlock(nn.Module):
    """conv - BN - ReLU - conv - BN, plus the input, then ReLU.

    If the block changes the shape, the shortcut is a 1x1 convolution followed by BN. ``channels`` is the number of
    channels of both convolutions, ``stride`` the stride of the first one.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        # Registered first, so that the last 4-D tensor in a network's parameters() is not a shortcut.
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


@remember_arguments
class ResNet18(nn.Module):
    """ResNet-18 with a configurable stem.

    The default stem is for small images: a 3x3 convolution with stride 1 and no pooling. The paper's stem, for images
    of 224x224 pixels, is ``stem_kernel_size=7, stem_stride=2, stem_pool=True``.

    Args:
        num_classes: number of logits.
        stem_kernel_size: kernel size of the first convolution; odd.
        stem_stride: stride of the first convolution.
        stem_pool: add 3x3 max-pooling with stride 2 to the stem.
        channels: number of channels of the four stages.
        in_channels: number of channels of the images.
    """

    def __init__(
        self,
        num_classes: int = 10,
        stem_kernel_size: int = 3,
        stem_stride: int = 1,
        stem_pool: bool = False,
        channels: tuple[int, int, int, int] = (64, 128, 256, 512),
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if stem_kernel_size % 2 == 0:
            raise InputError(f"stem_kernel_size must be odd; it is {stem_kernel_size}")
        self.in_channels = in_channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels[0], stem_kernel_size, stem_stride, stem_kernel_size // 2, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1) if stem_pool else nn.Identity(),
        )
        stages = []
        c_in = channels[0]
        for stage, c_out in enumerate(channels):
            stages += [ResidualBlock(c_in, c_out, stride=1 if stage == 0 else 2), ResidualBlock(c_out, c_out)]
            c_in = c_out
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in the paper's code and torchvision's
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, num_classes); InputError for other numbers of channels."""
        check_channels(images, "ResNet18", self.in_channels)
        features = self.pool(self.blocks(self.stem(images)))
        return self.head(torch.flatten(features, 1))
