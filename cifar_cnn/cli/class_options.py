"""Options that select a class, such as ``--model.optimizer``, and the options of that class."""

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.transforms import v2

from cifar_cnn import compat
from cifar_cnn.base.errors import InputError
from cifar_cnn.cli.given_values import chosen, name_and_value, split_options
from cifar_cnn.data import Source
from cifar_cnn.trust import loss_options, transform_options
from cifar_cnn.trust import names as trust

# The base class of each option's values.
CLASS_OPTIONS: dict[str, type] = {
    "model.backbone": nn.Module,
    "model.loss": nn.Module,
    "model.optimizer": Optimizer,
    "model.schedule": LRScheduler,
    "data.source": Source,
    "data.augment.transforms": v2.Transform,
    "data.augment.normalized_transforms": v2.Transform,
    "data.augment.mix": v2.Transform,
    "trainer.callbacks": Callback,
    "trainer.logger": Logger,
}

TRANSFORMS = ("data.augment.transforms", "data.augment.normalized_transforms", "data.augment.mix")


def parse(parser: ArgumentParser, args: list[str], get_default: Callable[[str], Any]) -> Namespace:
    """Parse a command line. A class selected on it starts from its own defaults, not from those of another class.

    Args:
        parser: the command's parser.
        args: the options.
        get_default: returns the default of an option.

    Raises:
        InputError: a selected class cannot be used.
        ValueError: the parser rejects the options.
    """
    check_chosen(args, get_default)
    arranged = forward_arguments(classes_first(args), get_default)
    with compat.discarding_init_args(start_from_own_defaults):
        return parser.parse_args(arranged)


def start_from_own_defaults(parser: Any, former: Any, new: Any) -> None:
    """Remove the arguments of the former class if ``new`` names another class, or a class without arguments.

    For :func:`cifar_cnn.compat.discarding_init_args`. For an option such as ``--model.optimizer.lr 0.1``, jsonargparse
    passes the former class with this argument as ``new``.
    """
    arguments = ("init_args", "dict_kwargs")
    is_bare = not any(new.get(each) for each in arguments)
    if former and (is_bare or not _is_same(former["class_path"], new["class_path"])):
        for each in arguments:
            former.pop(each, None)


def _is_same(path: str, other: str) -> bool:
    return path == other or (trust.imported(path) is not None and trust.imported(path) is trust.imported(other))


def classes_first(args: list[str]) -> list[str]:
    """Move the arguments of a class behind the first option that selects the class.

    In ``--model.optimizer.lr 0.01 --model.optimizer torch.optim.AdamW``, the learning rate is then AdamW's, not that of
    the optimizer in a config.
    """
    options = split_options(args)
    named = {name for name, value in map(name_and_value, options) if re.fullmatch(r"[A-Za-z_][\w.]*", value)}
    for name in sorted(named):
        first = next(i for i, option in enumerate(options) if name_and_value(option)[0] == name)
        early = [option for option in options[:first] if option[0].startswith(f"{name}.")]
        others = [option for option in options[:first] if not option[0].startswith(f"{name}.")]
        options = [*others, options[first], *early, *options[first + 1 :]]
    return [word for option in options for word in option]


def check_chosen(args: list[str], default_of: Callable[[str], Any]) -> None:
    """Check that the options select classes or functions, not objects.

    Raises:
        InputError: an option names an object, such as a network, or a ``functools.partial`` that is not the loss.
    """
    for option in CLASS_OPTIONS:
        path = chosen(args, option, default_of(option))
        with suppress(ValueError):
            loss_options.loss_function(str(path))  # imports the module, if the import is allowed
        part = trust.imported(path) if path and "." in path else None
        is_loss = option == "model.loss" and callable(part) and not isinstance(part, nn.Module)
        if part is not None and not (inspect.isroutine(part) or isinstance(part, (type, ModuleType)) or is_loss):
            what = f"{path} is a {type(part).__name__} object, which a config cannot record"
            how = " or a function that returns it, def f() -> torch.nn.Module" if option.startswith("model.b") else ""
            raise InputError(f"{option}: {what}: name its class{how}")


def check_required(option: str, part: Any, arguments: Mapping[str, Any]) -> None:
    """Check that all arguments without a default and without an annotation are given; jsonargparse ignores them.

    Args:
        option: the option that selects the class.
        part: the class or function.
        arguments: its arguments.

    Raises:
        InputError: an argument is missing.
    """
    by_the_trainer = 1 if option in ("model.optimizer", "model.schedule") else 0
    try:
        names = list(inspect.signature(part).parameters.values())[by_the_trainer:]
    except (TypeError, ValueError):  # no signature
        return
    for each in names:
        untyped = each.default is each.annotation is inspect.Parameter.empty
        if untyped and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and arguments.get(each.name) is None:
            raise InputError(f"{option} needs {option}.{each.name}: give it with --{option}.{each.name}")


def forward_arguments(args: list[str], default_of: Callable[[str], Any]) -> list[str]:
    """Rewrite arguments for ``**kwargs`` of a class or function, and arguments of loss functions, for jsonargparse.

    ``--model.backbone timm.create_model --model.backbone.num_classes 10`` becomes
    ``--model.backbone.dict_kwargs.num_classes 10``. If the loss is a function, ``--model.loss.label_smoothing`` becomes
    ``--model.loss.options.label_smoothing``.

    Args:
        args: the command line.
        default_of: returns the default of an option.
    """
    options = split_options(args)
    for option in CLASS_OPTIONS:
        prefix = f"--{option}."
        if not any(words[0].startswith(prefix) for words in options):
            continue
        section, own = _further_arguments(option, chosen(args, option, default_of(option)))
        for words in options if section else []:
            name = words[0].removeprefix(prefix)
            if words[0].startswith(prefix) and re.split("[.=]", name)[0] not in (*own, section, "init_args"):
                words[0] = f"{prefix}{section}.{name.removeprefix('dict_kwargs.')}"
    return [word for words in options for word in words]


def section_of_further_arguments(args: list[str], option: str) -> str:
    """The config section for arguments without a parameter of the selected class: ``dict_kwargs``, ``options`` or "".

    Args:
        args: the command line.
        option: the option that selects the class.
    """
    return _further_arguments(option, chosen(args, option))[0]


def all_options(parser: ArgumentParser, args: list[str]) -> list[str]:
    """The options of a parser, such as ``trainer.max_epochs``, and of the classes that a command line selects."""
    keys = parser.get_defaults().keys()
    own = dict.fromkeys(re.sub(r"\.(class_path|init_args|dict_kwargs)\b.*", "", key) for key in keys)
    # model.num_classes is set from the data.
    return [*(key for key in own if key != "model.num_classes"), *options_of_chosen(args, parser.get_default)]


def options_of_chosen(args: list[str], default_of: Callable[[str], Any]) -> list[str]:
    """The options of the classes that a command line selects, such as ``model.optimizer.lr``."""
    options = []
    for option, base in CLASS_OPTIONS.items():
        path = chosen(args, option, default_of(option))
        part = trust.imported(path) if path and "." in path else next(iter(subclasses(base, path or "")), None)
        from_trainer = ("params", "optimizer")
        options += [f"{option}.{name}" for name in (parameters(part) if part else []) if name not in from_trainer]
    return options


def subclasses(base: type, name: str | None = None) -> list[type]:
    """The imported subclasses of a class, or only those called ``name``."""
    found: list[type] = []
    own: list[type] = base.__subclasses__()
    for each in own:
        found += [each, *subclasses(each)]
    return [each for each in dict.fromkeys(found) if name in (None, each.__name__)]


def parameters(part: Any) -> list[str]:
    """The names of the arguments of a class or function, including those that it passes on through ``**kwargs``."""
    parser = ArgumentParser(exit_on_error=False)
    add = parser.add_class_arguments if isinstance(part, type) else parser.add_function_arguments
    try:
        return add(part, fail_untyped=False)
    except ValueError:  # not callable, or a built-in function without a signature
        return []


def _further_arguments(option: str, path: str | None) -> tuple[str, list[str]]:
    """The config section for arguments without a parameter ("" if they are not accepted), and the parameters."""
    if path is None or "." not in path:
        return "", []
    try:
        loss_options.loss_function(path)
        is_function = True
    except ValueError:  # not a loss function; its module has been imported, if the import is allowed
        is_function = False
    if option == "model.loss" and (is_function or path == loss_options.CLASS_PATH):
        return "options", ["function"]
    if option in TRANSFORMS and (path == transform_options.CLASS_PATH or transform_options.is_image_function(path)):
        return "options", ["function"]
    part = trust.imported(path)
    if not callable(part):
        return "", []
    own = parameters(part)
    kinds = {each.name: each.kind for each in inspect.signature(part).parameters.values()}
    passes_on = inspect.Parameter.VAR_KEYWORD in kinds.values() and not set(own) - set(kinds)
    return ("dict_kwargs" if passes_on else ""), own
