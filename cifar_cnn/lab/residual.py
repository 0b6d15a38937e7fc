"""Check the residual block (exercise 4a)."""

from typing import Any

import torch

from cifar_cnn.backbones import ResidualBlock
from cifar_cnn.lab import learning, student
from cifar_cnn.lab.blocks import split, wrong_block
from cifar_cnn.lab.copying import same_output
from cifar_cnn.lab.findings import Finding, Wrong, finding, limited
from cifar_cnn.lab.networks import own_weights

_SIDE = 8


def check(build: Any, exercise: str, name: str) -> list[Finding]:
    """Check a student's residual block.

    Args:
        build: the class.
        exercise: the number of the exercise.
        name: name of the class in messages.

    Raises:
        NotDone: the block has not been written.
        Wrong: the block cannot be created or run.
    """
    found: list[Finding] = []
    for c_in, channels, stride in ((16, 16, 1), (24, 24, 1), (16, 32, 2), (16, 32, 1)):
        try:
            found = _check_one(build, name, c_in, channels, stride)
        except Wrong as wrong:
            if (c_in, channels) == (16, 16):
                raise
            raise Wrong(_about(c_in, channels, stride), *wrong.findings) from wrong
        if found := limited(found):
            return found if (c_in, channels) == (16, 16) else [_about(c_in, channels, stride), *found]
    return found


def _about(c_in: int, channels: int, stride: int) -> Finding:
    key = "block_of_other_channels" if stride == 1 and c_in == channels else "block_of_other_shape"
    return finding(key, arguments=f"{c_in}, {channels}, {stride}", c_in=c_in, channels=channels, stride=stride)


def _check_one(build: Any, name: str, c_in: int, channels: int, stride: int) -> list[Finding]:
    arguments = (c_in, channels) if stride == 1 else (c_in, channels, stride)
    block = student.network(build, name, *arguments)
    x = torch.randn(4, c_in, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    trace, output = student.traced(block, x.clone(), name)
    before, blocks = split(trace, output)
    if len(blocks) == 1 and not blocks[0].main:  # a result is added to itself
        raise Wrong(finding("no_sum"))
    if len(blocks) != 1:
        raise Wrong(finding("several_sums", count=len(blocks)))
    found = own_weights(trace, output) + [finding("before_the_block", name=each.title) for each in before[:1]]
    found += wrong_block(blocks[0], c_in, channels, stride)
    if not found and blocks[0].after[1:]:
        found = [finding("not_only_relu_after_sum", name=blocks[0].after[1].title)]
    expected = (len(x), channels, _SIDE // stride, _SIDE // stride)
    if not found and tuple(output.shape) != expected:
        found = [finding("block_shape", shape=list(output.shape), expected=list(expected))]
    found = found or learning.without_gradient(block, output)
    operations = [*blocks[0].shortcut, *blocks[0].main]
    if not found and not same_output(block, operations, ResidualBlock(c_in, channels, stride), x):
        found = [finding("other_block_output")]
    return found
