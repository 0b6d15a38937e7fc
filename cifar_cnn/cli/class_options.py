"""Options that name a class, such as ``--model.optimizer``, and the options of that class."""

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

from cifar_cnn import compat
from cifar_cnn.cli.given_values import chosen, name_and_value, split_options
from cifar_cnn.data import Source
from cifar_cnn.errors import InputError
from cifar_cnn.trust import loss_options
from cifar_cnn.trust import names as trust

# What the option's class is a subclass of.
CLASS_OPTIONS: dict[str, type] = {
    "model.backbone": nn.Module,
    "model.loss": nn.Module,
    "model.optimizer": Optimizer,
    "model.schedule": LRScheduler,
    "data.source": Source,
    "trainer.callbacks": Callback,
    "trainer.logger": Logger,
}


def parse(parser: ArgumentParser, args: list[str], get_default: Callable[[str], Any]) -> Namespace:
    """Parse options among which some choose classes; each chosen class starts from its own defaults.

    Args:
        parser: of the command.
        args: the options.
        get_default: the default of an option.

    Raises:
        InputError: a chosen class cannot be used.
        ValueError: the parser's own complaint.
    """
    check_chosen(args, get_default)
    arranged = forward_arguments(classes_first(args), get_default)
    with compat.discarding_init_args(start_from_own_defaults):
        return parser.parse_args(arranged)


def start_from_own_defaults(parser: Any, former: Any, new: Any) -> None:
    """Remove the arguments of a former class if ``new`` names another class, or a class without any arguments.

    For :func:`cifar_cnn.compat.discarding_init_args`. An argument alone, such as ``--model.optimizer.lr 0.1``, comes as
    the former class with this argument.
    """
    arguments = ("init_args", "dict_kwargs")
    is_bare = not any(new.get(each) for each in arguments)
    if former and (is_bare or not _is_same(former["class_path"], new["class_path"])):
        for each in arguments:
            former.pop(each, None)


def _is_same(path: str, other: str) -> bool:
    return path == other or (trust.imported(path) is not None and trust.imported(path) is trust.imported(other))


def classes_first(args: list[str]) -> list[str]:
    """Put the arguments of a class that stand before the first option that names the class behind that option.

    ``--model.optimizer.lr 0.01 --model.optimizer torch.optim.AdamW`` gives the rate of AdamW, not of the optimizer that
    a config names.
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
    """Reject an option that names an existing object instead of a class.

    Raises:
        InputError: a ``functools.partial``, which may be a loss alone, or an object such as a network.
    """
    for option in CLASS_OPTIONS:
        path = chosen(args, option, default_of(option))
        with suppress(ValueError):
            loss_options.loss_function(str(path))  # which has imported what there is, if that may be imported
        part = trust.imported(path) if path and "." in path else None
        is_loss = option == "model.loss" and callable(part) and not isinstance(part, nn.Module)
        if part is not None and not (inspect.isroutine(part) or isinstance(part, (type, ModuleType)) or is_loss):
            what = f"{path} is a {type(part).__name__} object, which a config cannot record"
            how = " or a function that makes it, def f() -> torch.nn.Module" if option.startswith("model.b") else ""
            raise InputError(f"{option}: {what}: name its class{how}")


def check_required(option: str, part: Any, arguments: Mapping[str, Any]) -> None:
    """Check that the arguments of a class that has no default for them and no annotations were given.

    Args:
        option: that chooses the class.
        part: the class or function.
        arguments: for it.

    Raises:
        InputError: one was not given.
    """
    by_the_trainer = 1 if option in ("model.optimizer", "model.schedule") else 0
    try:
        names = list(inspect.signature(part).parameters.values())[by_the_trainer:]
    except (TypeError, ValueError):  # it has no signature
        return
    for each in names:
        untyped = each.default is each.annotation is inspect.Parameter.empty
        if untyped and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and arguments.get(each.name) is None:
            raise InputError(f"{option} needs {option}.{each.name}: give it with --{option}.{each.name}")


def forward_arguments(args: list[str], default_of: Callable[[str], Any]) -> list[str]:
    """Write arguments that a chosen class or function passes on, or that a loss function takes, as jsonargparse does.

    ``--model.backbone timm.create_model --model.backbone.num_classes 10`` becomes
    ``--model.backbone.dict_kwargs.num_classes 10``, and ``--model.loss.label_smoothing`` of a function
    ``--model.loss.options.label_smoothing``.

    Args:
        args: the command line.
        default_of: gives an option's default.
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
    """Where in a config arguments go that the chosen class has no parameter for: ``dict_kwargs``, ``options`` or "".

    Args:
        args: the command line.
        option: that chooses the class.
    """
    return _further_arguments(option, chosen(args, option))[0]


def all_options(parser: ArgumentParser, args: list[str]) -> list[str]:
    """The options of a parser, such as ``trainer.max_epochs``, and of the classes that a command line chooses."""
    keys = parser.get_defaults().keys()
    own = dict.fromkeys(re.sub(r"\.(class_path|init_args|dict_kwargs)\b.*", "", key) for key in keys)
    # The number of classes is the data's.
    return [*(key for key in own if key != "model.num_classes"), *options_of_chosen(args, parser.get_default)]


def options_of_chosen(args: list[str], default_of: Callable[[str], Any]) -> list[str]:
    """The options of the classes that a command line chooses, such as ``model.optimizer.lr``."""
    options = []
    for option, base in CLASS_OPTIONS.items():
        path = chosen(args, option, default_of(option))
        part = trust.imported(path) if path and "." in path else next(iter(subclasses(base, path or "")), None)
        given = ("params", "optimizer")  # by the trainer
        options += [f"{option}.{name}" for name in (parameters(part) if part else []) if name not in given]
    return options


def subclasses(base: type, name: str | None = None) -> list[type]:
    """The imported subclasses of a class, or those with a name."""
    found: list[type] = []
    own: list[type] = base.__subclasses__()
    for each in own:
        found += [each, *subclasses(each)]
    return [each for each in dict.fromkeys(found) if name in (None, each.__name__)]


def parameters(part: Any) -> list[str]:
    """The names of the arguments of a class or function, with those that it passes on to what it names."""
    parser = ArgumentParser(exit_on_error=False)
    add = parser.add_class_arguments if isinstance(part, type) else parser.add_function_arguments
    try:
        return add(part, fail_untyped=False)
    except ValueError:  # nothing that can be called, or a built-in function without a signature
        return []


def _further_arguments(option: str, path: str | None) -> tuple[str, list[str]]:
    """Where arguments go that a class has no parameter for (nowhere: ""), and its parameters."""
    if path is None or "." not in path:
        return "", []
    try:
        loss_options.loss_function(path)
        is_function = True
    except ValueError:  # it has imported what there is, if that may be imported
        is_function = False
    if option == "model.loss" and (is_function or path == loss_options.CLASS_PATH):
        return "options", ["function"]
    part = trust.imported(path)
    if not callable(part):
        return "", []
    own = parameters(part)
    kinds = {each.name: each.kind for each in inspect.signature(part).parameters.values()}
    passes_on = inspect.Parameter.VAR_KEYWORD in kinds.values() and not set(own) - set(kinds)
    return ("dict_kwargs" if passes_on else ""), own
