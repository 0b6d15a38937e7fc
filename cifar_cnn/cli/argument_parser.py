"""The argument parser of the commands that read runs."""

import argparse
from functools import partial
from typing import Any, NoReturn

from cifar_cnn.base.errors import InputError
from cifar_cnn.cli import suggestions


class ArgumentParser(argparse.ArgumentParser):
    """Report errors in one line with the nearest option; accept no abbreviations.

    Args:
        command: name of the command.
        description: text of the help.
        examples: arguments of the example command lines at the end of the help.
    """

    def __init__(self, command: str, description: str, examples: list[str], **kwargs: Any) -> None:
        epilog = "\n".join(["examples:", *(f"  cifar-cnn {command} {example}".rstrip() for example in examples)])
        super().__init__(
            prog=f"cifar-cnn {command}",
            description=description,
            epilog=epilog,
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=27),
            allow_abbrev=False,
            **kwargs,
        )
        self._positionals.title = "arguments"

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a command line.

        Raises:
            InputError: an argument or option is unknown, or a value is missing or invalid.
        """
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return options

    def error(self, message: str) -> NoReturn:
        """Raise an InputError instead of printing the usage and exiting."""
        raise InputError(message)

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected argument {word!r}; `{self.prog} --help` lists the arguments"
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        found = suggestions.similar(word, options, most=1)
        return f"unknown option {word}; " + (f"nearest: {found[0]}" if found else f"`{self.prog} --help` lists all")
