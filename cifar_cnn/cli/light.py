"""Run the commands that need neither torch nor Lightning in this process, without importing them."""

import sys

from cifar_cnn.base.errors import ENDING, InputError, Terminated, terminable
from cifar_cnn.cli import arguments


def run(args: list[str]) -> int:
    """Run a command line of ``cifar-cnn lab``; return the exit status, 2 for a user's mistake."""
    from cifar_cnn.cli.commands import lab

    try:
        with terminable(*ENDING):
            return lab.run(arguments.parse(args))
    except InputError as error:
        print(f"cifar-cnn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("\ncifar-cnn: interrupted", file=sys.stderr)
        return 128 + (interrupt.signum if isinstance(interrupt, Terminated) else 2)
