"""Run a student's code: its mistakes become findings that name the line."""

import copy
import re
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cifar_cnn.lab.findings import Finding, NotDone, Wrong, finding
from cifar_cnn.lab.tracing import Operation, Trace
from cifar_cnn.trust.tracebacks import own_line

_LONGEST = 200  # characters of an error message
_LONGEST_LINE = 100


class TooLong(BaseException):
    """Raised in a student's code at the time limit; the student's ``except Exception`` does not catch it."""


def call(function: Callable[..., Any], *args: Any, what: str, **kwargs: Any) -> Any:
    """Call a student's function.

    Args:
        function: the function or class.
        args: its arguments.
        what: the call, as the student would type it.
        kwargs: its keyword arguments.

    Raises:
        NotDone: the function raises NotImplementedError.
        Wrong: the function raises another exception, calls exit or takes too long.
    """
    try:
        return function(*args, **kwargs)
    except NotImplementedError as error:
        raise NotDone from error
    except (Exception, SystemExit, TooLong) as error:
        raise Wrong(raised(error, what)) from error


def raised(error: BaseException, what: str) -> Finding:
    """The finding about an exception of the student's code."""
    line = _line(error)
    if isinstance(error, SystemExit):
        return finding("exits", what=what, line=line)
    if isinstance(error, TooLong):
        return finding("too_long", what=what, line=line)
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    if isinstance(error, TypeError) and "positional argument" in message and not line:
        return finding("arguments", what=what, message=message)
    text = f"{type(error).__name__}: {message}".removesuffix(": ")
    return finding("raises", what=what, error=text[:_LONGEST] + "..." * (len(text) > _LONGEST), line=line)


def _line(error: BaseException) -> str:
    """The student's line, such as ``lab.py, line 13: x = f(x)``; empty if none of the student's lines ran."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename.rpartition('/')[2]}, line {error.lineno}: {(error.text or '').strip()}"
    # A notebook cell has this file name.
    line = re.sub(r"^\d+\.py, |^<[^>]*>, ", "", own_line(error) or "")
    return line[:_LONGEST_LINE] + "..." * (len(line) > _LONGEST_LINE)


def is_unfilled(function: Any) -> bool:
    """Whether the body of a function is only ``...`` or ``pass``."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        return False
    return not code.co_names and all(each is None or each is ... or isinstance(each, str) for each in code.co_consts)


def network(build: Callable[..., Any] | nn.Module, name: str, *args: int) -> nn.Module:
    """A student's network, from a class, from a function that returns one, or a copy of a network.

    Raises:
        NotDone: the network has not been written.
        Wrong: the network cannot be created.
    """
    what = f"{name}({', '.join(map(str, args))})"
    torch.manual_seed(0)
    if isinstance(build, nn.Module):
        return copy.deepcopy(build)
    if not callable(build):
        raise Wrong(finding("no_class", what=name, found=type(build).__name__))
    made = call(build, *args, what=what)
    if made is None and is_unfilled(build):
        raise NotDone
    if not isinstance(made, nn.Module):
        raise Wrong(finding("no_module", what=what, found=type(made).__name__))
    if "training" not in vars(made):  # set by nn.Module.__init__
        raise Wrong(finding("no_super", name=name))
    return made.train()


def traced(made: nn.Module, images: Tensor, name: str) -> tuple[Trace, Tensor]:
    """Run a network on images; the operations and the output.

    Raises:
        NotDone: forward has not been written.
        Wrong: forward fails, or does not return a tensor.
    """
    trace = Trace(made)
    try:
        output = call(trace.run, made, images, what=f"{name}.forward")
    except Wrong as wrong:
        cause = wrong.__cause__
        if trace.failed is not None and isinstance(cause, Exception) and (advice := _does_not_fit(trace.failed)):
            raise Wrong(advice, *wrong.findings) from wrong
        raise
    if output is None:
        if is_unfilled(type(made).forward):
            raise NotDone
        raise Wrong(finding("returns_none", name=f"{name}.forward"))
    if not isinstance(output, Tensor):
        raise Wrong(finding("no_tensor", name=f"{name}.forward", found=type(output).__name__))
    return trace, output


def _does_not_fit(operation: Operation) -> Finding | None:
    """Why a layer rejects its input; None if its sizes fit."""
    sizes, shape = operation.sizes, operation.shape
    given = {"layer": operation.title, "shape": list(shape[1:])}
    if operation.kind == "linear" and len(shape) == 1:
        return finding("batch_flattened", layer=operation.title)
    if operation.kind == "linear" and shape[-1] != sizes["in"]:
        return finding("linear_not_flat" if len(shape) == 4 else "linear_does_not_fit", **given, found=sizes["in"])
    if operation.kind == "conv" and len(shape) == 4 and shape[1] != sizes["in"]:
        return finding("conv_does_not_fit", **given, found=sizes["in"])
    if operation.kind == "batch_norm" and len(shape) > 1 and shape[1] != sizes["channels"]:
        return finding("batch_norm_does_not_fit", **given, found=sizes["channels"])
    return None
