"""Report errors in the transforms of ``data.augment`` in one line.

A transform may have one of several types, and jsonargparse reports the errors of all of them at once.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.utilities.seed import isolate_rng

from cifar_cnn.base.errors import InputError
from cifar_cnn.cli import class_options, given_values, suggestions
from cifar_cnn.trust import names as trust
from cifar_cnn.trust.tracebacks import library_message


def check_transforms(config: Namespace) -> None:
    """Create the transforms of a parsed config once; no random number generator changes.

    Raises:
        InputError: a transform of a library cannot be created.
        Exception: any exception from the user's code.
    """
    with isolate_rng(include_cuda=False):
        for option in class_options.TRANSFORMS:
            value = config.get(option)
            for spec in value if isinstance(value, list) else [value]:
                try:
                    _made(spec)
                except Exception as error:
                    message = library_message(error, 300).rstrip(".")
                    name = given_values.path_in(spec)
                    raise InputError(f"{option}: {name}: {message}") from error


def _made(value: Any) -> Any:
    """The object that a parsed value describes, with the objects in its arguments."""
    if isinstance(value, (list, tuple)):
        return [_made(each) for each in value]
    if isinstance(value, Namespace) and "class_path" in value:
        arguments = {**dict(value.get("init_args") or {}), **dict(value.get("dict_kwargs") or {})}
        return trust.imported(value.class_path)(**{name: _made(each) for name, each in arguments.items()})
    return value


def explain(option: str, value: Any, args: list[str], unknown: Callable[[str], str]) -> str | None:
    """Explain why the value of an option is not a transform or a list of transforms.

    Args:
        option: the option.
        value: its value.
        args: the command line.
        unknown: returns a hint for the name of an unknown class.
    """
    content = given_values.load(value) if isinstance(value, str) and value.startswith("[") else value
    for each in content if isinstance(content, list) else [content]:
        path = given_values.path_in(each)
        if path is None:
            return f"{option}: {each!r:.60} is not a transform: name a class, such as {_EXAMPLES[option]}, or a list"
        found = class_options.subclasses(class_options.CLASS_OPTIONS[option], path) if "." not in path else []
        part = trust.imported(path) if "." in path else next(iter(found), None)
        if part is None:
            return f"{option}: there is no {path!r}; {unknown(path)}"
        if not isinstance(part, type):
            return f"{option}: {path} is a function: write a torch.nn.Module whose forward takes images and targets"
        arguments = dict(each.get("init_args") or {}) if isinstance(each, Mapping) else {}
        if line := _wrong_arguments(option, path, part, {*arguments, *_given(args, option, part)}):
            return line
    return None


def _given(args: list[str], option: str, part: type) -> list[str]:
    return [each for each in class_options.parameters(part) if given_values.given(args, f"{option}.{each}") is not None]


def _wrong_arguments(option: str, path: str, part: type, given: set[str]) -> str | None:
    parameters = inspect.signature(part).parameters
    named = [each for each in parameters.values() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    for each in named:
        if each.default is each.empty and each.name not in given:
            return f"{option}: {path} needs {option}.{each.name}: give it with --{option}.{each.name} or in init_args"
    known = class_options.parameters(part)
    for name in sorted(given.difference(known)):
        found = suggestions.similar(name, known) or known
        return f"{option}: {path} has no argument {name!r}; nearest: {', '.join(found)}"
    return None


_EXAMPLES = {
    "data.augment.transforms": "RandAugment",
    "data.augment.normalized_transforms": "RandomErasing",
    "data.augment.mix": "CutMix",
}
