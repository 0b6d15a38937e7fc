import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cifar_cnn.analysis.layers import Field, layers_of, sharing_of
from cifar_cnn.backbones import ResNet18, SimpleCNN


class Branches(nn.Module):
    """A sum of branches, dilation, and pooling that is no module."""

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
def test_receptive_field_is_where_the_gradient_reaches(network: nn.Module) -> None:
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
    assert sum(layer.macs for layer in layers) == 555_422_720  # 0.56 G, as others give it
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
