"""The options of the commands that read finished runs."""

import argparse
import difflib
import re
from typing import Any, NoReturn

from cifar_cnn.errors import InputError


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest option; takes no abbreviations.

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
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **kwargs,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the message.

        Raises:
            InputError: always.
        """
        if match := re.match(r"unrecognized arguments: (\S+)", message):
            options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            nearest = difflib.get_close_matches(match[1], options, n=1)
            hint = f"nearest: {nearest[0]}" if nearest else f"`{self.prog} --help` lists all"
            message = f"unknown option {match[1]}; {hint}"
        raise InputError(message)
