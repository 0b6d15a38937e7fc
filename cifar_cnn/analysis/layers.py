"""A network layer by layer: output shape, parameters, multiply-adds, receptive field, and what it would cost fully
connected."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class Field(NamedTuple):
    """What part of the image one value of a feature map depends on.

    Attributes:
        size: pixels a side, the larger side where they differ; None: the whole image.
        stride: pixels of the image from one value to its neighbour.
    """

    size: int | None
    stride: int


@dataclass(frozen=True)
class Layer:
    """One module of a network that has parameters or changes the shape.

    Attributes:
        name: as in ``named_modules``.
        kind: its class.
        input_shape: of one image.
        output_shape: of one image.
        parameters: of the module itself.
        macs: multiply-adds of its convolutions and matrix products for one image.
        field: receptive field of its outputs. It may be larger than the image; padding is part of it.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    field: Field

    @property
    def is_map(self) -> bool:
        """Whether the output still says where in the image something is."""
        return len(self.output_shape) == 3 and max(self.output_shape[1:]) > 1


@dataclass(frozen=True)
class Sharing:
    """A convolution beside the fully connected layer between the same sizes.

    Attributes:
        name: of the convolution.
        kind: as in ``3x3, 32 → 64``.
        inputs: numbers that go in, for one image.
        outputs: numbers that come out.
        inputs_of_one: how many of the inputs one output is connected to.
        parameters: of the convolution.
        full_parameters: of the fully connected layer, with a bias if the convolution has one.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    inputs_of_one: int
    parameters: int
    full_parameters: int

    @property
    def connections(self) -> int:
        """From inputs to outputs; those to padding are counted."""
        return self.outputs * self.inputs_of_one

    @property
    def full_connections(self) -> int:
        """Each input to each output."""
        return self.inputs * self.outputs


def layers_of(network: nn.Module, image_shape: tuple[int, ...]) -> list[Layer]:
    """The layers of a network in the order in which they run.

    Multiply-adds are half of what torch's FlopCounterMode counts; the receptive field is followed through every
    function that the network calls, so also through sums of branches and functional pooling.

    Args:
        network: in eval mode.
        image_shape: (C, H, W).
    """
    found: dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...], Field]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if name in found or not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
                return
            field = getattr(output, "_field", Field(None, 1))
            found[name] = (module, tuple(inputs[0].shape[1:]), tuple(output.shape[1:]), field)

        return hook

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    parameter = next(network.parameters())
    images = torch.zeros(1, *image_shape, dtype=parameter.dtype, device=parameter.device)
    images._field = Field(1, 1)  # type: ignore[attr-defined]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter, _FollowField():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    flops = {name.partition(".")[2]: sum(count.values()) for name, count in counter.get_flop_counts().items()}
    layers = []
    for name, (module, before, after, field) in found.items():
        parameters = sum(parameter.numel() for parameter in module.parameters())
        if parameters or before != after:
            macs = int(flops.get(name, 0)) // 2
            layers.append(Layer(name, type(module).__name__, before, after, parameters, macs, field))
    return layers


def sharing_of(network: nn.Module, layers: list[Layer]) -> list[Sharing]:
    """What parameter sharing and local connectivity save, of each convolution among ``layers``."""
    found = []
    modules = dict(network.named_modules())
    for layer in layers:
        conv = modules[layer.name]
        if not isinstance(conv, nn.Conv2d):
            continue
        height, width = conv.kernel_size
        inputs, outputs = torch.Size(layer.input_shape).numel(), torch.Size(layer.output_shape).numel()
        found.append(
            Sharing(
                layer.name,
                f"{height}x{width}, {conv.in_channels} → {conv.out_channels}",
                inputs,
                outputs,
                height * width * conv.in_channels // conv.groups,
                layer.parameters,
                inputs * outputs + (outputs if conv.bias is not None else 0),
            )
        )
    return found


# The arguments that decide about the receptive field, in their order.
_WINDOWS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation"),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation"),
    "max_pool2d_with_indices": ("input", "kernel_size", "stride", "padding", "dilation"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding"),
}
_WHOLE_IMAGE = {"mean", "amax", "sum", "matmul", "bmm", "scaled_dot_product_attention"}


class _FollowField(TorchFunctionMode):
    """Hands the receptive field, as an attribute of each tensor, from the inputs of every function to its outputs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        fields = [leaf._field for leaf in tree_leaves((args, kwargs)) if hasattr(leaf, "_field")]
        if fields:
            size = None if any(field.size is None for field in fields) else max(field.size for field in fields)
            field = _after(func, Field(size, max(field.stride for field in fields)), args, kwargs)
            for leaf in tree_leaves(output):
                if isinstance(leaf, Tensor):
                    leaf._field = field  # type: ignore[attr-defined]
        return output


def _after(func: Any, field: Field, args: Any, kwargs: Any) -> Field:
    name = getattr(func, "__name__", "")
    if name in _WINDOWS:
        given = {**dict(zip(_WINDOWS[name], args, strict=False)), **kwargs}
        kernel = max(given["weight"].shape[2:]) if "weight" in given else _side(given["kernel_size"])
        stride = _side(given.get("stride") or (kernel if "kernel_size" in given else 1))
        reach = _side(given.get("dilation", 1)) * (kernel - 1)
        size = None if field.size is None else field.size + reach * field.stride
        return Field(size, field.stride * stride)
    # Of (N, features) a linear layer mixes all places; of (N, H, W, C) it mixes the channels of each.
    mixes = name in _WHOLE_IMAGE or name.startswith("adaptive_") or (name == "linear" and args[0].ndim == 2)
    return Field(None, field.stride) if mixes else field


def _side(value: Any) -> int:
    return int(max(value)) if isinstance(value, (tuple, list)) else int(value)
