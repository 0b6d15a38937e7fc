"""Whitening: compute the first convolution from the training images instead of learning it."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from cifar_cnn.base.errors import InputError
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.subsets.splitting import random_order


class WhitenFirstConv(Callback):
    """Sets the backbone's first convolution to whitening filters of the training images, and freezes them.

    The filters are the eigenvectors of the patches' second moment divided by the square roots of their eigenvalues, and
    the negatives of these filters, so that the following activation keeps both signs. A bias is still trained. The
    filters in a checkpoint take precedence.

    Source: Page, How to Train Your ResNet 8 (2019); the negatives: Jordan, https://arxiv.org/abs/2404.00498.

    Args:
        images: number of training images that the filters are computed from. They are a random sample drawn with the
            data module's ``split_seed``, so that runs with different seeds have the same filters.
        eps: added to each eigenvalue, because the weakest patterns are mostly noise.
        bias_epochs: number of epochs for which the bias is trained, such as 3 or 0.2; by default all. After that it is
            frozen, and no gradient is computed for the layers before the second convolution.
    """

    def __init__(self, images: int = 5000, eps: float = 5e-4, bias_epochs: float | None = None) -> None:
        super().__init__()
        if images < 1 or eps < 0:
            raise InputError(f"whitening needs images >= 1 and eps >= 0, not {images} and {eps}")
        if bias_epochs is not None and not bias_epochs >= 0:
            raise InputError(f"bias_epochs must be 0 or more, not {bias_epochs}")
        self.images = images
        self.eps = eps
        self.bias_epochs = bias_epochs
        self._bias_is_done = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compute the filters, before the optimizer is created and a checkpoint is loaded."""
        if stage != "fit":
            return
        conv = _first_conv(pl_module)
        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(datamodule, CIFAR10DataModule):
            raise InputError("WhitenFirstConv takes the training images from a CIFAR10DataModule")
        with torch.no_grad():
            train = datamodule.train_images
            pixels = train[random_order(len(train), datamodule.subset.seed)[: self.images]]
            filters = whitening_filters(normalize(pixels, *datamodule.mean_std), conv.kernel_size[0], self.eps)
            if conv.weight.shape != filters.shape:
                raise InputError(
                    f"whitening computes a first convolution of shape {tuple(filters.shape)}, "
                    f"but that of {type(pl_module.backbone).__name__} has shape {tuple(conv.weight.shape)}"
                )
            conv.weight.copy_(filters)
        conv.weight.requires_grad_(False)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        bias = _first_conv(pl_module).bias
        done = trainer.current_epoch + batch_idx / trainer.num_training_batches
        self._bias_is_done = self.bias_epochs is not None and done >= self.bias_epochs
        # ddp waits for the gradient of each parameter that required one at the start of training.
        if self._bias_is_done and bias is not None and trainer.world_size == 1:
            bias.requires_grad_(False)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Keep the optimizer from changing a frozen bias under ddp, which still computes its gradient."""
        bias = _first_conv(pl_module).bias
        if self._bias_is_done and bias is not None:
            bias.grad = None


def whitening_filters(images: Tensor, size: int, eps: float) -> Tensor:
    """Filters whose responses to the patches of ``images`` are uncorrelated and of equal power.

    Args:
        images: float, (N, C, H, W), normalized.
        size: side of the patches.
        eps: added to each eigenvalue.

    Returns:
        (2 * C * size**2, C, size, size): the filters from the strongest pattern to the weakest, then their negatives.
        Patterns that no image has, as in gray images, are replaced by the strongest ones.
    """
    channels = images.shape[1]
    patches = images.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * size**2)
    # The images are normalized, so the mean of the patches is near zero and is not subtracted, as in the source.
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    chosen = _in_the_images(values)
    filters = (vectors[:, chosen] / (values[chosen] + eps).sqrt()).T.flip(0).reshape(-1, channels, size, size)
    return torch.cat([filters, -filters])


def _in_the_images(values: Tensor) -> Tensor:
    """Indices of the patterns to use, given the eigenvalues in ascending order.

    A constant channel, or gray images, have patterns without any power. Their responses are constant except for
    rounding errors, which a batch normalization after them would amplify: the strongest patterns take their places.
    """
    chosen = torch.arange(len(values), device=values.device)
    absent = values <= len(values) * torch.finfo(values.dtype).eps * values[-1]  # as in torch.linalg.matrix_rank
    if absent.any() and not absent.all():
        strongest = chosen[~absent].flip(0)
        chosen[absent] = strongest[chosen[absent] % len(strongest)].flip(0)
    return chosen


def _first_conv(pl_module: LightningModule) -> nn.Conv2d:
    conv = next((module for module in pl_module.modules() if isinstance(module, nn.Conv2d)), None)
    if conv is None:
        raise InputError("whitening needs a network with a convolution")
    return conv
