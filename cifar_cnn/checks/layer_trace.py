"""Record which layers run during a network's forward, in order, with their inputs."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn


class Call(NamedTuple):
    """One call of a module."""

    name: str  # such as layer1.0.conv1; empty for the network itself
    module: nn.Module
    inputs: tuple[Any, ...]
    output: Any = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the first input tensor; None if there is none."""
        return next((tuple(each.shape) for each in self.inputs if isinstance(each, Tensor)), None)


class LayerTrace:
    """Context manager that records the calls of a network's modules.

    Args:
        network: the network to follow.
        watch: called with each finished call.

    Attributes:
        within: the unfinished calls, innermost last; after an exception, the last one raised it.
        last: the latest finished call of a module without children.
    """

    def __init__(self, network: nn.Module, watch: Callable[[Call], None] | None = None) -> None:
        self.network = network
        self.watch = watch
        self.within: list[Call] = []
        self.last: Call | None = None
        self._hooks = ExitStack()

    def __enter__(self) -> "LayerTrace":
        for name, module in self.network.named_modules():
            self._hooks.enter_context(module.register_forward_pre_hook(partial(self._begin, name), with_kwargs=True))
            self._hooks.enter_context(module.register_forward_hook(self._end))
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.close()

    def _begin(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.within.append(Call(name, module, (*args, *kwargs.values())))

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self.within.pop()._replace(output=output)
        if not any(True for _ in module.children()):
            self.last = call
        if self.watch is not None:
            self.watch(call)
