"""Explain why a layer does not fit its input, and what to write instead."""

from typing import Any

import torch
from torch import Tensor, nn

from cifar_cnn.checks.layer_trace import Call

_Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def layer_advice(call: Call, previous: Call | None) -> str | None:
    """What is wrong with a layer's input, in one sentence; None if it fits or the type of layer is unknown.

    Args:
        call: the layer and its input.
        previous: the layer that ran before it.
    """
    layer, shape = call.module, call.shape
    if shape is None:
        return None
    advice = None
    if isinstance(layer, nn.Linear):
        advice = _linear(layer, shape)
    elif isinstance(layer, _Convolution):
        advice = _convolution(layer, shape)
    elif isinstance(layer, _BatchNorm):
        advice = _batch_norm(layer, shape)
    elif isinstance(layer, nn.GroupNorm):
        advice = _group_norm(layer, shape)
    elif isinstance(layer, nn.LayerNorm):
        advice = _layer_norm(layer, shape)
    elif isinstance(layer, _POOLS):
        advice = _pool(layer, shape)
    advice = advice or _dtype(call)
    name = f"layer {call.name}" if call.name else "the network"
    return f"{name} is {written(layer)}, but {advice}{_origin(previous)}" if advice else None


def written(layer: nn.Module, **changes: Any) -> str:
    """A layer as code, such as ``Linear(4096, 128)``, with ``changes`` applied to its arguments."""
    names: dict[Any, tuple[str, ...]] = {
        nn.Linear: ("in_features", "out_features"),
        _Convolution: ("in_channels", "out_channels", "kernel_size"),
        _BatchNorm: ("num_features",),
        nn.GroupNorm: ("num_groups", "num_channels"),
        nn.LayerNorm: ("normalized_shape",),
    }
    for kind, arguments in names.items():
        if isinstance(layer, kind):
            values = [changes.get(name, getattr(layer, name)) for name in arguments]
            return f"{type(layer).__name__}({', '.join(str(_plain(value)) for value in values)})"
    return type(layer).__name__


def form(shape: tuple[int, ...]) -> str:
    """The shape of a batch with N for its size, such as ``(N, 64, 8, 8)``."""
    return f"({', '.join(['N', *map(str, shape[1:])])}{',' * (len(shape) == 1)})"


def _linear(layer: nn.Linear, shape: tuple[int, ...]) -> str | None:
    if len(shape) == 4:
        count = shape[1] * shape[2] * shape[3]
        needed = "" if count == layer.in_features else f" and write {written(layer, in_features=count)}"
        return f"its input has shape {form(shape)}: flatten it first, with x.flatten(1){needed}"
    if shape[-1] != layer.in_features:
        return f"its input has {shape[-1]} features per image: write {written(layer, in_features=shape[-1])}"
    return None


def _convolution(layer: _Convolution, shape: tuple[int, ...]) -> str | None:
    sides = len(layer.kernel_size)
    if len(shape) != sides + 2:
        return (
            f"its input has shape {form(shape)} instead of {_maps(sides)}: move it before the layer that flattens or "
            "pools its input"
        )
    if shape[1] != layer.in_channels:
        return f"its input has {shape[1]} channels: write {written(layer, in_channels=shape[1])}"
    if isinstance(layer.padding, tuple) and not layer.transposed:
        sizes = zip(layer.kernel_size, layer.dilation, layer.padding, strict=True)
        if _is_too_small(shape[2:], tuple(d * (kernel - 1) + 1 - 2 * padding for kernel, d, padding in sizes)):
            return (
                f"its input has only {_pixels(shape)} pixels: pad it, use a smaller kernel, pool fewer times before "
                "it, or use larger images"
            )
    return None


def _pool(layer: nn.Module, shape: tuple[int, ...]) -> str | None:
    sides = int(type(layer).__name__[-2])
    if len(shape) != sides + 2:
        return f"its input has shape {form(shape)} instead of {_maps(sides)}: move it before the flattening layer"
    if _is_too_small(shape[2:], layer.kernel_size):
        return (
            f"its input has only {_pixels(shape)} pixels: pool fewer times, pad the convolutions before it, or use "
            "larger images"
        )
    return None


def _dtype(call: Call) -> str | None:
    weights = next((each.dtype for each in call.module.parameters(recurse=False) if each.is_floating_point()), None)
    given = next((each.dtype for each in call.inputs if isinstance(each, Tensor)), None)
    if weights is None or given is None or weights == given or torch.is_autocast_enabled("cpu"):
        return None
    return (
        f"its weights are {_name(weights)} and its input is {_name(given)}: remove calls such as .double() or "
        ".half(); --trainer.precision sets the type"
    )


def _batch_norm(layer: _BatchNorm, shape: tuple[int, ...]) -> str | None:
    sides = {nn.BatchNorm1d: (0, 1), nn.BatchNorm2d: (2,), nn.BatchNorm3d: (3,)}
    expected = next((value for kind, value in sides.items() if isinstance(layer, kind)), None)
    if expected is not None and len(shape) - 2 not in expected and 2 <= len(shape) <= 4:
        right = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        return f"its input has shape {form(shape)}: write {right.__name__}({shape[1]})"
    if len(shape) > 1 and shape[1] != layer.num_features:
        return f"its input has {shape[1]} channels: write {written(layer, num_features=shape[1])}"
    return None


def _group_norm(layer: nn.GroupNorm, shape: tuple[int, ...]) -> str | None:
    if len(shape) < 2 or shape[1] == layer.num_channels:
        return None
    if shape[1] % layer.num_groups:
        return f"its input has {shape[1]} channels, which {layer.num_groups} groups do not divide: choose a divisor"
    return f"its input has {shape[1]} channels: write {written(layer, num_channels=shape[1])}"


def _layer_norm(layer: nn.LayerNorm, shape: tuple[int, ...]) -> str | None:
    expected = tuple(layer.normalized_shape)
    actual = shape[-len(expected) :]
    if actual == expected:
        return None
    if len(shape) == 4 and len(expected) == 1 and shape[1] == expected[0]:
        return (
            f"its input has shape {form(shape)} and it normalizes the last dimension, not the channels: "
            f"write GroupNorm(1, {shape[1]})"
        )
    return f"its input has shape {form(shape)}: write {written(layer, normalized_shape=actual)}"


def _maps(sides: int) -> str:
    return f"({', '.join(['N', 'channels', 'height', 'width'][: 2 + min(sides, 2)])})"


def _is_too_small(shape: tuple[int, ...], kernel: Any) -> bool:
    kernels = kernel if isinstance(kernel, tuple) else (kernel,) * len(shape)
    return any(side < each for side, each in zip(shape, kernels, strict=True))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _pixels(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[2:]))


def _plain(value: Any) -> Any:
    """Reduce a tuple of equal numbers to that number."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _origin(previous: Call | None) -> str:
    if previous is None or not isinstance(previous.output, Tensor):
        return ""
    kind = type(previous.module).__name__
    return f" (the previous layer, {kind} {previous.name}, outputs {form(tuple(previous.output.shape))})"
