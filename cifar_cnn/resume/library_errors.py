"""Report exceptions of library classes and loggers in one line; exceptions in the user's code keep their traceback."""

import inspect
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

from lightning.pytorch.loggers import Logger
from torch import nn

from cifar_cnn.base.errors import InputError, causes
from cifar_cnn.runs.loggers import RunCSVLogger, RunTensorBoardLogger
from cifar_cnn.trust import names as trust
from cifar_cnn.trust.tracebacks import own_line

_RANDOM_WEIGHTS = {"weights": "null", "weights_backbone": "null", "pretrained": "false"}  # torchvision's and timm's


def reason(error: BaseException, config: Mapping[str, Any]) -> str | None:
    """Explain why a library class that a config names could not be created.

    Args:
        error: the exception raised while the classes of ``config`` were created.
        config: the parsed config, with sections such as ``model``.

    Returns:
        One line; None if the exception was raised in the user's own code or outside of the config's classes.
    """
    if went_through_own_code(error):
        return None
    raised_in = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)}
    for option, spec in _specs(config):
        path = str(spec["class_path"])
        if not path.startswith("cifar_cnn.") and raised_in & _modules(trust.imported(path)):
            text = f"{option}: {path}: {_message(error)}"
            return f"{text}; {hint}" if (hint := _hint(error, path, spec, option)) else text
    return None


def went_through_own_code(error: BaseException) -> bool:
    """Whether an exception, or one of those that led to it, went through the user's code."""
    return any(own_line(each) for each in causes(error))


def _modules(part: Any) -> set[str]:
    """The modules that define a function, or a class and its bases."""
    return {each.__module__ for each in getattr(part, "__mro__", [part])} - {"builtins"}


@contextmanager
def loggers_in_one_line() -> Iterator[None]:
    """Convert an exception raised by a library's logger to one line.

    Raises:
        InputError: the logger raised; the message names it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or (logger := _logger_in(error)) is None:
            raise
        name = type(logger).__name__
        raise InputError(
            f"trainer.logger: {name}: {_message(error)}; --trainer.logger null trains without it"
        ) from error


def _logger_in(error: BaseException) -> Logger | None:
    """The library's logger that raised an exception; None if it was another object."""
    if went_through_own_code(error):
        return None
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Logger) and not isinstance(owner, (RunCSVLogger, RunTensorBoardLogger)):
            found = owner
    return found


def _hint(error: BaseException, path: str, spec: Mapping[str, Any], option: str) -> str:
    arguments = spec.get("init_args") or {}
    if any(_is_of_the_network(each) for each in causes(error)):
        return (
            "pretrained weights could not be downloaded: without a network connection, use random weights"
            f"{_random_weights(path, option)}, or put the file into the library's cache, $TORCH_HOME or $HF_HOME"
        )
    if isinstance(error, AttributeError) and isinstance(error.obj, nn.Module) and error.name in vars(nn.Module()):
        return f"call super().__init__() first in {type(error.obj).__name__}.__init__"
    if path.startswith("torchvision.") and arguments.get("weights") and arguments.get("num_classes"):
        return (
            "torchvision's pretrained weights include the last layer for their own classes: use timm's "
            "(--model.backbone timm.create_model --model.backbone.pretrained true), which creates a new one, or your "
            "own function that replaces the last layer"
        )
    return ""


def _random_weights(path: str, option: str) -> str:
    """The options, in brackets, that start a library network from random weights."""
    takes = inspect.signature(trust.imported(path)).parameters
    options = [f"--{option}.{name} {value}" for name, value in _RANDOM_WEIGHTS.items() if name in takes]
    return f" ({' '.join(options)})" if options else ""


def _is_of_the_network(error: BaseException) -> bool:
    library = type(error).__module__.partition(".")[0] in ("huggingface_hub", "requests", "httpx")
    return isinstance(error, (URLError, ConnectionError, TimeoutError)) or (library and isinstance(error, OSError))


def _message(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _specs(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The classes of a config with the options that set them, innermost first."""
    for name, values in config.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, Mapping):
                yield from _specs(value, f"{prefix}{name}." if name != "init_args" else prefix)
                if isinstance(value.get("class_path"), str):
                    yield f"{prefix}{name}", value


def chosen_parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """The options of a config that set a class or function, with the object and its arguments."""
    for option, spec in _specs(config):
        yield option, trust.imported(str(spec["class_path"])), {**(spec.get("init_args") or {}), **spec}
