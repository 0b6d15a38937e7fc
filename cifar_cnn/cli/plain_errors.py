"""Convert jsonargparse's messages to one line with the nearest valid choices."""

import builtins
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torchvision.transforms import v2

from cifar_cnn import backbones, data, losses, optim
from cifar_cnn.base.errors import causes
from cifar_cnn.cli import class_options, given_values, suggestions, transforms
from cifar_cnn.cli.configs import SECTIONS, option_values
from cifar_cnn.trust import names as trust
from cifar_cnn.trust.loss_options import makes_a_module

# The classes to suggest for each option.
_CLASSES: dict[str, list[type]] = {
    "model.backbone": [backbones.SimpleCNN, backbones.ResNet18],
    "model.loss": [losses.CrossEntropyLoss, nn.CrossEntropyLoss],
    "model.optimizer": [value for value in vars(torch.optim).values() if isinstance(value, type)],
    "model.schedule": [optim.PiecewiseLinear, optim.WarmupCosine, torch.optim.lr_scheduler.CosineAnnealingLR],
    **dict.fromkeys(class_options.TRANSFORMS[:2], class_options.subclasses(v2.Transform)),
    "data.augment.mix": [v2.CutMix, v2.MixUp],
    "data.source": [data.CIFAR10, data.CIFAR100, data.ImageFolder, data.Arrays, data.Shapes],
}
_ANY_CLASS = {
    "model.backbone": ", or any torch.nn.Module by its import path, such as torchvision.models.resnet18",
    "model.loss": ", or any torch.nn.Module or function of (logits, target) by its import path",
    **dict.fromkeys(class_options.TRANSFORMS, ", or your own module, function or class by its import path"),
}


@dataclass
class _Mistake:
    """An exception of jsonargparse and the command line that caused it."""

    error: BaseException
    options: list[str]
    command: str
    args: list[str]

    @cached_property
    def causes(self) -> list[BaseException]:
        return list(causes(self.error))

    @cached_property
    def keys(self) -> list[str]:
        """The options that the exception concerns, from the outermost section inwards."""
        found = (re.match(r'Parser key "([^"]+)"', str(cause)) for cause in self.causes)
        return list(dict.fromkeys(match[1] for match in found if match))

    @property
    def section(self) -> str:
        """The option whose value is wrong, or whose class has a wrong argument; "" for an option of the command."""
        return ".".join(self.keys)

    @cached_property
    def value(self) -> Any:
        """The value of the option on the command line or in a config; None if it cannot be found."""
        return given_values.given(self.args, self.section)

    @property
    def reason(self) -> str:
        """The innermost message."""
        return " ".join(str(self.causes[-1]).split())


def explain(error: BaseException, options: Iterable[str], command: str, args: list[str]) -> str:
    """Explain in one line what is wrong with a command line.

    Args:
        error: jsonargparse's exception, with its causes.
        options: all options of the command, such as ``trainer.max_epochs``, and of the selected classes.
        command: the command, such as ``fit``.
        args: the command line after the command.
    """
    mistake = _Mistake(error, list(options), command, args)
    return next((line for reader in _READERS if (line := reader(mistake))), " ".join(str(error).split()))


def _unknown_words(mistake: _Mistake) -> str | None:
    if mistake.causes[1:]:  # only unknown words raise a single exception
        return None
    words = str(mistake.error).partition(": ")[2].split()
    names = dict.fromkeys(word.split("=")[0] for word in words if word.startswith("-"))
    if words and not words[0].startswith("-"):
        return f"unexpected argument {words[0]!r}: options start with --; name a config with --config"
    hints = {each: suggestions.option(each, mistake.options, mistake.command) for each in names}
    return "; ".join(f"unknown option {each}; {hint}" for each, hint in hints.items())


def _unusable_config(mistake: _Mistake) -> str | None:
    if mistake.keys != ["config"]:
        return None
    for value in option_values(mistake.args, "-c", "--config"):
        if not os.path.exists(value) and isinstance(given_values.load(value), str):
            return f"no config file {value}; {suggestions.config(value)}"
    _, _, reason = " ".join(str(mistake.error).split()).partition(": ")
    return f"a config is not valid: {reason}"


def _section_without_config(mistake: _Mistake) -> str | None:
    if mistake.section not in SECTIONS or isinstance(given_values.load(str(mistake.value)), Mapping):
        return None
    hints = {
        "model": f"; select a network with --model.backbone {mistake.value}",
        "data": "; select images with --data.source",
    }
    hint = hints.get(mistake.section, "")
    return f"--{mistake.section} expects a config file, but there is no file {mistake.value}{hint}"


def _unknown_option(mistake: _Mistake) -> str | None:
    error = next((cause for cause in mistake.causes if isinstance(cause, KeyError)), None)
    if error is None:
        return None
    name = ".".join(str(error).split("'")[1::2])  # the message quotes the group, if any, and the option
    if not mistake.section:
        return (
            _unknown_key(mistake)
            or f"unknown option {name}; {suggestions.option(name, mistake.options, mistake.command)}"
        )
    if f"{mistake.section}.{name}" in mistake.options:  # it is right, but another argument of the class is wrong
        given = [word[2:].partition("=")[0] for word in mistake.args if word.startswith(f"--{mistake.section}.")]
        unknown = next((each for each in given if each not in mistake.options), None)
        if unknown is None:
            values = ", ".join(f"{each} {given_values.given(mistake.args, each)}" for each in given)
            return f"{mistake.section}: a value has the wrong type: {values}"
        name = unknown.removeprefix(f"{mistake.section}.")
    further = class_options.section_of_further_arguments(mistake.args, mistake.section)
    if further:
        place = "inside" if further == "options" else "next to"
        hint = f"write it under {further}, {place} init_args"
    else:
        hint = suggestions.argument(name, mistake.section, mistake.options)
    return f"unknown option {mistake.section}.{name}; {hint}"


def _refused_import(mistake: _Mistake) -> str | None:
    reason = trust.refusal(str(mistake.error))
    return f"{mistake.section}: {reason}" if reason else None


def _missing_option(mistake: _Mistake) -> str | None:
    match = re.match(r"the following arguments are required: ([\w.]+)", mistake.reason)
    return _required(match[1], mistake) if match else None


def _unknown_class(mistake: _Mistake) -> str | None:
    last = mistake.causes[-1]
    base = class_options.CLASS_OPTIONS.get(mistake.section)
    for value in mistake.value if isinstance(mistake.value, list) else [mistake.value]:
        path = given_values.path_in(value) or ""
        if isinstance(last, ModuleNotFoundError) and not f"{path}.".startswith(f"{last.name}."):
            return f"{mistake.section}: {path} cannot be imported: a package is not installed: {last}"
        named = class_options.subclasses(base, path) if base else []
        if len(named) > 1:
            paths = " or ".join(map(_shortest_path, named))
            return f"{mistake.section}: write {paths}: more than one class is called {path}"
        is_unknown = base is not None and "." not in path and not named
        if path and (is_unknown or isinstance(last, (ModuleNotFoundError, AttributeError))):
            hint = _nearest_class(path, mistake.section, mistake.command)
            return f"{mistake.section}: there is no {path!r}; {hint}"
    return None


def _other_class(mistake: _Mistake) -> str | None:
    key, path = mistake.section, given_values.path_in(mistake.value)
    base = class_options.CLASS_OPTIONS.get(key)
    part = trust.imported(path) if path and "." in path else None
    if base is None or part is None or (isinstance(part, type) and issubclass(part, base)):
        return None
    if key in class_options.TRANSFORMS[:2]:
        return f"{key}: {path} is neither a torch.nn.Module, nor a function of an image, nor a class with __call__"
    if key == "model.loss":
        return f"{key}: {path} is neither a torch.nn.Module nor a function of (logits, target)"
    if base is nn.Module and inspect.isroutine(part) and not makes_a_module(part):
        return f"{key}: {path} is a function: annotate its return type, as in def f() -> torch.nn.Module"
    return f"{key}: {path} is not a subclass of {base.__name__}" if isinstance(part, type) else None


def _not_a_transform(mistake: _Mistake) -> str | None:
    key = mistake.section
    if key not in class_options.TRANSFORMS:
        return None
    return transforms.explain(key, mistake.value, mistake.args, lambda path: _nearest_class(path, key, mistake.command))


def _wrong_type(mistake: _Mistake) -> str | None:
    expected = re.findall(r"Expected an? (?:<class '(\w+)'>|typing.Literal\[(.*?)\])", str(mistake.error))
    choices = dict.fromkeys(each.strip(" '") for _, literal in expected for each in literal.split(",") if each)
    kinds = list(dict.fromkeys(kind for kind, _ in expected if hasattr(builtins, kind)))
    if "int" in kinds and any(map(str.isdigit, choices)):  # the choices already contain numbers
        kinds.remove("int")
    wanted = [f"of type {' or '.join(kinds)}"] * bool(kinds) + [f"one of {', '.join(choices)}"] * bool(choices)
    if not wanted:
        return None
    value = given_values.load(mistake.value) if isinstance(mistake.value, str) else mistake.value
    if isinstance(value, list) and "list" not in kinds:  # one of its items is wrong
        types = tuple(getattr(builtins, kind) for kind in kinds)
        value = next((each for each in value if not isinstance(each, types)), value)
    else:
        value = mistake.value
    return f"{mistake.section}: {value!r} is not {' or '.join(wanted)}"


def _other_value(mistake: _Mistake) -> str | None:
    path = given_values.path_in(mistake.value)
    if path and "." not in path:
        return f"{mistake.section}: there is no {path!r}: write an import path, such as torch.nn.ReLU for a layer"
    return f"{mistake.section}: {mistake.reason}" if mistake.section else None


# From the most specific to the most general; the first reader that recognizes the mistake explains it.
_READERS: tuple[Callable[[_Mistake], str | None], ...] = (
    _unknown_words,
    _unusable_config,
    _section_without_config,
    _unknown_option,
    _refused_import,
    _missing_option,
    _unknown_class,
    _other_class,
    _not_a_transform,
    _wrong_type,
    _other_value,
)


def _required(name: str, mistake: _Mistake) -> str:
    if key := mistake.section:
        return f"{key} needs {key}.{name}: give it with --{key}.{name}"
    missing = f"{name} is missing: give a --config, such as quickstart, or --model.backbone SimpleCNN"
    return _unknown_key(mistake, nested=True) or missing  # the option may be in a misspelt section


def _unknown_key(mistake: _Mistake, nested: bool = False) -> str | None:
    """Name the first unknown key in the configs; a key within a section only if ``nested``."""
    options = mistake.options
    for path in option_values(mistake.args, "-c", "--config"):
        content = given_values.load(path)
        for key in _keys(content if isinstance(content, dict) else {}):
            is_known = any(f"{known}.".startswith(f"{key}.") for known in options)
            if not is_known and (nested or "." not in key):
                prefixes = {".".join(known.split(".")[: key.count(".") + 1]) for known in options}
                where = f" in {path}" if os.path.exists(path) else ""
                return f"unknown option {key}{where}; {suggestions.option(key, prefixes, mistake.command)}"
    return None


def _shortest_path(cls: type) -> str:
    """The import path of a class from the outermost package that exports it."""
    parts = cls.__module__.split(".")
    modules = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    exporting = (module for module in modules if getattr(sys.modules.get(module), cls.__name__, None) is cls)
    return f"{next(exporting, cls.__module__)}.{cls.__name__}"


def _keys(config: dict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in config.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict) and "class_path" not in value:
            keys += _keys(value, f"{prefix}{name}.")
    return keys


def _nearest_class(path: str, key: str, command: str) -> str:
    module, _, name = path.rpartition(".")
    known = _CLASSES.get(key) or class_options.subclasses(class_options.CLASS_OPTIONS.get(key, type(None)))
    names = [cls.__name__ for cls in known]
    if module:
        if module not in sys.modules:  # jsonargparse has tried to import it
            return f"there is no module {module!r} to import it from"
        found = suggestions.similar(name, dir(sys.modules[module]), cutoff=0.7)
        if not found and key in class_options.TRANSFORMS:
            return f"the module {module} has no {name}"
        names = [f"{module}.{other}" for other in found if other != name] or names
    return suggestions.nearest(path, names, command) + _ANY_CLASS.get(key, "")
