"""Record a network as a graph for TensorBoard: a node for each layer and operation, nested like the modules.

``SummaryWriter.add_graph`` is not used because TorchScript's trace leaks memory (pytorch #35600), 1.4 MB for each fit
in a process. torch.fx cannot trace a ``forward`` that checks a shape.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def network_graph(network: nn.Module, images: Tensor) -> GraphDef:
    """Run a network and record the layer or operation that computes each tensor.

    Args:
        network: the network, in training or eval mode.
        images: (batch, channels, height, width), on the network's device.
    """
    recorder = _Recorder()
    recorder.add("input", "input", [], images)
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if module is not network:
                hooks.enter_context(module.register_forward_pre_hook(partial(recorder.enter, name)))
                hooks.enter_context(module.register_forward_hook(recorder.leave))
        with torch.no_grad(), recorder:
            output = network.forward(images)  # not a call, which would run the compiled network
    recorder.add("output", "output", [output])
    return GraphDef(node=recorder.nodes, versions=VersionDef(producer=22))  # 22: as in PyTorch's own writer


class _Recorder(TorchFunctionMode):
    """Records a node for each module without children, and for each torch function called outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[NodeDef] = []
        self._sources: dict[int, str] = {}  # from the id of a tensor to the node that computed it
        self._alive: list[Tensor] = []  # keeps the tensors alive, so that ids stay unique
        self._used: Counter[str] = Counter()
        self._within: list[str] = []
        self._in_leaf = False

    def add(self, name: str, op: str, inputs: Iterable[Any], result: Any = None) -> None:
        """Add a node; ``name`` gets a suffix if it is taken."""
        name = name.replace(".", "/")
        self._used[name] += 1
        if self._used[name] > 1:
            name = f"{name}_{self._used[name] - 1}"
        sources = [self._sources[id(each)] for each in _tensors(inputs) if id(each) in self._sources]
        results = list(_tensors([result]))
        shapes = [TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in each.shape]) for each in results]
        attributes = {"_output_shapes": AttrValue(list=AttrValue.ListValue(shape=shapes))} if shapes else {}
        self.nodes.append(NodeDef(name=name, op=op, input=dict.fromkeys(sources), attr=attributes))
        self._sources.update((id(each), name) for each in results)
        self._alive += results

    def enter(self, name: str, module: nn.Module, args: Any) -> None:
        """Forward pre-hook of a module."""
        self._within.append(name)
        self._in_leaf = not list(module.children())

    def leave(self, module: nn.Module, args: Any, result: Any) -> None:
        """Forward hook of a module."""
        name = self._within.pop()
        if self._in_leaf:
            self.add(name, type(module).__name__, args, result)
        self._in_leaf = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._in_leaf and any(True for _ in _tensors([result])):
            name = func.__name__.strip("_")
            self.add(".".join([*self._within[-1:], name]), name, [*args, *(kwargs or {}).values()], result)
        return result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
