"""Run a network to examine its layers without changing it."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._pytree import tree_leaves

# Called with the name of a module, the module, its first input tensor and its first output tensor.
After = Callable[[str, nn.Module, Tensor | None, Tensor | None], None]


@contextmanager
def probe_copy(network: nn.Module) -> Iterator[nn.Module]:
    """Make a copy to experiment with: on the CPU, in float32, in eval mode, without gradients.

    The state of torch's random generator is restored afterwards.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        yield copy.deepcopy(network).cpu().float().eval()


def first_tensor(values: Any) -> Tensor | None:
    """The first tensor in nested tuples, lists and dictionaries; None if there is none."""
    return next((leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)), None)


def run_with_hooks(
    network: nn.Module, images: Tensor, after: After, before: Callable[[str], None] | None = None
) -> None:
    """Call a network, and call ``after`` after each call of one of its modules.

    Args:
        network: the network; its own name is ``""``.
        images: (N, C, H, W).
        after: see :data:`After`.
        before: called with the name before each call of a module.
    """

    def ended(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            after(name, module, first_tensor((args, kwargs)), first_tensor(output))

        return hook

    def begins(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            if before is not None:
                before(name)

        return hook

    handles = []
    for name, module in _modules(network):
        handles.append(module.register_forward_pre_hook(begins(name)))
        handles.append(module.register_forward_hook(ended(name), with_kwargs=True))
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()


def _modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules except parametrizations, which compute weights rather than maps."""
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if isinstance(module, ParametrizationList):
            inside += (name, f"{name}.")
        if name not in inside and not name.startswith(tuple(each for each in inside if each.endswith("."))):
            yield name, module
