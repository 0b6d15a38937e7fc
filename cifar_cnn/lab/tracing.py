"""Record the operations that run during a network's forward, however they are written.

Layers such as ``nn.Conv2d`` and calls such as ``F.conv2d``, ``torch.relu(x)`` and ``x.amax((2, 3))`` all pass through
``torch.overrides.TorchFunctionMode``. Each operation knows which operations computed its inputs, so a result that is
never used does not count as part of the network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cifar_cnn.lab.meaning import NAMES, kind_by_values
from cifar_cnn.lab.operations import Sizes, describe

_CLASSES = {"conv": "Conv2d", "linear": "Linear", "batch_norm": "BatchNorm2d"}
_IN_LAYERS = ("weight", "bias", "running_mean", "running_var")
INPUT = -1  # stands for the network's input among the indices of operations


@dataclass
class Operation:
    """One operation.

    Attributes:
        kind: its kind, such as ``conv``, ``relu`` or ``reshape``; ``other`` if no exercise asks for it.
        function: name of the function that was called.
        layer: name of the layer that owns its weights; empty without weights.
        sizes: the sizes that an exercise may ask for, such as ``out`` and ``kernel``.
        inputs: indices of the operations that computed its inputs, the main one first.
        shape: shape of its main input.
        output_shape: shape of its output.
        tensors: its weights and running averages, by the names of :class:`torch.nn.BatchNorm2d`.
        registered: whether its weights belong to the network.
    """

    kind: str
    function: str
    layer: str
    sizes: Sizes
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    output_shape: tuple[int, ...] = ()
    tensors: dict[str, Tensor] = field(default_factory=dict)
    registered: bool = True

    @property
    def parameters(self) -> int:
        """The number of its weights."""
        return sum(self.tensors[name].numel() for name in ("weight", "bias") if name in self.tensors)

    @property
    def title(self) -> str:
        """The name of its layer, or of the function; with the kind of layer if the name is a number."""
        if self.layer.rpartition(".")[2].isdigit():
            flat = self.kind == "batch_norm" and len(self.shape) < 4
            return f"{self.layer} ({'BatchNorm1d' if flat else _CLASSES[self.kind]})"
        return self.layer or self.function


class Trace(TorchFunctionMode):
    """Records the operations on a network's input.

    Args:
        network: the network, whose parameter names identify the layers.

    Attributes:
        operations: the operations in the order in which they ran.
        failed: the operation that raised an exception.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.failed: Operation | None = None
        self._names = {
            id(tensor): _owner(name)
            for tensors in (
                network.named_parameters(remove_duplicate=False),
                network.named_buffers(remove_duplicate=False),
            )
            for name, tensor in tensors
        }
        self._made_by: dict[int, int] = {}
        self._kept: list[Tensor] = []  # so that no new tensor gets the id of a deleted one

    def run(self, network: nn.Module, images: Tensor) -> Any:
        """Run the network on images and return its output."""
        self._made_by[id(images)] = INPUT
        self._kept.append(images)
        with self:
            return network(images)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        known = [each for each in _tensors((args, kwargs)) if id(each) in self._made_by]
        if not known:
            return func(*args, **kwargs)
        operation = self._operation(func, args, kwargs, [self._made_by[id(each)] for each in known])
        name = operation.function.strip("_")
        before = [each.detach().clone() for each in known] if name in NAMES else []  # some functions work in place
        try:
            output = func(*args, **kwargs)
        except Exception:
            self.failed = operation
            raise
        made = list(_tensors(args[0] if name == "setitem" else output))
        if made:
            operation.output_shape = tuple(made[0].shape)
            _name_by_values(operation, name, made[0].detach(), before)
            for each in made:
                self._made_by[id(each)] = len(self.operations)
            self._kept += made
            self.operations.append(operation)
        return output

    def _operation(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[int]
    ) -> Operation:
        kind, function, sizes, tensors = describe(func, args, kwargs)
        layer, registered = "", True
        if tensors:
            names = [self._names[id(each)] for each in tensors.values() if id(each) in self._names]
            layer, registered = (names[0], True) if names else ("", "weight" not in tensors)
        shape = next((tuple(each.shape) for each in _tensors((args, kwargs))), ())
        return Operation(kind, function, layer, sizes, tuple(inputs), shape, (), tensors, registered)

    def maker(self, tensor: Any) -> int | None:
        """The index of the operation that computed a tensor; None if it was not computed from the input."""
        return self._made_by.get(id(tensor))

    def indices(self, end: int | None) -> list[int] | None:
        """The operations from the input to ``end``, along the main inputs; None if there is no such path."""
        found: list[int] = []
        while end is not None and end != INPUT:
            found.append(end)
            end = self.operations[end].inputs[0]
        return None if end is None else found[::-1]

    def path(self, end: int | None) -> list[Operation] | None:
        """The operations of :meth:`indices` themselves."""
        found = self.indices(end)
        return None if found is None else [self.operations[index] for index in found]

    def unused(self, end: int) -> list[Operation]:
        """The operations of known kinds whose results do not reach the operation ``end``."""
        used: set[int] = set()
        waiting = [end]
        while waiting:
            index = waiting.pop()
            if index != INPUT and index not in used:
                used.add(index)
                waiting += self.operations[index].inputs
        taken = {source for each in self.operations for source in each.inputs}  # by a print or an assertion, perhaps
        idle = [each for index, each in enumerate(self.operations) if index not in used | taken]
        return [each for each in idle if each.kind not in ("reshape", "other", "max", "mean")]


def _owner(name: str) -> str:
    """The layer that a parameter belongs to; the parameter's own name if it belongs to no layer of PyTorch."""
    layer, _, last = name.rpartition(".")
    return layer if layer and last in _IN_LAYERS else name


def _name_by_values(operation: Operation, name: str, output: Tensor, inputs: list[Tensor]) -> None:
    """Correct the kind of an operation whose values say more than its name, and put its main input first."""
    kind, at = kind_by_values(name, output, inputs)
    if kind:
        operation.kind = kind
        operation.shape = tuple(inputs[at].shape)
        main = operation.inputs[at]
        operation.inputs = (main, *(each for index, each in enumerate(operation.inputs) if index != at))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)
