"""Describe calls of PyTorch's functions in the terms of the exercises, with their sizes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Sizes = dict[str, int | tuple[int, ...]]

_KINDS = {
    **dict.fromkeys(("relu", "relu_"), "relu"),
    **dict.fromkeys(("max_pool2d", "_max_pool2d", "max_pool2d_with_indices"), "max_pool"),
    "avg_pool2d": "avg_pool",
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool2d_with_indices"), "adaptive_max"),
    "adaptive_avg_pool2d": "adaptive_avg",
    **dict.fromkeys(("amax", "max"), "max"),
    "mean": "mean",
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), "softmax"),
    **dict.fromkeys(("sigmoid", "sigmoid_", "logsigmoid"), "sigmoid"),
    **dict.fromkeys(("dropout", "dropout2d", "dropout_", "alpha_dropout"), "dropout"),
    **dict.fromkeys(("add", "add_", "__add__", "__radd__", "__iadd__"), "add"),
    **dict.fromkeys(("cat", "concat", "concatenate", "hstack"), "cat"),
    **dict.fromkeys(
        ("leaky_relu", "gelu", "silu", "elu", "selu", "tanh", "hardtanh", "relu6", "prelu", "mish"), "activation"
    ),
    **dict.fromkeys(("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "to"), "reshape"),
    **dict.fromkeys(("float", "type", "unflatten", "__getitem__", "view_as", "reshape_as", "squeeze_"), "reshape"),
    "requires_grad_": "reshape",
    **dict.fromkeys(("matmul", "__matmul__", "mm", "addmm", "einsum", "tensordot"), "matmul"),
}


def describe(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, str, Sizes, dict[str, Tensor]]:
    """The kind of a function's call, its name, the sizes, and its weights by name."""
    name = getattr(func, "__name__", str(func))
    if name == "__get__":  # access to an attribute, such as .data
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    if name in ("conv2d", "linear", "batch_norm"):
        return _layer(name, args, kwargs)
    if name.rstrip("_") in ("clamp", "clamp_min", "clip") and _is_relu(args, kwargs):
        return "relu", name, {}, {}
    if name == "pad" and (padding := _zeros(args, kwargs)):
        return "pad", name, {"padding": padding}, {}
    kind = _KINDS.get(name, "other")
    if kind in ("max_pool", "avg_pool"):
        return kind, name, _pool(args, kwargs), {}
    if kind in ("adaptive_max", "adaptive_avg"):
        return kind, name, {"side": _pair(args[1] if len(args) > 1 else kwargs.get("output_size", 0))}, {}
    return kind, name, {}, {}


def _layer(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str, Sizes, dict[str, Tensor]]:
    if name == "batch_norm":
        given = _bound(("input", "running_mean", "running_var", "weight", "bias"), args, kwargs)
        tensors = {key: given[key] for key in ("weight", "bias", "running_mean", "running_var") if _is(given.get(key))}
        count = next((len(each) for each in tensors.values()), given["input"].shape[1])
        return "batch_norm", name, {"channels": count}, tensors
    given = _bound(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, kwargs)
    tensors = {key: given[key] for key in ("weight", "bias") if _is(given.get(key))}
    weight = given["weight"]
    if name == "linear":
        return "linear", name, {"in": weight.shape[1], "out": weight.shape[0]}, tensors
    kernel = tuple(weight.shape[2:])
    padding = given.get("padding", 0)
    if isinstance(padding, str):
        padding = tuple(side // 2 for side in kernel) if padding == "same" else 0
    groups = given.get("groups", 1)
    sizes: Sizes = {"in": weight.shape[1] * groups, "out": weight.shape[0], "kernel": kernel}
    sizes |= {"stride": _pair(given.get("stride", 1)), "padding": _pair(padding)}
    sizes |= {"dilation": _pair(given.get("dilation", 1)), "groups": groups}
    return "conv", name, sizes, tensors


def _pool(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sizes:
    given = _bound(("input", "kernel_size", "stride", "padding"), args, kwargs)
    kernel = _pair(given.get("kernel_size", 0))
    stride = given.get("stride")
    return {
        "kernel": kernel,
        "stride": kernel if stride in (None, [], ()) else _pair(stride),
        "padding": _pair(given.get("padding", 0)),
    }


def _is_relu(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call replaces negative values with 0 and changes no others."""
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)
    if isinstance(low, Tensor):
        return low.numel() > 0 and not low.any()
    return low == 0 and low is not None and high is None


def _zeros(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    """The zeros that a call of ``F.pad`` adds above and below, and on both sides; empty for any other padding."""
    given = _bound(("input", "pad", "mode", "value"), args, kwargs)
    pad = tuple(given["pad"])
    if given.get("mode", "constant") != "constant" or given.get("value") or len(pad) != 4:
        return ()
    return (pad[2], pad[0]) if pad[0] == pad[1] and pad[2] == pad[3] else ()


def _bound(names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)


def _pair(value: Any) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value, value)
    pair = tuple(value)
    return pair * 2 if len(pair) == 1 else pair
