from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from cifar_cnn.backbones import SimpleCNN, SpeedrunNet
from cifar_cnn.base.channel_statistics import channel_mean_std
from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.whitening import WhitenFirstConv, whitening_filters
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, ImageSet, Shapes, Source
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.sources import Split


def fit(backbone: nn.Module, whitening: WhitenFirstConv, *callbacks: Callback, **arguments: Any) -> ImageClassifier:
    model = ImageClassifier(backbone)
    trainer = Trainer(
        **{"max_epochs": 1, "limit_train_batches": 2, **arguments},
        callbacks=[whitening, *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, CIFAR10DataModule(Shapes(200, 10), batch_size=32, val_size=0))
    return model


def test_the_filters_responses_are_uncorrelated_and_of_unit_power() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(50, 3, 12, 12, generator=generator).cumsum(3)  # neighbors are correlated
    filters = whitening_filters(images, 2, eps=0.0)
    assert filters.shape == (24, 3, 2, 2)
    assert torch.equal(filters[:12], -filters[12:])
    responses = nn.functional.conv2d(images, filters[:12]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(responses @ responses.T / responses.shape[1], torch.eye(12), rtol=0, atol=1e-3)
    # Filters are ordered from the strongest pattern to the weakest, so their scale increases.
    norms = filters[:12].flatten(1).norm(dim=1)
    assert torch.equal(norms, norms.sort().values)


@pytest.mark.parametrize(("kind", "patterns"), [("no blue", 8), ("gray", 4)])
def test_patterns_without_power_are_replaced_by_the_strongest(kind: str, patterns: int) -> None:
    pixels = torch.randint(0, 256, (50, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if kind == "no blue":
        pixels[:, 2] = 0
    else:
        pixels[:] = pixels[:, :1].clone()
    mean, std = channel_mean_std(pixels)
    images = normalize(pixels, torch.tensor(mean), torch.tensor(std))
    filters = whitening_filters(images, 2, eps=5e-4)
    assert len(filters.unique(dim=0)) == 2 * patterns
    power = nn.functional.conv2d(images, filters).square().mean((0, 2, 3))
    torch.testing.assert_close(power, torch.ones(24), rtol=0, atol=1e-2)


class SortedByClass(Source):
    """Dim images, then noisy ones, sorted by class as in class folders."""

    class_names = ("dim", "noisy")

    def load(self, split: Split) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (400, 3, 8, 8), dtype=torch.uint8, generator=generator)
        images[:200] //= 16
        return ImageSet(images, torch.arange(400) // 200, self.class_names)


def test_the_filters_fit_all_images_even_if_sorted_by_class() -> None:
    filters = []
    for split_seed in (0, 0, 1):
        data = CIFAR10DataModule(SortedByClass(), val_size=0, split_seed=split_seed)
        data.setup("fit")
        net = SpeedrunNet(widths=(24, 32, 32))
        model = ImageClassifier(net)
        WhitenFirstConv(images=200).setup(SimpleNamespace(datamodule=data), model, "fit")  # type: ignore[arg-type]
        filters.append(net.whitening.weight)
        mean, std = data.mean_std
        pixels = normalize(data.train_images, torch.tensor(mean), torch.tensor(std))
        power = nn.functional.conv2d(pixels, filters[-1]).square().mean((0, 2, 3))
        assert power.sqrt().min() > 0.8
        assert power.sqrt().max() < 1.2
    assert torch.equal(filters[0], filters[1])
    assert not torch.equal(filters[0], filters[2])


def test_the_filters_are_set_before_training_and_frozen() -> None:
    net = SpeedrunNet(widths=(24, 32, 32))
    at_start: list[torch.Tensor] = []

    class Watch(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            at_start.append(net.whitening.weight.clone())

    bias = net.whitening.bias
    assert bias is not None
    bias_before = bias.detach().clone()
    fit(net, WhitenFirstConv(images=100), Watch())
    assert torch.equal(net.whitening.weight, at_start[0])
    assert torch.equal(net.whitening.weight[:12], -net.whitening.weight[12:])
    assert not torch.equal(bias, bias_before)


@pytest.mark.parametrize(("bias_epochs", "changes"), [(0, False), (1, True), (None, True)])
def test_the_bias_is_trained_for_its_epochs(bias_epochs: int | None, changes: bool) -> None:
    net = SpeedrunNet(widths=(24, 32, 32))
    bias = net.whitening.bias
    assert bias is not None
    before = bias.detach().clone()
    fit(net, WhitenFirstConv(bias_epochs=bias_epochs), max_epochs=2)
    assert torch.equal(bias, before) is not changes
    assert bias.requires_grad is (bias_epochs is None)


def test_the_bias_is_trained_for_a_fraction_of_an_epoch() -> None:
    net = SpeedrunNet(widths=(24, 32, 32))
    bias = net.whitening.bias
    assert bias is not None
    kept, trained = bias, list[bool]()

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            trained.append(kept.requires_grad)

    fit(net, WhitenFirstConv(bias_epochs=1.5), Watch(), max_epochs=3)  # of two steps each
    assert trained == [True, True, True, False, False, False]
    with pytest.raises(InputError, match="bias_epochs must be 0 or more, not -1"):
        WhitenFirstConv(bias_epochs=-1)


def test_a_first_convolution_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"of shape \(54, 3, 3, 3\), but that of SimpleCNN has shape \(32, 3, 3, 3\)"):
        fit(SimpleCNN(), WhitenFirstConv())
    with pytest.raises(InputError, match="needs a network with a convolution"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), WhitenFirstConv())


def test_any_network_with_a_fitting_first_convolution_is_whitened() -> None:
    net = nn.Sequential(nn.Conv2d(3, 54, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(54, 10))
    fit(net, WhitenFirstConv())
    weight = net[0].weight
    assert isinstance(weight, nn.Parameter)
    assert torch.equal(weight[:27], -weight[27:])
