"""The lab's plain convolutional networks (exercises 1, 2, 3 and 6)."""

from typing import Literal

from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.input_checks.backbones import check_at_least, check_channels, check_exactly
from cifar_cnn.parts import remember_arguments


@remember_arguments
class SimpleCNN(nn.Module):
    """Two unpadded convolutions, each followed by ReLU and 2x2 max-pooling, and a classification head.

    Args:
        channels: output channels of the two convolutions and size of the hidden layer.
        kernel_sizes: kernel sizes of the two convolutions.
        batch_norm: add BatchNorm after each convolution (exercise 2).
        head: ``flatten``: two linear layers on all features (exercises 1 and 2); ``max_pool``: the same layers on each
            channel's maximum over the image (exercise 3); ``conv``: a 3x3 convolution and a 1x1 convolution to the
            classes, averaged over the image, without linear layers (exercise 6).
        num_classes: number of logits.
        image_size: height and width of the images; only the ``flatten`` head depends on it.
        in_channels: number of channels of the images.
    """

    def __init__(
        self,
        channels: tuple[int, int, int] = (32, 64, 128),
        kernel_sizes: tuple[int, int] = (3, 3),
        batch_norm: bool = False,
        head: Literal["flatten", "max_pool", "conv"] = "flatten",
        num_classes: int = 10,
        image_size: int = 32,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        n1, n2, n3 = channels
        k1, k2 = kernel_sizes
        self.in_channels = in_channels
        self.image_size = image_size if head == "flatten" else None
        side = ((image_size - k1 + 1) // 2 - k2 + 1) // 2
        # The smallest side that leaves one pixel after both poolings and, in the conv head, the third convolution.
        self.min_size = 2 * (2 * (3 if head == "conv" else 1) + k2 - 1) + k1 - 1
        if image_size < self.min_size:
            raise InputError(
                f"SimpleCNN with unpadded kernels {k1} and {k2} and head {head} needs images of at least "
                f"{self.min_size}x{self.min_size} pixels; image_size is {image_size}"
            )

        self.features = nn.Sequential(
            *self._conv(in_channels, n1, k1, batch_norm),
            nn.MaxPool2d(2),
            *self._conv(n1, n2, k2, batch_norm),
            nn.MaxPool2d(2),
        )
        if head == "conv":
            self.head = nn.Sequential(
                *self._conv(n2, n3, 3, batch_norm),
                nn.Conv2d(n3, num_classes, 1),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
        else:
            self.head = nn.Sequential(
                nn.AdaptiveMaxPool2d(1) if head == "max_pool" else nn.Identity(),
                nn.Flatten(),
                nn.Linear(n2 if head == "max_pool" else n2 * side * side, n3),
                nn.ReLU(),
                nn.Linear(n3, num_classes),
            )

    @staticmethod
    def _conv(c_in: int, c_out: int, kernel_size: int, batch_norm: bool) -> list[nn.Module]:
        # BatchNorm subtracts the mean, which cancels any bias.
        layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, kernel_size, bias=not batch_norm)]
        if batch_norm:
            layers.append(nn.BatchNorm2d(c_out))
        return [*layers, nn.ReLU()]

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, num_classes); InputError for other channels or unsuitable sizes."""
        check_channels(images, "SimpleCNN", self.in_channels)
        if self.image_size:
            check_exactly(images, "SimpleCNN with head flatten", self.image_size, "use head max_pool or conv")
        check_at_least(images, "SimpleCNN", self.min_size)
        return self.head(self.features(images))
