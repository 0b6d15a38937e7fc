"""The parser of the commands that read runs: errors in one line, no abbreviations."""

import argparse
import difflib
import re
from functools import partial
from typing import Any, NoReturn

from cifar_cnn.errors import InputError


class ArgumentParser(argparse.ArgumentParser):
    """Reports errors in one line with the nearest option, and accepts no abbreviations.

    Args:
        command: the word after ``cifar-cnn``.
        description: what it does.
        examples: command lines, one each, shown at the end of the help.
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

    def error(self, message: str) -> NoReturn:
        """Raise the message.

        Raises:
            InputError: always.
        """
        match = re.match(r"unrecognized arguments: (\S+)", message)
        if match and not match[1].startswith("-"):
            message = f"unexpected argument {match[1]!r}; `{self.prog} --help` says what it takes"
        elif match:
            options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            nearest = difflib.get_close_matches(match[1], options, n=1)
            hint = f"nearest: {nearest[0]}" if nearest else f"`{self.prog} --help` lists all"
            message = f"unknown option {match[1]}; {hint}"
        raise InputError(message)
