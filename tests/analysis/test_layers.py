from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.ops import Permute

from cifar_cnn.analysis.network import fields
from cifar_cnn.analysis.network.costs import macs_of
from cifar_cnn.analysis.network.layers import Field, layers_of, sharing_of
from cifar_cnn.analysis.network.layouts import CHANNELS_FIRST, Layout
from cifar_cnn.backbones import ResNet18, SimpleCNN


class Branches(nn.Module):
    """A network with a sum of branches, dilation, and pooling by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.conv3 = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images)
        x = functional.avg_pool2d(x + self.conv2(x), 2)
        return self.head(self.conv3(x).mean((2, 3)))


@pytest.mark.parametrize("network", [SimpleCNN((4, 4, 4), head="conv"), Branches()], ids=["SimpleCNN", "Branches"])
def test_receptive_field_equals_the_extent_of_the_gradient(network: nn.Module) -> None:
    torch.manual_seed(0)
    network.eval()
    modules = dict(network.named_modules())
    layers = [layer for layer in layers_of(network, (3, 32, 32)) if layer.is_map]
    assert len(layers) >= 3
    images = torch.randn(64, 3, 32, 32, requires_grad=True)
    for layer in layers:
        outputs: list[Tensor] = []
        handle = modules[layer.name].register_forward_hook(lambda *call, outputs=outputs: outputs.append(call[2]))
        network(images)
        handle.remove()
        middle = layer.output_shape[1] // 2 - (1 if layer.output_shape[1] < 8 else 0)
        (gradient,) = torch.autograd.grad(outputs[0][:, :, middle, middle].sum(), images)
        reached = gradient.abs().sum((0, 1)).nonzero()
        sides = (reached.max(0).values - reached.min(0).values + 1).tolist()
        assert sides == [layer.field.size] * 2, layer


def test_layers_of_the_lab_network_by_hand() -> None:
    layers = layers_of(SimpleCNN(batch_norm=True).eval(), (3, 32, 32))
    found = {
        layer.name: (layer.kind, layer.output_shape, layer.parameters, layer.macs, layer.field) for layer in layers
    }
    assert found == {
        "features.0": ("Conv2d", (32, 30, 30), 3 * 32 * 9, 30 * 30 * 32 * 27, Field(3, 1)),
        "features.1": ("BatchNorm2d", (32, 30, 30), 64, 0, Field(3, 1)),
        "features.3": ("MaxPool2d", (32, 15, 15), 0, 0, Field(4, 2)),
        "features.4": ("Conv2d", (64, 13, 13), 32 * 64 * 9, 13 * 13 * 64 * 288, Field(8, 2)),
        "features.5": ("BatchNorm2d", (64, 13, 13), 128, 0, Field(8, 2)),
        "features.7": ("MaxPool2d", (64, 6, 6), 0, 0, Field(10, 4)),
        "head.1": ("Flatten", (2304,), 0, 0, Field(10, 4)),
        "head.2": ("Linear", (128,), 2305 * 128, 2304 * 128, Field(None, 4)),
        "head.4": ("Linear", (10,), 129 * 10, 1280, Field(None, 4)),
    }


def test_layers_of_resnet18_add_up() -> None:
    network = ResNet18().eval()
    layers = layers_of(network, (3, 32, 32))
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    assert sum(layer.macs for layer in layers) == 555_422_720  # 0.56 G, as others report it
    assert network.training is False
    assert [layer.field.stride for layer in layers if layer.name.endswith("conv2")] == [1, 1, 2, 2, 4, 4, 8, 8]


def test_sharing_by_hand() -> None:
    network = SimpleCNN((32, 64, 128)).eval()
    first, second = sharing_of(network, layers_of(network, (3, 32, 32)))
    assert (first.inputs, first.outputs, first.inputs_of_one) == (3 * 32 * 32, 32 * 30 * 30, 27)
    assert first.parameters == 27 * 32 + 32
    assert first.full_parameters == 3072 * 28800 + 28800
    assert (first.connections, first.full_connections) == (28800 * 27, 3072 * 28800)
    assert second.kind == "3x3, 32 → 64"


class Encoder(nn.Module):
    """Patches and torch's own transformer."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 4, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)
        self.head = nn.Linear(64, 10)
        self.mask = nn.Transformer.generate_square_subsequent_mask(64) if causal else None

    def forward(self, images: Tensor) -> Tensor:
        patches = self.stem(images).flatten(2).transpose(1, 2)
        return self.head(self.encoder(patches, mask=self.mask).mean(1))


class Rows(nn.Module):
    """An LSTM over the rows of an image, a weight-normed layer, and a product with a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(96, 5, batch_first=True)
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(160, 10))
        self.vector = nn.Parameter(torch.ones(160))

    def forward(self, images: Tensor) -> Tensor:
        x = self.lstm(images.permute(0, 2, 1, 3).flatten(2))[0].flatten(1)
        return self.linear(x) * (x @ self.vector)[:, None]


def small_vit() -> VisionTransformer:
    return VisionTransformer(32, 4, 2, 4, 64, 128, num_classes=10)


def small_convnext() -> ConvNeXt:
    return ConvNeXt([CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 1)], num_classes=10)


def small_swin() -> SwinTransformer:
    return SwinTransformer([4, 4], 12, [2, 2], [2, 2], [2, 2], num_classes=10)


ATTENTION = 64 * 64 * 3 * 64 + 2 * 64 * 64 * 64 + 64 * 64 * 64  # of 64 patches: queries, keys, values; products; output


@pytest.mark.parametrize(
    ("make", "macs"),
    [
        (small_vit, 5_538_688),
        (Encoder, 64 * 48 * 64 + 2 * (ATTENTION + 2 * 64 * 64 * 128) + 640),
        (Rows, 32 * 4 * 5 * (96 + 5) + 1600 + 160),
    ],
)
def test_operations_outside_of_modules_are_counted(make: Callable[[], nn.Module], macs: int) -> None:
    network = make()
    layers = layers_of(network, (3, 32, 32))
    assert sum(layer.macs for layer in layers) == macs
    assert macs_of(network, (3, 32, 32)) == macs
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())


def test_attention_and_class_token_have_separate_rows() -> None:
    layers = {layer.name: layer for layer in layers_of(small_vit(), (3, 32, 32))}
    attention = layers["encoder.layers.encoder_layer_1.self_attention"]
    assert attention.macs == 65 * 64 * 3 * 64 + 2 * 65 * 65 * 64 + 65 * 64 * 64
    assert attention.parameters == 3 * (64 + 1) * 64 + (64 + 1) * 64
    assert (layers["encoder"].parameters, layers[""].parameters) == (65 * 64, 64)
    assert layers["encoder.layers.encoder_layer_0.ln_1"].field == Field(4, 4)
    assert layers["encoder.layers.encoder_layer_0.ln_2"].field == Field(None, 4)


class Excitation(nn.Module):
    """Squeeze and excitation between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.scale, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images)
        x = x * self.scale(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(self.conv2(x).amax((2, 3)))


class ChannelsLast(nn.Module):
    """Two convolutions with a normalization of each position in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.conv1(images).permute(0, 2, 3, 1))
        return self.head(self.conv2(x.permute(0, 3, 1, 2)).mean((2, 3)))


class Overwriting(nn.Module):
    """Half of the channels see more than the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 5, padding=2), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images)
        x[:, :4] = self.conv2(x[:, :4])
        return self.head(self.conv3(x).mean((2, 3)))


def head(channels: int, places: int = 1) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(places), nn.Flatten(), nn.Linear(channels * places**2, 10)]


@pytest.mark.parametrize(
    ("network", "name", "field"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3), *head(8)), "2", Field(None, 1)),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8), nn.Conv2d(8, 8, 3), *head(8)), "2", Field(None, 1)),
        (Excitation(), "conv2", Field(None, 1)),
        (ChannelsLast(), "norm", Field(3, 2)),
        (ChannelsLast(), "conv2", Field(7, 2)),
        (Overwriting(), "conv3", Field(5, 1)),
        (nn.Sequential(nn.Conv2d(3, 4, (1, 7)), nn.Conv2d(4, 4, (7, 1)), *head(4)), "1", Field(7, 1)),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *head(4, 4)), "1", Field(10, 8)),
        (nn.Sequential(nn.Conv2d(3, 4, 5, padding=2, padding_mode="circular"), *head(4)), "0", Field(None, 1)),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Upsample(scale_factor=2), *head(4)), "1", Field(3, 1)),
        (Encoder(causal=True), "encoder.layers.1.norm2", Field(None, 4, known=False)),
        (small_convnext(), "features.1.0.block.3", Field(28, 4)),
        (small_swin(), "features.1.0.attn", Field(8, 4)),
        (small_swin(), "features.1.1.attn", Field(None, 4, known=False)),  # a shifted window is masked
    ],
)
def test_receptive_fields_by_hand(network: nn.Module, name: str, field: Field) -> None:
    found = {layer.name: layer for layer in layers_of(network, (3, 32, 32))}
    assert found[name].field == field


def test_a_field_too_costly_to_measure_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MEASURE_MACS", 1e6)
    found = {layer.name: layer.field for layer in layers_of(ChannelsLast(), (3, 32, 32))}
    assert found == {
        "conv1": Field(3, 2),
        "norm": Field(None, 2, known=False),
        "conv2": Field(None, 2, known=False),
        "head": Field(None, 1),
    }


def test_the_network_is_not_changed() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), *head(4))
    network[0].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    random = torch.get_rng_state()
    layers_of(network, (3, 32, 32))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


LAST = Layout(3)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (
            small_convnext(),
            {"features.1.0.block.2": LAST, "features.1.0.block.3": LAST, "features.1.0": CHANNELS_FIRST},
        ),
        (small_swin(), {"features.0.1": LAST, "features.1.1.mlp.0": LAST, "features.2.reduction": LAST, "norm": LAST}),
        (small_vit(), {"encoder.ln": Layout(2, 1), "conv_proj": CHANNELS_FIRST, "heads.head": None}),
        (ChannelsLast(), {"norm": LAST, "conv2": CHANNELS_FIRST, "head": None}),
        # As many channels as rows and columns, so the shape is ambiguous.
        (
            nn.Sequential(nn.Conv2d(3, 8, 4, 4), Permute([0, 2, 3, 1]), nn.LayerNorm(8)),
            {"0": CHANNELS_FIRST, "2": LAST},
        ),
        (nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.Flatten(2)), {"1": Layout(1, 0)}),
    ],
)
def test_layouts_of_maps(network: nn.Module, expected: dict[str, Layout | None]) -> None:
    found = {layer.name: layer.layout for layer in layers_of(network, (3, 32, 32))}
    assert {name: found[name] for name in expected} == expected


def test_a_sequence_of_patches_as_maps() -> None:
    maps = torch.arange(2 * 3 * 16).view(2, 3, 4, 4)
    patches = torch.cat([torch.zeros(2, 1, 3), maps.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(Layout(2, 1).maps(patches), maps)
