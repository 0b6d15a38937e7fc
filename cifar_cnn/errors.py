"""The one exception that is the user's to mend."""


class InputError(ValueError):
    """Something the user gave (a path, an option, an image, a checkpoint) cannot be used.

    The message is one line that says what is wrong and what to do. The command line prints it alone, without a
    traceback, and exits with status 2.
    """
