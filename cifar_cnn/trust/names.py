"""Which code a config or a checkpoint may name.

Resolving a ``class_path`` imports its module, and importing runs code. The rules are therefore applied to the name,
before the import:

- No option, config or checkpoint may name a module of Python's standard library (``os``, ``subprocess``, ...).
- Options on the command line and configs passed with ``--config`` may name any other module, including the user's own
  modules in the current folder. The object must fit the option's type: a subclass of nn.Module, Optimizer, Callback,
  ..., or a function annotated to return an nn.Module. The loss may also be a function of (logits, target), and a
  transform of images a function or a class with ``__call__``. No other object is called.
- A checkpoint and its config.yaml may come from somebody else. They may name the packages in :data:`KNOWN`; a loss
  function must come from :data:`LOSSES`; a transform of images must be a module. They may also
  name packages that the user lists in the same command or in the environment variable ``CIFAR_CNN_TRUST`` (separated by
  commas), and packages that the same user trained the checkpoint with. A checkpoint lists these packages with a
  signature whose key stays in the user's account; Jupyter recognizes trusted notebooks in the same way.
  :mod:`cifar_cnn.trust.ownership` restricts what the packages in :data:`KNOWN` may do for somebody else's checkpoint.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from jsonargparse import set_parsing_settings
from torch import nn

from cifar_cnn.augmentations import FunctionTransform
from cifar_cnn.base.errors import InputError, causes
from cifar_cnn.compat import PARSING_SETTINGS, reading_sys_path_here
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.parts.losses import FunctionLoss
from cifar_cnn.trust import own_modules, pretrained
from cifar_cnn.trust.loss_options import loss_function, makes_a_module
from cifar_cnn.trust.ownership import (
    VARIABLE,
    is_in,
    is_path,
    may_download,
    signed_packages,
    trusted_packages,
    without_locations,
)
from cifar_cnn.trust.recording import RecordingParser
from cifar_cnn.trust.transform_options import image_function

# The module in which functions such as torch.nn.functional.gelu are defined, without a public name.
NATIVE_FUNCTIONS = torch.nn.functional.gelu.__module__ or "torch.nn.functional"
KNOWN = (
    "cifar_cnn",
    "lightning.fabric",
    "lightning.pytorch",
    "torch.nn",
    NATIVE_FUNCTIONS,
    "torch.optim",
    "torchvision.models",
    "torchvision.ops",
    "torchvision.transforms",
)
LOSSES = ("cifar_cnn.losses", "torch.nn.functional", NATIVE_FUNCTIONS, "torchvision.ops")

T = TypeVar("T")
_named: set[str] = set()  # packages that the current command names


@contextmanager
def import_policy(named: Iterable[str] = ()) -> Iterator[None]:
    """Apply the rules for names that the user gives, for the duration of a command.

    Args:
        named: packages that the user names in this command; checkpoints may name them too.
    """
    settings = dict(PARSING_SETTINGS)
    set_parsing_settings(
        import_path_denylist=[*sys.stdlib_module_names, "__main__"],
        # Otherwise an argument of type Any could hold a class_path of any function, and jsonargparse would call it.
        instantiate_subclass_spec_in_any=False,
        validate_subclass_spec_in_any=True,
    )
    before = set(_named)
    _named.update(named)
    own_modules.allow(_named)
    try:
        with pretrained.deferrable_downloads(), reading_sys_path_here():
            yield
    finally:
        PARSING_SETTINGS.update(settings)
        _named.clear()
        _named.update(before)


def restrict_to(checkpoint: Mapping[str, Any]) -> None:
    """Apply the stricter rules for names from a checkpoint until :func:`import_policy` ends."""
    allowed = _allowed(checkpoint)
    own_modules.allow(allowed)
    pretrained.allow_downloads(may_download(checkpoint))
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=sorted(allowed))


def instantiate(cls: type[T], config: dict[str, Any], checkpoint: Mapping[str, Any]) -> T:
    """Create an instance of ``cls`` from the arguments in a checkpoint.

    Raises:
        InputError: the arguments name an object that the checkpoint may not name.
        Exception: from jsonargparse, if the object cannot be created.
    """
    with import_policy():
        restrict_to(checkpoint)
        is_data = issubclass(cls, CIFAR10DataModule)
        if is_data and not may_download(checkpoint):
            config, _ = without_locations(config)
        parser, parsed = _parse(cls, config)
        check_functions(parsed)
        part = parser.instantiate(parsed).part
        if is_data:
            part.source.read_only = not may_download(checkpoint)
        if isinstance(part, nn.Module):
            pretrained.load_missing(part, checkpoint["state_dict"])
        return part


def check(cls: type, config: dict[str, Any]) -> None:
    """Validate some arguments of ``cls`` under the rules in force; arguments that are missing are not required.

    Raises:
        InputError: the arguments name an object that the checkpoint may not name.
        Exception: from jsonargparse, for invalid arguments.
    """
    _parse(cls, config, skip=set(inspect.signature(cls).parameters) - set(config))


def _parse(cls: type, config: dict[str, Any], skip: set[str] | None = None) -> tuple[RecordingParser, Any]:
    parser = RecordingParser(exit_on_error=False)
    parser.add_class_arguments(cls, "part", fail_untyped=False, skip=skip)
    try:
        parsed = parser.parse_object({"part": config})
    except Exception as error:
        if reason := refusal(str(error)):
            raise InputError(reason) from error
        raise
    pretrained.defer_downloads()  # after parsing, which has imported the modules that the arguments name
    return parser, parsed


def refusal(message: str) -> str | None:
    """Rephrase jsonargparse's message about a name that is not allowed; None for other messages."""
    match = re.search(r"Importing '(\S+)' is not allowed, denied by the '(\S+)'", message)
    if match is None:
        return None
    if match[2] != "*":
        return f"{match[1]} is not allowed: it is not a class or function for training"
    return (
        f"{match[1]} was not imported: it is not trusted, because you did not train this checkpoint with it. To trust "
        f"it, set the environment variable {VARIABLE}={package(match[1])}"
    )


def reason(error: BaseException) -> str:
    """Explain in one line why an object that a checkpoint names cannot be created."""
    missing = next((cause.name for cause in causes(error) if isinstance(cause, ModuleNotFoundError)), None)
    if missing is not None:
        return f"there is no module {missing!r}; your own modules are searched for in the current folder"
    message = " ".join(str(error).split())
    return refusal(message) or message[:300]


def check_functions(config: Any) -> None:
    """Check that a parsed config calls only classes, functions annotated to return an nn.Module, and allowed losses.

    Raises:
        InputError: the config names another kind of object.
    """
    for path, arguments in _class_paths(config):
        part = imported(path)
        if isinstance(part, type):  # jsonargparse has checked that the class fits
            if issubclass(part, FunctionLoss):
                _check_function(arguments.get("function"), loss_function, "model.loss", LOSSES)
            elif issubclass(part, FunctionTransform):
                _check_function(arguments.get("function"), image_function, "data.augment")
        elif not makes_a_module(part):
            raise InputError(f"{path} is not allowed as a class_path: it is not annotated to return an nn.Module")


def _check_function(path: Any, load: Callable[[Any], Any], option: str, known: Sequence[str] = ()) -> None:
    """Check a function that a config names; ``known`` are the packages whose functions any checkpoint may name."""
    try:
        function = load(path)
    except ValueError as error:
        raise InputError(f"{option}: {reason(error)}") from error
    if inspect.isroutine(function) or isinstance(function, type):
        home = getattr(function, "__module__", None) or path
    else:  # an instance such as a partial: its __module__ is that of its class, not where the instance is defined
        home = path if path.rpartition(".")[0] in sys.modules else ""
    verdicts = PARSING_SETTINGS["import_path_verdicts"]
    beyond = [name for name, allowed in verdicts.items() if allowed and name not in KNOWN]
    if "*" in verdicts and not is_in(home, [*known, *beyond]):
        raise InputError(f"{path} is not allowed as {option} of a checkpoint")


def imported(path: str) -> Any:
    """The object at an import path, or None; the module must have been imported already.

    A module's attribute takes precedence over a submodule of the same name.
    """
    module, _, name = path.rpartition(".")
    names = [name]
    while module not in sys.modules and "." in module:
        module, _, name = module.rpartition(".")
        names.insert(0, name)
    part = sys.modules.get(module)
    for name in names:
        part = getattr(part, name, None)
    return part


def _class_paths(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(config, (list, tuple)):
        for value in config:
            yield from _class_paths(value)
    elif isinstance(config, Mapping) or hasattr(config, "as_dict"):  # a Namespace of jsonargparse
        values = config if isinstance(config, Mapping) else vars(config)
        if isinstance(path := values.get("class_path"), str):
            arguments = values.get("init_args") or {}
            yield path, arguments if isinstance(arguments, Mapping) else vars(arguments)
        for value in values.values():
            yield from _class_paths(value)


def packages(config: Any) -> set[str]:
    """The packages of all import paths and functions in a config."""
    return {package(path) for path in import_paths(config)}


def import_paths(config: Any) -> set[str]:
    """All import paths in a config, including those of its functions."""
    found: set[str] = set()
    waiting, seen = [config], set()
    while waiting:
        value = waiting.pop()
        if inspect.isroutine(value):
            value = f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, (Mapping, list, tuple, set)) and id(value) not in seen:
            seen.add(id(value))  # aliases of YAML can repeat a value billions of times
            waiting += value.values() if isinstance(value, Mapping) else value
        elif isinstance(value, str) and "." in value and is_path(value):
            found.add(value)
    return found


def packages_of_options(args: list[str]) -> set[str]:
    """The packages that a command line names, in its options and in the config files that it passes."""
    content: list[Any] = []
    option = ""
    for arg in args:
        name, equals, value = arg.partition("=") if arg.startswith("-") else (option, "=", arg)
        option = name
        if not equals:
            continue
        try:
            if value.endswith((".yaml", ".yml", ".json")):
                content.append(yaml.safe_load(Path(value).read_text(encoding="utf-8")))
            elif ("." in name or name in ("--model", "--data", "--trainer")) and not Path(value).exists():
                content.append(yaml.safe_load(value))
        except (OSError, ValueError, yaml.YAMLError):  # the parser reports the error, or the value is not YAML
            continue
    return packages(content)


def package(path: str) -> str:
    """The package to trust for an import path: the top-level package, or a subpackage of a library in KNOWN."""
    first, *rest = path.split(".")
    large = {known.split(".")[0] for known in KNOWN if "." in known}
    return ".".join([first, *rest[:1]]) if first in large else first


def own_packages(config: Any) -> set[str]:
    """The packages beyond :data:`KNOWN` that a config names and that have been imported."""
    own = {name for name in packages(config) if not is_in(name, KNOWN) and name.split(".")[0] in sys.modules}
    return own - {*sys.stdlib_module_names, "__main__"}


def may_import(path: str, checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint may name an import path."""
    return is_in(path, _allowed(checkpoint))


def _allowed(checkpoint: Mapping[str, Any]) -> set[str]:
    allowed = {*KNOWN, *trusted_packages(), *_named, *signed_packages(checkpoint)}
    return allowed - {*sys.stdlib_module_names, "__main__", "jsonargparse"}
