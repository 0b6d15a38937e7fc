"""The exceptions that end a command with one line instead of a traceback."""


class InputError(ValueError):
    """Something the user gave (a path, an option, an image, a checkpoint) cannot be used.

    The message is one line that says what is wrong and what to do. The command line prints it alone, without a
    traceback, and exits with status 2.
    """


class Stopped(Exception):
    """A fit ended before its time, and in order: by a signal, or because there was no use in going on.

    The message is one line that says why, and how to go on.

    Args:
        message: the line.
        status: what the command exits with.
        in_all: whether all processes of the training end with it at the same step.
    """

    def __init__(self, message: str, status: int = 1, in_all: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.in_all = in_all


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""
