"""Find the ImageClassifier subclass that a checkpoint was trained as, for commands that only use its network."""

import importlib
import inspect
import logging
from collections.abc import Mapping
from typing import Any

from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.distributed import prints_messages
from cifar_cnn.runs.contents import class_path
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import own_modules

log = logging.getLogger("cifar_cnn")

PLAIN = class_path(ImageClassifier)


def classifier_class(content: Mapping[str, Any]) -> type[ImageClassifier]:
    """The class that a checkpoint was trained as, if it can and may be imported; otherwise ImageClassifier.

    A class defined in a script is used only while that script itself runs. It is never imported, because that would run
    the script.

    Args:
        content: content of the checkpoint.
    """
    path = content.get("model", PLAIN)
    if isinstance(path, str) and path.startswith("__main__."):
        return _class_of_this_program(path, content["hyper_parameters"]) or ImageClassifier
    if not isinstance(path, str) or not trust.may_import(path, content):
        return ImageClassifier
    module, _, name = path.rpartition(".")
    own_modules.allow([module])
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return ImageClassifier
    return found if isinstance(found, type) and issubclass(found, ImageClassifier) else ImageClassifier


def options(section: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the ``model`` section of a config, including the ``init_args`` of a class.

    Args:
        section: the ``model`` section.
    """
    if "class_path" not in section:
        return dict(section)
    groups = ("init_args", "dict_kwargs")
    found = {name: value for name, value in section.items() if name not in ("class_path", *groups)}
    for group in groups:
        found |= section.get(group) or {}
    return found


def section(cls: type, arguments: dict[str, Any]) -> dict[str, Any]:
    """The ``model`` section of a config that trains ``cls`` with these arguments.

    The section has a ``class_path`` for a class other than ImageClassifier, unless a script or notebook defines the
    class.
    """
    if cls is ImageClassifier or not issubclass(cls, ImageClassifier) or cls.__module__ == "__main__":
        return arguments
    return {"class_path": class_path(cls), "init_args": arguments}


def _class_of_this_program(path: str, arguments: Mapping[str, Any]) -> type[ImageClassifier] | None:
    """The loaded class of that name, if it is a classifier and ``arguments`` include all required ones."""
    found = trust.imported(path)
    if not isinstance(found, type) or not issubclass(found, ImageClassifier) or class_path(found) != path:
        return None
    takes = inspect.signature(found).parameters.values()
    needed = {each.name for each in takes if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD}
    return found if needed <= {"backbone", *arguments} else None  # arguments not recorded were Python objects


def fit_to(cls: type[ImageClassifier], content: dict[str, Any]) -> None:
    """Remove hyper-parameters that ``cls`` does not take, if the checkpoint was trained as another class.

    Such hyper-parameters, for example those of a teacher, belong to the training step of that class.

    Args:
        cls: the class, such as ImageClassifier.
        content: content of the checkpoint, changed in place.
    """
    path = str(content.get("model", PLAIN))
    if path in (PLAIN, class_path(cls)):
        return
    taken = inspect.signature(cls).parameters
    arguments = content["hyper_parameters"]
    further = sorted(set(arguments) - set(taken))
    content["hyper_parameters"] = {name: value for name, value in arguments.items() if name in taken}
    if prints_messages():
        without = f", without its {', '.join(map(str, further))}" if further else ""
        log.warning(
            "The checkpoint was trained as %.60s, which cannot be imported here: loading its backbone into %s%s",
            *(path, cls.__qualname__, without),
        )
