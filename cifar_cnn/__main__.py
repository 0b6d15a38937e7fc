"""The command ``cifar-cnn``, also ``python -m cifar_cnn``."""

import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", sys.flags.isolated):
    del sys.path[0]  # the current folder under `python -m`, before anything is imported from there

import importlib.util
import os
import signal
from contextlib import suppress

if importlib.util.find_spec("cifar_cnn") is None:  # this file was started by its path, without being installed
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from cifar_cnn import process
from cifar_cnn.cli import command_names, help_texts
from cifar_cnn.trust import own_modules


def main() -> None:
    """Run the command line of ``sys.argv`` and exit with its status."""
    args = sys.argv[1:]
    if (text := help_texts.wanted(args)) is not None:
        print(text, end="")
        sys.exit(0)
    if args == ["--version"]:
        from cifar_cnn import __version__

        print(f"cifar-cnn {__version__}")
        sys.exit(0)
    if (not args or not args[0].startswith("-")) and (mistake := command_names.mistake(args[0] if args else None)):
        print(f"cifar-cnn: error: {mistake}", file=sys.stderr)
        sys.exit(2)

    if process.local_rank() and process.STARTED_BY in os.environ:
        # The first process gets a Ctrl-C too and ends this one, but only once this one has imported and connected.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with suppress(FileNotFoundError):  # the current folder was deleted
        own_modules.search(os.getcwd(), ["cifar_cnn"])  # by name: spawned processes of `python -m` from a checkout

    if args[0] in command_names.TRAINING and not process.local_rank() and not {"-h", "--help"} & set(args):
        print("Loading PyTorch and Lightning", file=sys.stderr, flush=True)
    try:
        from cifar_cnn.cli import run  # only now: it imports torch and Lightning, which takes seconds

        try:
            status = run(args)
        except Exception as error:
            status = _report(error)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # what reads our output (head, a closed pager) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:  # while it imports; all later ones are run's
        if not process.local_rank():
            print("\ncifar-cnn: interrupted", file=sys.stderr)
        status = 128 + signal.SIGINT
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done and said; what is left is to take Python down
    sys.exit(status)


def _report(error: Exception) -> int:
    """Print the traceback of the user's own code alone; returns the exit status."""
    from cifar_cnn import distributed as processes
    from cifar_cnn.trust.tracebacks import own_traceback

    text = own_traceback(error)
    if text is None or isinstance(error, BrokenPipeError):
        raise error
    processes.tell(text)
    return 1


if __name__ == "__main__":
    main()
