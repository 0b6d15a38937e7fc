"""``cifar-cnn show``: draw the images of a config or a run with their classes."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from cifar_cnn.base.errors import InputError, causes
from cifar_cnn.base.figures import show_in_window
from cifar_cnn.base.paths import relative
from cifar_cnn.cli import class_options, suggestions
from cifar_cnn.cli.configs import check_configs
from cifar_cnn.cli.parser import ArgumentMessage, Parser
from cifar_cnn.cli.plain_errors import explain
from cifar_cnn.cli.transforms import check_transforms
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.runs.run import RunFolder, find_run


def run(options: Namespace) -> int:
    """Draw the images; return the exit status.

    Raises:
        InputError: the images or the options cannot be used, or there is neither ``--output`` nor a display.
    """
    if options.n < 1:
        raise InputError("-n must be 1 or more")
    if options.output is not None and options.output.suffix.lower() != ".png":
        raise InputError(f"--output must end with .png, not {options.output.name}")
    data = _data(options)
    figure = data.show(options.split, options.n, options.augmented)
    if options.output is not None:
        try:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(options.output)
        except OSError as error:
            raise InputError(f"{options.output} cannot be written: {error.strerror}") from error
        print(f"Images: {relative(options.output)}")
    elif not show_in_window(figure):
        raise InputError("no window can be opened here: write a file with --output images.png")
    return 0


def _data(options: Namespace) -> CIFAR10DataModule:
    """The data module of the run, or that of the configs and options."""
    if options.run is not None:
        if options.config or options.fit_options:
            raise InputError("give either a run or --config and data options, not both")
        return RunFolder(*find_run(options.run)).datamodule
    for option in options.fit_options:
        if option.startswith("--") and not option.startswith("--data."):
            raise InputError(f"unknown option {option.partition('=')[0]}: show accepts --config and data options")
    return data_of(options.config, options.fit_options)


def data_of(configs: list[str], options: list[str]) -> CIFAR10DataModule:
    """The data module of configs and options of ``fit``; options of other parts than the data are not used.

    Raises:
        InputError: a config or option is invalid.
    """
    rest = iter(options)
    words = [[word] if "=" in word else [word, next(rest)] for word in rest]
    return _instantiate([*_sections(configs), *chain(*(each for each in words if each[0].startswith("--data.")))])


def _sections(configs: list[str]) -> Iterator[str]:
    """The data sections of configs as command-line options."""
    check_configs(configs)
    for config in configs:
        if not os.path.isfile(config):
            raise InputError(f"no config file {config}; {suggestions.config(config)}")
        content = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
        section = content.get("data") if isinstance(content, dict) else None
        if section is not None:
            yield from ("--data", json.dumps(section))


def _instantiate(args: list[str]) -> CIFAR10DataModule:
    """Create the data module from data options of ``fit``."""
    parser = Parser(prog="cifar-cnn show", exit_on_error=False)
    parser.add_lightning_class_args(CIFAR10DataModule, "data")
    parser.set_defaults({"data.source": {"class_path": "cifar_cnn.data.sources.CIFAR10"}})

    def default_of(option: str) -> Any:
        return parser.get_default(option) if option.startswith("data.") else None

    try:
        config = class_options.parse(parser, args, default_of)
        check_transforms(config)
        return parser.instantiate_classes(config)["data"]
    except ArgumentMessage as error:
        known = [f"data.{name}" for name in class_options.parameters(CIFAR10DataModule)]
        known += class_options.options_of_chosen(args, default_of)
        raise InputError(explain(error, known, "fit", args)) from error
    except InputError:
        raise
    except ValueError as error:  # jsonargparse wraps the InputError of a class
        raise next((cause for cause in causes(error) if isinstance(cause, InputError)), error) from error
