"""Split a residual network into its blocks, and compare a block with the one that the exercise asks for."""

from itertools import takewhile
from typing import NamedTuple

from torch import Tensor

from cifar_cnn.lab.comparison import differences
from cifar_cnn.lab.findings import Finding, Wrong, finding
from cifar_cnn.lab.sequences import RELU, batch_norm, canonical, conv
from cifar_cnn.lab.tracing import INPUT, Operation, Trace

Operations = list[Operation]


class Block(NamedTuple):
    """The operations of a residual block.

    Attributes:
        main: operations of the branch with more convolutions.
        shortcut: operations of the other branch; empty if it is the input itself.
        after: operations after the sum, up to the next block.
    """

    main: Operations
    shortcut: Operations
    after: Operations


def split(trace: Trace, output: Tensor) -> tuple[Operations, list[Block]]:
    """The operations before the first block of a network, and its blocks.

    Raises:
        Wrong: the output does not depend on the input, or there is no sum.
    """
    path = trace.indices(trace.maker(output))
    if path is None:
        raise Wrong(finding("cut_off"))
    blocks: list[Block] = []
    while (at := _last_sum(trace, path)) is not None:
        branches = [trace.indices(each) or [] for each in trace.operations[path[at]].inputs[:2]]
        shared = [a for a, b in takewhile(lambda pair: pair[0] == pair[1], zip(*branches, strict=False))]
        own = [_operations(trace, each[len(shared) :]) for each in branches]
        main, shortcut = sorted(own, key=_convolutions, reverse=True)
        blocks.insert(0, Block(main, shortcut, _operations(trace, path[at + 1 :])))
        path = shared
    before = _operations(trace, path)
    if not blocks:
        raise Wrong(finding("cat_in_place_of_sum" if any(each.kind == "cat" for each in before) else "no_sum"))
    return before, blocks


def wrong_block(block: Block, c_in: int, channels: int, stride: int) -> list[Finding]:
    """Check a block of these sizes; see :class:`cifar_cnn.backbones.ResidualBlock`."""
    main, shortcut, after = block
    first, second = conv(c_in, channels, 3, stride, 1), conv(channels, channels, 3, 1, 1)
    found: list[Finding] = []
    if not after or after[0].kind != "relu":
        found = [finding("sum_after_relu" if main and main[-1].kind == "relu" else "no_relu_after_sum")]
    elif main and main[-1].kind == "relu":
        found = [finding("relu_before_sum")]
    if found:
        return found
    found = differences(main, [first, batch_norm(channels), RELU, second, batch_norm(channels)])
    if (c_in, stride) == (channels, 1):
        return found + [finding("shortcut_not_needed", name=each.title) for each in shortcut[:1]]
    other = differences(shortcut, [conv(c_in, channels, 1, stride), batch_norm(channels)])
    return [*found, finding("shortcut"), *other] if other else found


def _last_sum(trace: Trace, path: list[int]) -> int | None:
    sums = [at for at, index in enumerate(path) if _adds_maps(trace.operations[index])]
    return sums[-1] if sums else None


def _adds_maps(operation: Operation) -> bool:
    return operation.kind == "add" and len(operation.inputs) > 1 and len(operation.output_shape) == 4


def _operations(trace: Trace, indices: list[int]) -> Operations:
    return canonical([trace.operations[index] for index in indices if index != INPUT])


def _convolutions(branch: Operations) -> int:
    return sum(each.kind == "conv" for each in branch)
