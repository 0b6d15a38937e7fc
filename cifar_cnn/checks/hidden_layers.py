"""Find layers that a network uses without registering them, such as layers in a plain list or created in forward."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from cifar_cnn.checks.layer_advice import written


class HiddenLayers:
    """Context manager that finds layers that run without being registered in a network.

    Their weights are not among the network's parameters: no optimizer trains them and no checkpoint contains them.
    Frozen layers, such as those of a teacher network, are ignored.

    Args:
        network: the network that runs within the context.

    Attributes:
        found: the unregistered layers.
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
        """Explain in one sentence how to register the first of these layers."""
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
                        f"the layers in self.{attribute}{where} would not be trained, because it is a plain {plain}: "
                        f"write self.{attribute} = nn.{kind}(...)"
                    )
        return (
            f"{written(layer)} runs but would not be trained, because it is not an attribute of the network: create it "
            "in __init__, as self.NAME = ..."
        )
