"""Receptive fields by arithmetic, from the functions that a network calls."""

from enum import Enum
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


class Reach(NamedTuple):
    """The pixels that one value of a map depends on, along rows and columns.

    Attributes:
        sizes: number of pixels, which may exceed the size of the image; None for all pixels.
        strides: distance between neighboring values in pixels.
    """

    sizes: tuple[int | None, int | None] = (1, 1)
    strides: tuple[int, int] = (1, 1)


class NoReach(Enum):
    """Why there is no :class:`Reach`."""

    MEASURE = "a function of unknown reach was called: the reach must be measured"
    MASKED = "attention was masked: NaN passes through a mask, unlike a gradient"


class FollowReach(TorchFunctionMode):
    """Within the context, pass the reach of the inputs of each function on to its outputs.

    Start with :meth:`begin` and read with :func:`reach_of`. After a tensor is partly overwritten, reaches are no longer
    known.
    """

    def __init__(self) -> None:
        super().__init__()
        self._overwritten = False

    @staticmethod
    def begin(images: Tensor) -> None:
        """Set the reach of images (N, C, H, W): each value depends on one pixel."""
        images._reach = Reach()  # type: ignore[attr-defined]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        leaves = tree_leaves((args, kwargs))
        before = [leaf._reach for leaf in leaves if hasattr(leaf, "_reach")]
        output = func(*args, **kwargs)
        if not before:
            return output
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        reach = _after(name, before, args, kwargs, tensors)
        if name == "__setitem__" or (_is_in_place(name) and not isinstance(before[0], Reach)):
            self._overwritten = True  # it may be a view of another tensor, whose reach is then wrong
        if self._overwritten and isinstance(reach, Reach):
            reach = NoReach.MEASURE
        for tensor in tensors:
            tensor._reach = reach  # type: ignore[attr-defined]
        return output


def reach_of(output: Tensor) -> Reach | NoReach:
    """The reach of an output, as :class:`FollowReach` found it."""
    return getattr(output, "_reach", NoReach.MEASURE)


# The arguments that determine the reach, in their order.
_WINDOWS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation"),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation"),
    "max_pool2d_with_indices": ("input", "kernel_size", "stride", "padding", "dilation"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding"),
}
_POINTWISE = {
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "prelu", "elu", "elu_", "selu", "selu_", "celu", "gelu"),
    *("silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "sigmoid", "tanh", "softplus", "softsign", "threshold"),
    *("add", "add_", "__add__", "__radd__", "__iadd__", "sub", "mul", "mul_", "__mul__", "__rmul__", "__imul__", "div"),
    *("clone", "contiguous", "to", "float", "detach", "flatten", "clamp", "abs", "square", "pow", "exp", "neg"),
}
_IN_EVAL_MODE = {"batch_norm", "dropout", "dropout2d", "feature_dropout"}
_OVER_ALL_PLACES = {"mean", "sum", "amax", "amin"}
_ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}
_REPLACING = {"masked_fill", "masked_fill_", "where"}
_MASKING = {*_ATTENTION, *_REPLACING, "add", "add_", "__add__", "__radd__", "__iadd__"}
_MASKED_BELOW = -50.0  # added to a score or replacing it: the weight after softmax is 0


def _after(name: str, before: list[Any], args: Any, kwargs: Any, outputs: list[Tensor]) -> Reach | NoReach:
    if NoReach.MASKED in before or _masks(name, args, kwargs):
        return NoReach.MASKED
    if NoReach.MEASURE in before:
        return NoReach.MEASURE
    sizes = [_largest([reach.sizes[axis] for reach in before]) for axis in (0, 1)]
    strides = [max(reach.strides[axis] for reach in before) for axis in (0, 1)]
    if name in _WINDOWS:
        given = {**dict(zip(_WINDOWS[name], args, strict=False)), **kwargs}
        kernel = given["weight"].shape[2:] if "weight" in given else _pair(given["kernel_size"])
        steps = _pair(given.get("stride") or (kernel if "kernel_size" in given else 1))
        dilation = _pair(given.get("dilation", 1))
        for axis in (0, 1):
            size = sizes[axis]
            sizes[axis] = None if size is None else size + dilation[axis] * (kernel[axis] - 1) * strides[axis]
            strides[axis] *= steps[axis]
    elif _covers_all(name, args, kwargs, outputs):
        sizes = [None, None]
    elif not _is_pointwise(name, args, kwargs, outputs):
        return NoReach.MEASURE
    return Reach((sizes[0], sizes[1]), (strides[0], strides[1]))


def _is_pointwise(name: str, args: Any, kwargs: Any, outputs: list[Tensor]) -> bool:
    """Whether each value of the output depends on only one place of the input."""
    if name in _IN_EVAL_MODE:
        training = kwargs.get("training", args[5] if name == "batch_norm" and len(args) > 5 else False)
        return not training
    if name == "pad":
        return kwargs.get("mode", args[2] if len(args) > 2 else "constant") == "constant"
    if name == "cat":
        return kwargs.get("dim", args[1] if len(args) > 1 else 0) == 1
    # A tensor as large as the output that is not a parameter may depend on the image in a way that was not followed.
    unseen = any(
        leaf.numel() == outputs[0].numel()
        for leaf in tree_leaves((args, kwargs))
        if isinstance(leaf, Tensor) and not hasattr(leaf, "_reach") and not isinstance(leaf, nn.Parameter)
    )
    return name in _POINTWISE and not unseen


def _covers_all(name: str, args: Any, kwargs: Any, outputs: list[Tensor]) -> bool:
    """Whether each value of the output depends on all places of the input."""
    if name.startswith("adaptive_"):
        return outputs[0].ndim == 4 and max(outputs[0].shape[2:]) == 1
    images = args[0] if args and isinstance(args[0], Tensor) else None
    if images is None:
        return False
    if name in _OVER_ALL_PLACES and images.ndim == 4:
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        over = range(4) if dims is None else [dim % 4 for dim in (dims if isinstance(dims, (tuple, list)) else [dims])]
        return {2, 3} <= set(over)
    # A linear layer mixes all places of (N, features), but only the channels of each place of (N, H, W, C).
    return name == "linear" and images.ndim == 2


def _masks(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a function masks values."""
    if name in _ATTENTION and kwargs.get("is_causal"):
        return True
    for leaf in tree_leaves((args, kwargs)):
        if isinstance(leaf, float):
            masks = name in _REPLACING and leaf <= _MASKED_BELOW
        elif not isinstance(leaf, Tensor) or hasattr(leaf, "_reach") or isinstance(leaf, nn.Parameter):
            masks = False
        elif leaf.is_floating_point():
            masks = name in _MASKING and leaf.numel() > 0 and bool(leaf.min() <= _MASKED_BELOW)
        else:
            masks = name in _ATTENTION
        if masks:
            return True
    return False


def _is_in_place(name: str) -> bool:
    operators = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
    return name in {f"__i{operator}__" for operator in operators} or (name.endswith("_") and name[-2:] != "__")


def _largest(sizes: list[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return max(known) if len(known) == len(sizes) else None


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) and len(value) == 2 else (_one(value), _one(value))


def _one(value: Any) -> int:
    return int(value[0]) if isinstance(value, (tuple, list)) else int(value)
