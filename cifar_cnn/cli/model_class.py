"""Select a subclass of ImageClassifier on the command line or in a config, such as ``--model mine.Mixup``.

The class determines the parser's options, so it is imported before the parser is created. A config names the class as
``model: {class_path: mine.Mixup, init_args: {...}}``; the parser itself handles only the arguments.
"""

import importlib
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace, get_loader
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import class_options, given_values, suggestions
from cifar_cnn.runs import trained_as
from cifar_cnn.runs.contents import class_path
from cifar_cnn.trust import names as trust
from cifar_cnn.trust.recording import RecordingParser

HELP = "Import path of a subclass of ImageClassifier, or a config of the options below."


class ModelClassParser(RecordingParser, LightningArgumentParser):
    """A parser for the options of one model class; its configs may name the class."""

    model_class: type[ImageClassifier] = ImageClassifier

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a config, which may name the class."""
        try:
            config = get_loader("yaml")(content)  # reads 1e-3 as a number, unlike yaml.safe_load
        except yaml.YAMLError:  # the parser will report it
            config = None
        if _section(config) is not None:
            content = yaml.safe_dump(_without_class(config, self.model_class), sort_keys=False)
        return super().parse_string(content, *args, **kwargs)

    def dump(self, namespace: Namespace, *args: Any, **kwargs: Any) -> str:
        """Write a config. It names any class other than ImageClassifier, except one defined in a script."""
        text = super().dump(namespace, *args, **kwargs)
        if self.model_class is ImageClassifier or self.model_class.__module__ == "__main__":
            return text

        def nested(match: re.Match[str]) -> str:
            arguments = textwrap.indent(match[1], "  ")
            return f"model:\n  class_path: {class_path(self.model_class)}\n  init_args:\n{arguments}"

        return re.sub(r"^model:\n((?:[ #-].*\n|\n)+)", nested, text, flags=re.MULTILINE)


def set_class(parser: LightningArgumentParser, cls: type[ImageClassifier]) -> None:
    """Set the model class of a parser."""
    assert isinstance(parser, ModelClassParser)
    parser.model_class = cls
    (action,) = (each for each in parser._actions if each.dest == "model")
    action.help = HELP


def chosen(args: list[str], default: type[ImageClassifier]) -> type[ImageClassifier]:
    """Import the class that a command line or its configs name.

    Args:
        args: the command line.
        default: the class to return if none is named.

    Raises:
        InputError: the class does not exist, or is not a subclass of ImageClassifier.
    """
    classes = [_imported(path) for path in named(args)]
    return classes[-1] if classes else default


def named(args: list[str]) -> Iterator[Any]:
    """The import paths of model classes on a command line and in its configs, in order."""
    for words in given_values.split_options(args):
        name, value = given_values.name_and_value(words)
        if _is_class(name, value):
            yield value
        elif name in ("-c", "--config", "--model"):
            content = given_values.load(value)
            section = _section(content if name != "--model" else {"model": content})
            if section is not None:
                yield section["class_path"]


def without(args: list[str]) -> list[str]:
    """Remove the name of the class from a command line; the parser expects only its options."""
    found = []
    for words in given_values.split_options(args):
        name, value = given_values.name_and_value(words)
        if _is_class(name, value):
            continue
        if name == "--model" and _section({"model": given_values.load(value)}) is not None:
            options = trained_as.options(given_values.load(value))
            words = [name, yaml.safe_dump(options, default_flow_style=True, width=sys.maxsize).strip()]
        found += [words[0].replace("--model.init_args.", "--model.", 1), *words[1:]]
    return found


def _is_class(name: str, value: str) -> bool:
    is_path = re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", value) and not value.endswith((".yaml", ".yml", ".json"))
    return name == "--model.class_path" or (name == "--model" and bool(is_path) and not Path(value).is_file())


def _section(config: Any) -> Mapping[str, Any] | None:
    """The section ``model`` of a config, if it names a class."""
    section = config.get("model") if isinstance(config, Mapping) else None
    return section if isinstance(section, Mapping) and "class_path" in section else None


def _without_class(config: Mapping[str, Any], cls: type[ImageClassifier]) -> dict[str, Any]:
    """A config for the parser of ``cls``; if it names another class, without arguments that only that class has."""
    section = config["model"]
    other, options = trust.imported(str(section["class_path"])), trained_as.options(section)
    if other is None:
        raise InputError(f"a config names the model {section['class_path']}, but this run trains {class_path(cls)}")
    if other is not cls:
        foreign = set(class_options.parameters(other)) - set(class_options.parameters(cls))
        options = {name: value for name, value in options.items() if name not in foreign}
    return {**config, "model": options}


def _imported(path: Any) -> type[ImageClassifier]:
    """Import a model class by its path."""
    module, _, name = str(path).rpartition(".")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", str(path)):
        raise InputError(f"model: {path} is not an import path: name the class with its module, such as mine.Mixup")
    if module.split(".")[0] in {*sys.stdlib_module_names, "__main__"}:
        raise InputError(f"model: {path} is not allowed: it is not a class for training")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise InputError(f"model: {path} cannot be imported: a package is not installed: {error}") from error
        raise InputError(
            f"model: there is no module {error.name!r}; your own modules are searched for in the current folder"
        ) from error
    if found is None:
        near = suggestions.similar(name, _classifiers(module)) or _classifiers(module)
        hint = f"nearest: {', '.join(f'{module}.{each}' for each in near)}" if near else "it has no such class"
        raise InputError(f"model: there is no {name!r} in {module}; {hint}")
    if not (isinstance(found, type) and issubclass(found, ImageClassifier)):
        is_network = (isinstance(found, type) and issubclass(found, nn.Module)) or callable(found)
        hint = f"; select a network with --model.backbone {path}" if is_network else ""
        raise InputError(f"model: {path} is not a subclass of cifar_cnn.ImageClassifier{hint}")
    if missing := {"backbone", "num_classes"} - set(class_options.parameters(found)):
        raise InputError(
            f"model: {path} does not accept {' or '.join(sorted(missing))}: let its __init__ accept **kwargs and pass "
            "them to super().__init__"
        )
    return found


def _classifiers(module: str) -> list[str]:
    values = vars(sys.modules[module]).items()
    return [name for name, value in values if isinstance(value, type) and issubclass(value, ImageClassifier)]
