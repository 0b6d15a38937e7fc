"""From jsonargparse's messages to one line that names the nearest valid choices."""

import builtins
import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import nn

from cifar_cnn import backbones, data, losses, optim
from cifar_cnn.cli import class_options, suggestions
from cifar_cnn.cli.configs import SECTIONS, option_values
from cifar_cnn.paths import relative
from cifar_cnn.trust import names as trust

# What a class_path is likely to have meant, by the option that takes it.
_CLASSES: dict[str, list[type]] = {
    "model.backbone": [backbones.SimpleCNN, backbones.ResNet18],
    "model.loss": [losses.CrossEntropyLoss, nn.CrossEntropyLoss],
    "model.optimizer": [value for value in vars(torch.optim).values() if isinstance(value, type)],
    "model.schedule": [optim.PiecewiseLinear, optim.WarmupCosine, torch.optim.lr_scheduler.CosineAnnealingLR],
    "data.source": [data.CIFAR10, data.ImageFolder, data.Shapes],
}
_ANY_CLASS = {
    "model.backbone": ", or any torch.nn.Module by its import path, such as torchvision.models.resnet18",
    "model.loss": ", or any torch.nn.Module or function of (logits, target) by its import path",
}


@dataclass
class _Mistake:
    """What jsonargparse says of a command line, and what the command line is."""

    message: str
    options: list[str]
    command: str
    args: list[str]

    @property
    def keys(self) -> list[str]:
        """The options that the message is about, from the outermost section inwards."""
        return list(dict.fromkeys(self.all(r'Parser key "([^"]+)"')))

    @property
    def key(self) -> str:
        return self.keys[0] if self.keys else ""

    @property
    def full_key(self) -> str:
        return ".".join(self.keys)

    @property
    def value(self) -> str | None:
        """The value that was given, where the message quotes it."""
        found = self.first(r"Given value: (.*?)(?: - |$)")
        return found[1] if found else None

    def first(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, self.message)

    def all(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.message)


def explain(message: str, options: Iterable[str], command: str, args: list[str]) -> str:
    """Say what is wrong with a command line.

    Args:
        message: jsonargparse's.
        options: all options of the command, such as ``trainer.max_epochs``, and of the classes that it chooses.
        command: such as ``fit``.
        args: the words after it.
    """
    mistake = _Mistake(" ".join(message.split()), list(options), command, args)
    return next((line for reader in _READERS if (line := reader(mistake))), mistake.message)


def _missing_config(mistake: _Mistake) -> str | None:
    if not (match := mistake.first(r"File does not exist: '([^']*)'")):
        return None
    path = min(match[1], relative(match[1]), key=len)
    return f"no config file {path}; {suggestions.config(path)}"


def _unknown_words(mistake: _Mistake) -> str | None:
    if not (match := mistake.first(r"unrecognized arguments: (\S+).*")):
        return None
    name = match[1].split("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {name!r}: options start with --, and a config is given with --config"
    names = dict.fromkeys(word.split("=")[0] for word in match[0].split() if word.startswith("--"))
    hints = {each: suggestions.option(each, mistake.options, mistake.command) for each in names or [name]}
    return "; ".join(f"unknown option {each}; {hint}" for each, hint in hints.items())


def _unknown_option(mistake: _Mistake) -> str | None:
    if match := mistake.first(r"(?:Group '([^']+)' )?does not accept option '([^']+)'"):
        name = ".".join(filter(None, match.groups()))
        return f"unknown option {name}; {suggestions.option(name, mistake.options, mistake.command)}"
    if match := mistake.first(r"Option '([^']+)' is not accepted"):
        section = class_options.section_of_further_arguments(mistake.args, mistake.key)
        hint = f"write it under {section}, inside of" if section == "options" else f"write it under {section}, next to"
        hint = f"{hint} init_args" if section else suggestions.argument(match[1], mistake.key, mistake.options)
        return f"unknown option {mistake.key}.{match[1]}; {hint}"
    return None


def _refused_import(mistake: _Mistake) -> str | None:
    reason = trust.refusal(mistake.message)
    return f"{mistake.key}: {reason}" if reason else None


def _section_without_config(mistake: _Mistake) -> str | None:
    match = mistake.first(r"Unable to load config '([^']+)'")
    if not match or mistake.key not in SECTIONS:
        return None
    sections = {
        "model": f"; a network is chosen with --model.backbone {match[1]}",
        "data": "; images are chosen with --data.source",
    }
    hint = sections.get(mistake.key, "")
    return f"--{mistake.key} takes a config of its options, and there is no file {match[1]}{hint}"


def _missing_option(mistake: _Mistake) -> str | None:
    match = mistake.first(r"following arguments are required: (\S+)")
    return _required(match[1], mistake.key, mistake.options, mistake.args, mistake.command) if match else None


def _wrong_type(mistake: _Mistake) -> str | None:
    types = dict.fromkeys(mistake.all(r"Expected an? <class '(\w+)'>"))
    kinds = [name for name in types if name != "NoneType" and hasattr(builtins, name)]
    if not kinds or "typing.Literal" in mistake.message:
        return None
    match = mistake.first(r"Got value: (.*?)$")
    value = mistake.value if mistake.value is not None else match and match[1]
    return f"{mistake.full_key}: {value!r} is not of type {' or '.join(kinds)}" if value is not None else None


def _unknown_class(mistake: _Mistake) -> str | None:
    if match := mistake.first(r"(?:dot import path string: |given class_path ')([\w.]+)"):
        return f"{mistake.key}: there is no {match[1]!r}; {_nearest_class(match[1], mistake.key, mistake.command)}"
    if match := mistake.first(r"Multiple subclasses with name (\S+)\. Give the full class path[^:]*: (.+?)\.?$"):
        paths = match[2].replace(", ", " or ")
        return f"{mistake.key}: write {paths}: more than one class is called {match[1]}"
    return None


def _other_class(mistake: _Mistake) -> str | None:
    if match := mistake.first(r"Import path (\S+ )?does not correspond to a subclass of (\w+)"):
        return _wrong_kind((match[1] or mistake.value or "").strip(), match[2], mistake.key)
    if match := mistake.first(r"Expected '(\S+)' to be a (?:subclass of|function that returns) <class '(\w+)'>"):
        return _wrong_kind(match[1], match[2], mistake.key)
    return None


def _no_choice(mistake: _Mistake) -> str | None:
    if match := mistake.first(r"Expected a typing.Literal\[(.*?)\]. Got value: (.*)"):
        choices = match[1].replace("'", "")
        return f"{mistake.full_key}: {match[2]!r} is not one of {choices}"
    if mistake.value is None:
        return None
    literals = mistake.all(r"Expected a typing.Literal\[(.*?)\]")
    choices = ", ".join(dict.fromkeys(re.findall(r"[\w-]+", " ".join(literals))))
    return f"{mistake.full_key}: {mistake.value!r} is not " + (f"one of {choices}" if choices else "valid here")


def _bad_config(mistake: _Mistake) -> str | None:
    if "Problems parsing config" in mistake.message:
        return f"a config is not valid YAML: {mistake.message.split(':', 1)[1].strip()}"
    if match := mistake.first(r"Unexpected config: (.*)"):
        return f"a config must hold sections such as model: and data:, not {match[1]!r}"
    return None


# In this order: a message can quote an inner one, and the first reader that knows it is the most specific.
_READERS: tuple[Callable[[_Mistake], str | None], ...] = (
    _missing_config,
    _unknown_words,
    _unknown_option,
    _refused_import,
    _section_without_config,
    _missing_option,
    _wrong_type,
    _unknown_class,
    _other_class,
    _no_choice,
    _bad_config,
)


def _wrong_kind(path: str, base: str, key: str) -> str:
    if key == "model.loss":
        return f"{key}: {path} is neither a torch.nn.Module nor a function of (logits, target)"
    if base == "Module" and inspect.isroutine(trust.imported(path)):
        return f"{key}: {path} is a function: annotate what it returns, as in def f() -> torch.nn.Module"
    return f"{key}: {path} is not a subclass of {base}"


def _required(name: str, key: str, options: list[str], args: list[str], command: str) -> str:
    if key:
        return f"{key} needs {key}.{name}: give it with --{key}.{name}"
    # A misspelt section hides what it holds, so that the network seems to be missing.
    for path in option_values(args, "-c", "--config"):
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        for option in _keys(content if isinstance(content, dict) else {}):
            if not any(f"{known}.".startswith(f"{option}.") for known in options):
                prefixes = {".".join(known.split(".")[: option.count(".") + 1]) for known in options}
                return f"unknown option {option} in {path}; {suggestions.option(option, prefixes, command)}"
    return f"{name} is missing: give a --config, such as quickstart, or --model.backbone SimpleCNN"


def _keys(config: dict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in config.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict) and "class_path" not in value:
            keys += _keys(value, f"{prefix}{name}.")
    return keys


def _nearest_class(path: str, key: str, command: str) -> str:
    module, _, name = path.rpartition(".")
    names = [cls.__name__ for cls in _CLASSES.get(key, [])]
    if module:
        if module not in sys.modules:  # jsonargparse has tried to import it
            return f"there is no module {module!r} to import it from"
        found = difflib.get_close_matches(name, dir(sys.modules[module]), n=3, cutoff=0.7)
        names = [f"{module}.{other}" for other in found if other != name] or names
    return suggestions.nearest(path, names, command) + _ANY_CLASS.get(key, "")
