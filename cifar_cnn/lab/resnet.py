"""Check ResNet-18 (exercise 4b)."""

from typing import Any

from torch import nn

from cifar_cnn.backbones import ResNet18
from cifar_cnn.lab import learning
from cifar_cnn.lab.blocks import Block, split, wrong_block
from cifar_cnn.lab.comparison import differences
from cifar_cnn.lab.copying import same_output
from cifar_cnn.lab.findings import Finding, finding, limited
from cifar_cnn.lab.networks import check_training, other_count, own_weights, traced_on_images
from cifar_cnn.lab.sequences import RELU, Layer, batch_norm, conv, linear
from cifar_cnn.lab.tracing import Operation

_CHANNELS = (64, 64, 128, 128, 256, 256, 512, 512)


def check(build: Any, exercise: str, name: str) -> list[Finding]:
    """Check a student's ResNet-18. The stem may have stride 1 or 2, with or without pooling.

    Args:
        build: the class, a function that returns the network, or the network.
        exercise: the number of the exercise.
        name: name of the class in messages.

    Raises:
        NotDone: the network has not been written.
        Wrong: the network cannot be created or run, or has no residual block.
    """
    network, images, trace, logits = traced_on_images(build, name)
    stem, blocks = split(trace, logits)
    found = own_weights(trace, logits) + (_wrong_stem(stem) or _wrong_blocks(blocks) or _wrong_head(blocks[-1]))
    found = found or check_training(network, images, name)
    layers = [*stem, *(each for block in blocks for each in (*block.shortcut, *block.main)), *blocks[-1].after]
    if not found and not same_output(network, layers, _with_stem(stem), images, tolerance=1e-3):
        found = [finding("other_output")]
    if found:
        return [*limited(found), *other_count(network, ResNet18(), layers)]
    return learning.learns_by_heart(network, n=32)


def _wrong_stem(stem: list[Operation]) -> list[Finding]:
    first = stem[0] if stem else None
    if first is None or first.kind != "conv":
        return [finding("no_stem")]
    if first.sizes["kernel"] != (3, 3):
        return [finding("first_kernel", layer=first.title, found=first.shape and first.tensors["weight"].shape[-1])]
    stride = 2 if first.sizes["stride"] == (2, 2) else 1
    asked: list[Layer] = [conv(3, 64, 3, stride, 1), batch_norm(64), RELU]
    pooled = stem[-1].kind in ("max_pool", "avg_pool")
    return differences(stem[:-1] if pooled else stem, asked)


def _wrong_blocks(blocks: list[Block]) -> list[Finding]:
    if len(blocks) != len(_CHANNELS):
        return [finding("number_of_blocks", found=len(blocks))]
    c_in = _CHANNELS[0]
    for number, (block, channels) in enumerate(zip(blocks, _CHANNELS, strict=True), 1):
        found = wrong_block(block, c_in, channels, 1 if c_in == channels else 2)
        if not found and block is not blocks[-1] and block.after[1:]:
            found = [finding("extra", name=block.after[1].function, after=block.main[-1].title)]
        if found:
            return [finding("in_block", number=number, stage=(number + 1) // 2), *found]
        c_in = channels
    return []


def _wrong_head(last: Block) -> list[Finding]:
    pooling = [] if last.main[-1].output_shape[2:] == (1, 1) else [Layer("global_avg", {})]
    found = differences(last.after[1:], [*pooling, linear(512, 10)])
    before = last.main[-1].title
    return [finding("extra", after=before, **each.values) if each.key == "extra_first" else each for each in found]


def _with_stem(stem: list[Operation]) -> ResNet18:
    """The package's ResNet-18 with the stride and the pooling of a student's stem."""
    network = ResNet18(stem_stride=2 if stem[0].sizes["stride"] == (2, 2) else 1)
    if stem[-1].kind in ("max_pool", "avg_pool"):
        sizes: Any = stem[-1].sizes
        kind = nn.MaxPool2d if stem[-1].kind == "max_pool" else nn.AvgPool2d
        network.stem[3] = kind(sizes["kernel"], sizes["stride"], sizes["padding"])
    return network
