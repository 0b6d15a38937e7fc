"""From jsonargparse's messages to one line that names the nearest valid choices."""

import builtins
import difflib
import inspect
import os
import re
import sys
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import torch
import yaml
from torch import nn

from cifar_cnn import backbones, data, losses, optim
from cifar_cnn.cli import class_options, suggestions
from cifar_cnn.errors import InputError
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


def option_values(args: list[str], *names: str) -> list[str]:
    """All values that ``args`` gives an option of these names, as ``--name value`` or ``--name=value``, in order."""
    values = []
    for arg, following in zip_longest(args, args[1:]):
        name, equals, value = arg.partition("=")
        if name in names and (equals or following is not None):
            values.append(value if equals else following)
    return values


MOST_VALUES = 100_000  # in a config
SECTIONS = ("model", "data", "trainer", "checkpoint", "last_checkpoint", "not_finite", "filters")  # of a config


def check_configs(paths: Iterable[str]) -> None:
    """Look at config files before they are parsed.

    Raises:
        InputError: one cannot be read, is empty, or holds itself or too much, by aliases that a few lines can multiply.
    """
    for path in filter(os.path.exists, paths):
        if Path(path).is_fifo():  # can be read only once, and that is the parser's
            continue
        try:
            root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            size = _size(root, {}) if root else 0
        except OSError as error:
            raise InputError(f"config {path} cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
        except RecursionError as error:
            raise InputError(f"config {path} is nested too deeply, or holds itself") from error
        if not size:
            raise InputError(f"config {path} is empty")
        if size > MOST_VALUES:
            raise InputError(f"config {path} holds more than {MOST_VALUES:,} values")
        for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
            name = str(key.value)
            if not key.tag.endswith((":str", ":merge")) or name in ("config", "print_config"):
                raise InputError(f"config {path}: {name:.60} is no option of a config")
            is_file = value.tag.endswith((":str", ":null"))  # another config, for this section
            if name in SECTIONS and not (isinstance(value, yaml.MappingNode) or is_file):
                given = value.value if isinstance(value, yaml.ScalarNode) else "a list"
                what = f"{name}: must be followed by indented lines of options, not by {given}"
                raise InputError(f"config {path}: {what}")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a config holds once its aliases are written out."""
    if id(node) not in known:
        pairs = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in pairs for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def explain(message: str, options: Iterable[str], command: str, args: list[str]) -> str:
    """Say what is wrong with a command line.

    Args:
        message: jsonargparse's.
        options: all options of the command, such as ``trainer.max_epochs``, and of the classes that it chooses.
        command: such as ``fit``.
        args: the words after it.
    """
    options = list(options)
    message = " ".join(message.split())
    match = re.search(r'Parser key "([^"]+)"', message)
    key = match[1] if match else ""

    if match := re.search(r"File does not exist: '([^']*)'", message):
        configs = sorted(map(str, Path("configs").glob("*.yaml")))
        wanted = str(Path("configs", Path(match[1]).name))
        path = min(match[1], relative(match[1]), key=len)
        hint = suggestions.nearest(wanted, configs, command) if configs else "there is no folder configs here"
        return f"no config file {path}; {hint}"
    if match := re.search(r"unrecognized arguments: (\S+).*", message):
        name = match[1].split("=")[0]
        if not name.startswith("-"):
            return f"unexpected argument {name!r}: options start with --, and a config is given with --config"
        names = dict.fromkeys(word.split("=")[0] for word in match[0].split() if word.startswith("--"))
        hints = {each: suggestions.option(each, options, command) for each in names or [name]}
        return "; ".join(f"unknown option {each}; {hint}" for each, hint in hints.items())
    if match := re.search(r"(?:Group '([^']+)' )?does not accept option '([^']+)'", message):
        name = ".".join(filter(None, match.groups()))
        return f"unknown option {name}; {suggestions.option(name, options, command)}"
    if match := re.search(r"Option '([^']+)' is not accepted", message):
        section = class_options.section_of_further_arguments(args, key)
        hint = f"write it under {section}, inside of" if section == "options" else f"write it under {section}, beside"
        hint = f"{hint} init_args" if section else suggestions.argument(match[1], key, options)
        return f"unknown option {key}.{match[1]}; {hint}"
    if reason := trust.refusal(message):
        return f"{key}: {reason}"
    if (match := re.search(r"Unable to load config '([^']+)'", message)) and key in SECTIONS:
        sections = {
            "model": f"; a network is chosen with --model.backbone {match[1]}",
            "data": "; images are chosen with --data.source",
        }
        return f"--{key} takes a config of its options, and there is no file {match[1]}{sections.get(key, '')}"
    if match := re.search(r"following arguments are required: (\S+)", message):
        return _required(match[1], key, options, args, command)
    types = dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", message))
    kinds = [name for name in types if name != "NoneType" and hasattr(builtins, name)]
    given = re.search(r"Given value: (.*?)(?: - |$)", message)
    full_key = ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', message)))
    if given and kinds and "typing.Literal" not in message:
        return f"{full_key}: {given[1]!r} is not of type {' or '.join(kinds)}"
    if kinds and (match := re.search(r"Got value: (.*?)$", message)) and "typing.Literal" not in message:
        return f"{full_key}: {match[1]!r} is not of type {' or '.join(kinds)}"
    if match := re.search(r"(?:dot import path string: |given class_path ')([\w.]+)", message):
        return f"{key}: there is no {match[1]!r}; {_nearest_class(match[1], key, command)}"
    if match := re.search(r"Multiple subclasses with name (\S+)\. Give the full class path[^:]*: (.+?)\.?$", message):
        paths = match[2].replace(", ", " or ")
        return f"{key}: write {paths}: more than one class is called {match[1]}"
    if match := re.search(r"Import path (\S+ )?does not correspond to a subclass of (\w+)", message):
        return _wrong_kind((match[1] or given[1] if given else match[1]).strip(), match[2], key)
    if match := re.search(r"Expected '(\S+)' to be a (?:subclass of|function that returns) <class '(\w+)'>", message):
        return _wrong_kind(match[1], match[2], key)
    if match := re.search(r"Expected a typing.Literal\[(.*?)\]. Got value: (.*)", message):
        choices = match[1].replace("'", "")
        return f"{full_key}: {match[2]!r} is not one of {choices}"
    if given:
        literals = re.findall(r"Expected a typing.Literal\[(.*?)\]", message)
        choices = ", ".join(dict.fromkeys(re.findall(r"[\w-]+", " ".join(literals))))
        return f"{full_key}: {given[1]!r} is not " + (f"one of {choices}" if choices else "valid here")
    if "Problems parsing config" in message:
        return f"a config is not valid YAML: {message.split(':', 1)[1].strip()}"
    if match := re.search(r"Unexpected config: (.*)", message):
        return f"a config must hold sections such as model: and data:, not {match[1]!r}"
    return message


def _wrong_kind(path: str, base: str, key: str) -> str:
    if key == "model.loss":
        return f"{key}: {path} is neither a torch.nn.Module nor a function of (logits, target)"
    if base == "Module" and inspect.isroutine(trust.imported(path)):
        return f"{key}: {path} is a function: annotate what it returns, as in def f() -> torch.nn.Module"
    return f"{key}: {path} is no subclass of {base}"


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
    return f"{name} is missing: give a --config, such as configs/quickstart.yaml, or --model.backbone SimpleCNN"


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
