"""Follow a network's forward: which layer runs, on what, after which one."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn


class Call(NamedTuple):
    """A module at work."""

    name: str  # in the network, such as layer1.0.conv1; empty for the network itself
    module: nn.Module
    inputs: tuple[Any, ...]
    output: Any = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the first tensor that came in; None if there is none."""
        return next((tuple(each.shape) for each in self.inputs if isinstance(each, Tensor)), None)


class LayerTrace:
    """A context within which a network's calls are recorded.

    Args:
        network: whose modules are followed.
        watch: called with each call that has ended.

    Attributes:
        within: calls that have begun and not ended, the innermost last; after an exception, where it was raised.
        last: the newest call that has ended, of a module without children.
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
