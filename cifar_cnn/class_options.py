"""Options that name a class, such as ``--model.optimizer``, and the options of that class."""

import re
from typing import Any

from cifar_cnn import trust


def start_from_own_defaults(parser: Any, former: Any, new: Any) -> None:
    """Remove the arguments of a former class, so that a new class starts from its own defaults.

    For :func:`cifar_cnn.compat.discarding_init_args`.
    """
    if former and not _is_same(former["class_path"], new["class_path"]):
        for arguments in ("init_args", "dict_kwargs"):
            former.pop(arguments, None)


def _is_same(path: str, other: str) -> bool:
    return path == other or (trust.imported(path) is not None and trust.imported(path) is trust.imported(other))


def classes_first(args: list[str]) -> list[str]:
    """Put the arguments of a class that stand before the first option that names the class behind that option.

    ``--model.optimizer.lr 0.01 --model.optimizer torch.optim.AdamW`` gives the rate of AdamW, not of the optimizer that
    a config names.
    """
    options = split_options(args)
    named = {name for name, value in map(_name_and_value, options) if re.fullmatch(r"[A-Za-z_][\w.]*", value)}
    for name in sorted(named):
        first = next(i for i, option in enumerate(options) if _name_and_value(option)[0] == name)
        early = [option for option in options[:first] if option[0].startswith(f"{name}.")]
        others = [option for option in options[:first] if not option[0].startswith(f"{name}.")]
        options = [*others, options[first], *early, *options[first + 1 :]]
    return [word for option in options for word in option]


def split_options(args: list[str]) -> list[list[str]]:
    """The words of a command line, each option with its values; words before the first option stand alone."""
    options: list[list[str]] = []
    for word in args:
        if options and not word.startswith("--") and word not in ("-c", "-h") and options[-1][0].startswith("-"):
            options[-1].append(word)
        else:
            options.append([word])
    return options


def _name_and_value(option: list[str]) -> tuple[str, str]:
    name, _, value = option[0].partition("=")
    return (name, value) if value else (name, " ".join(option[1:]))
