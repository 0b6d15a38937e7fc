"""The cost of a network: parameters and multiply-adds of each module."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cifar_cnn.analysis.network.probes import probe_copy, run_with_hooks


@dataclass
class Cost:
    """The cost of one module, without the modules that it calls.

    Attributes:
        parameters: number of parameters, trainable or not. Parameters of modules that are never called are counted for
            the module that contains them.
        macs: multiply-adds of its convolutions and matrix products for one image.
    """

    parameters: int = 0
    macs: int = 0


def macs_of(network: nn.Module, image_shape: tuple[int, ...]) -> int:
    """Multiply-adds of a network's convolutions and matrix products for one image of shape (C, H, W)."""
    with probe_copy(network) as probe:
        return total_macs(costs_of(probe, torch.randn(1, *image_shape)).values())


class HasMacs(Protocol):
    """A cost, or a layer with its cost."""

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""


def total_macs(parts: Iterable[HasMacs]) -> int:
    """Multiply-adds of the modules of a network together."""
    return sum(part.macs for part in parts)


def costs_of(network: nn.Module, image: Tensor) -> dict[str, Cost]:
    """The cost of each called module; together they are the cost of the network.

    Multiply-adds are half of the operations that torch's FlopCounterMode counts when nothing is fused. Attention,
    including :class:`torch.nn.MultiheadAttention` and its projections, counts as its matrix products.

    Args:
        network: a copy to experiment with, in eval mode.
        image: (1, C, H, W).
    """
    costs = {"": Cost()}
    calls: list[list[int]] = []  # for each call in progress: operations before it, and operations of inner calls
    with _nothing_fused(network), FlopCounterMode(display=False, custom_mapping=_VECTOR_PRODUCTS) as counter:

        def before(name: str) -> None:
            calls.append([counter.get_total_flops(), 0])

        def after(name: str, module: nn.Module, given: Tensor | None, output: Tensor | None) -> None:
            start, of_inner = calls.pop()
            flops = counter.get_total_flops() - start
            if given is None or output is None:  # it computed a weight, which is part of the caller's work
                if calls:
                    calls[-1][1] += of_inner
                return
            costs.setdefault(name, Cost()).macs += (flops - of_inner) // 2
            if calls:
                calls[-1][1] += flops

        run_with_hooks(network, image, after, before)
    for name, parameter in network.named_parameters():
        owner = name.rpartition(".")[0]
        while owner not in costs:
            owner = owner.rpartition(".")[0]
        costs[owner].parameters += parameter.numel()
    return costs


@contextmanager
def _nothing_fused(network: nn.Module) -> Iterator[None]:
    """Within the context, attention and recurrent layers run as separate matrix products, which can be counted."""
    fast = torch.backends.mha.get_fastpath_enabled()
    # LSTM is the only recurrent layer that oneDNN fuses. Convolutions take ten times as long without oneDNN.
    fused = torch.backends.mkldnn.is_available() and any(isinstance(module, nn.LSTM) for module in network.modules())
    with warnings.catch_warnings():  # torch warns about TF32 on Intel GPUs
        warnings.simplefilter("ignore")
        plain: Any = torch.backends.mkldnn.flags(enabled=False) if fused else nullcontext()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with plain, sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _matrix_vector(matrix: torch.Size, vector: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * matrix.numel()


def _add_matrix_vector(start: torch.Size, matrix: torch.Size, vector: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * matrix.numel()


# FlopCounterMode does not count products with a vector.
_VECTOR_PRODUCTS = {
    torch.ops.aten.mv: _matrix_vector,
    torch.ops.aten.dot: _matrix_vector,
    torch.ops.aten.addmv: _add_matrix_vector,
}
