"""Find layers that a network uses and PyTorch does not know: those in a plain list, and those made in forward."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from cifar_cnn.checks.layer_advice import written


class HiddenLayers:
    """A context within which layers are found that run and are no part of a network.

    Their weights are not among its parameters: no optimizer trains them, and no checkpoint holds them. Frozen ones,
    such as a teacher's, are not meant.

    Args:
        network: whose forward runs in the context.

    Attributes:
        found: the layers.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.found: list[nn.Module] = []
        self._known: set[int] = set()

    def __enter__(self) -> "HiddenLayers":
        self._known = {id(each) for each in self.network.parameters()}
        self._hook = register_module_forward_pre_hook(self._look)
        return self

    def __exit__(self, *error: Any) -> None:
        self._hook.remove()

    def _look(self, module: nn.Module, args: Any) -> None:
        weights = module.parameters(recurse=False)
        if any(each.requires_grad and id(each) not in self._known for each in weights):
            self.found.append(module)

    def message(self) -> str:
        """What to do about the first one, in one sentence."""
        layer = self.found[0]
        for name, owner in self.network.named_modules():
            for attribute, value in vars(owner).items():
                if attribute.startswith("_") or not isinstance(value, (list, tuple, Mapping)):
                    continue
                held = value.values() if isinstance(value, Mapping) else value
                if any(layer in each.modules() for each in held if isinstance(each, nn.Module)):
                    kind, plain = ("ModuleDict", "dict") if isinstance(value, Mapping) else ("ModuleList", "list")
                    where = f" of {name}" if name else ""
                    return (
                        f"the layers in self.{attribute}{where} would not be trained, since it is a plain {plain}: "
                        f"write self.{attribute} = nn.{kind}(...)"
                    )
        return (
            f"{written(layer)} runs but would not be trained, since it is no attribute of the network: make it in "
            "__init__, as self.NAME = ..."
        )
