from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from cifar_cnn.backbones import ResidualBlock, ResNet18, SimpleCNN, SpeedrunNet
from cifar_cnn.backbones.speedrun import SpeedrunGroup
from cifar_cnn.base.errors import InputError

SIMPLE: list[dict[str, Any]] = [
    {"channels": (32, 64, 128)},
    {"channels": (64, 128, 256)},
    {"channels": (64, 128, 256), "kernel_sizes": (5, 3)},
    {"batch_norm": True},
    {"batch_norm": True, "head": "max_pool"},
    {"batch_norm": True, "head": "conv"},
]


def everything_learns(backbone: nn.Module, images: Tensor, num_classes: int) -> None:
    logits = backbone(images)
    assert logits.shape == (len(images), num_classes)
    nn.functional.cross_entropy(logits, torch.arange(len(images)) % num_classes).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("arguments", SIMPLE)
def test_every_parameter_of_the_labs_networks_gets_a_gradient(arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    everything_learns(SimpleCNN(**arguments, num_classes=7), torch.randn(8, 3, 32, 32), 7)


def test_parameters_of_exercise_1_by_hand() -> None:
    convolutions = (3 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    # 32 - 2 = 30, pooled 15, - 2 = 13, pooled 6
    fully_connected = (64 * 6 * 6 + 1) * 128 + (128 + 1) * 10
    assert sum(p.numel() for p in SimpleCNN().parameters()) == convolutions + fully_connected


def test_exercise_6_has_no_fully_connected_layer() -> None:
    assert not [m for m in SimpleCNN(batch_norm=True, head="conv").modules() if isinstance(m, nn.Linear)]


def test_exercise_2_normalizes_after_each_convolution() -> None:
    layers = list(SimpleCNN(batch_norm=True).features)
    after = [type(layers[i + 1]) for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert after == [nn.BatchNorm2d, nn.BatchNorm2d]


@pytest.mark.parametrize("head", ["max_pool", "conv"])
def test_pooled_heads_take_images_of_any_size(head: Any) -> None:
    backbone = SimpleCNN(head=head)
    assert backbone(torch.randn(2, 3, 40, 56)).shape == (2, 10)


@pytest.mark.parametrize("arguments", [*SIMPLE, {"kernel_sizes": (1, 1)}, {"kernel_sizes": (5, 5), "head": "conv"}])
def test_the_smallest_image_works_and_one_pixel_less_is_refused(arguments: dict[str, Any]) -> None:
    smallest = SimpleCNN(**arguments).min_size
    backbone = SimpleCNN(**arguments, image_size=smallest).eval()
    assert backbone(torch.randn(2, 3, smallest, smallest)).shape == (2, 10)
    with pytest.raises(InputError, match=rf"at least {smallest}x{smallest} pixels; image_size is {smallest - 1}"):
        SimpleCNN(**arguments, image_size=smallest - 1)


def test_images_of_another_shape_are_refused_with_the_sizes() -> None:
    with pytest.raises(InputError, match="made for 3 channels; the images have 1"):
        SimpleCNN()(torch.randn(2, 1, 32, 32))
    with pytest.raises(InputError, match="made for 32x32 pixels, the images have 28x30"):
        SimpleCNN()(torch.randn(2, 3, 28, 30))
    with pytest.raises(InputError, match="at least 10x10 pixels; they have 9x32"):
        SimpleCNN(head="max_pool")(torch.randn(2, 3, 9, 32))
    with pytest.raises(InputError, match="made for 3 channels; the images have 4"):
        ResNet18()(torch.randn(2, 4, 32, 32))
    with pytest.raises(InputError, match="must be odd"):
        ResNet18(stem_kernel_size=4)


@pytest.mark.parametrize(("in_channels", "channels", "stride"), [(8, 8, 1), (8, 16, 1), (8, 8, 2), (3, 5, 2)])
def test_residual_block_by_its_definition(in_channels: int, channels: int, stride: int) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(in_channels, channels, stride)
    x = torch.randn(4, in_channels, 8, 8)
    out = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    shortcut = x if stride == 1 and in_channels == channels else block.shortcut(x)
    assert out.shape == (4, channels, 8 // stride, 8 // stride)
    torch.testing.assert_close(block(x), torch.relu(out + shortcut))


def torchvision_names(name: str) -> str:
    """Rename our parameters to torchvision's names."""
    parts = name.split(".")
    if parts[0] == "stem":
        return ".".join([{"0": "conv1", "1": "bn1"}[parts[1]], *parts[2:]])
    if parts[0] == "head":
        return "fc." + parts[1]
    stage, block = divmod(int(parts[1]), 2)
    rest = ["downsample", *parts[3:]] if parts[2] == "shortcut" else parts[2:]
    return ".".join([f"layer{stage + 1}", str(block), *rest])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("paper_stem", [True, False])
def test_resnet18_equals_torchvisions(paper_stem: bool, training: bool) -> None:
    torch.manual_seed(0)
    stem: dict[str, Any] = {"stem_kernel_size": 7, "stem_stride": 2, "stem_pool": True} if paper_stem else {}
    ours, reference = ResNet18(**stem), resnet18(num_classes=10)
    if not paper_stem:
        reference.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        reference.maxpool = nn.Identity()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in reference.parameters())
    reference.load_state_dict({torchvision_names(name): value for name, value in ours.state_dict().items()})
    images = torch.randn(4, 3, 32, 32)
    ours.train(training)
    reference.train(training)
    torch.testing.assert_close(ours(images), reference(images))


def test_every_parameter_of_resnet18_gets_a_gradient() -> None:
    torch.manual_seed(0)
    everything_learns(ResNet18(num_classes=6), torch.randn(6, 3, 16, 16), 6)


@pytest.mark.parametrize("backbone", [SimpleCNN(batch_norm=True), ResNet18(channels=(8, 16, 16, 32))])
def test_channels_last_changes_no_logits_beyond_rounding(backbone: nn.Module) -> None:
    backbone.eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = backbone(images)
    result = backbone.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_the_last_convolution_in_parameters_is_the_last_of_the_main_path() -> None:
    convolutions = [name for name, parameter in ResNet18().named_parameters() if parameter.ndim == 4]
    assert convolutions[0] == "stem.0.weight"
    assert convolutions[-1] == "blocks.7.conv2.weight"


def test_the_speedrun_network_has_the_sources_size_and_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    net = SpeedrunNet()
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    widths = [24, 64, 256, 256]
    convolutions = sum(9 * (a * b + b * b) for a, b in pairwise(widths))
    assert trained == 24 * 12 + 24 + convolutions + 2 * sum(widths[1:]) + 256 * 10
    logits = net(torch.randn(8, 3, 32, 32))
    assert logits.shape == (8, 10)
    nn.functional.cross_entropy(logits, torch.arange(8)).backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_a_third_convolution_of_the_speedrun_network_is_added_to_the_first() -> None:
    torch.manual_seed(0)
    group = SpeedrunGroup(8, 12, depth=3, activation="silu")
    x = torch.randn(4, 8, 6, 6)
    first = nn.functional.silu(group.bn1(nn.functional.max_pool2d(group.conv1(x), 2)))
    second = nn.functional.silu(group.bn2(group.conv2(first)))
    assert group.conv3 is not None
    assert group.bn3 is not None
    torch.testing.assert_close(group(x), nn.functional.silu(first + group.bn3(group.conv3(second))))
    net = SpeedrunNet(widths=(24, 24, 32), depth=3, activation="silu", logit_scale=1 / 9)
    assert sum("conv" in name for name, _ in net.named_parameters()) == 9
    assert isinstance(net.activation, nn.GELU)
    assert all(
        each.requires_grad is not name.endswith(("bn1.weight", "bn2.weight", "bn3.weight"))
        for name, each in net.named_parameters()
    )


def test_the_speedrun_networks_convolutions_start_as_identity() -> None:
    conv = SpeedrunNet().groups[1].conv1
    assert isinstance(conv, nn.Conv2d)
    x = torch.randn(2, 64, 5, 5)
    torch.testing.assert_close(conv(x)[:, :64], x)


@pytest.mark.parametrize(("size", "fits"), [(8, False), (9, True), (24, True), (40, True)])
def test_the_speedrun_network_accepts_any_size_that_survives_three_poolings(size: int, fits: bool) -> None:
    net, images = SpeedrunNet(widths=(24, 24, 24)).eval(), torch.randn(2, 3, size, size)
    if fits:
        assert net(images).shape == (2, 10)
    else:
        with pytest.raises(InputError, match="at least 9x9 pixels"):
            net(images)
    with pytest.raises(InputError, match="widths must not decrease"):
        SpeedrunNet(widths=(16, 32, 32))
