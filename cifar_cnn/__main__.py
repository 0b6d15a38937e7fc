"""The command ``cifar-cnn``, also ``python -m cifar_cnn``."""

import os
import signal
import sys

from cifar_cnn import process
from cifar_cnn.cli import command_names, help_texts


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

    # A class_path may name a module in the current folder, as `python -m` allows and a console script does not.
    sys.path.append(os.getcwd())  # not "", which would be the folder of a config while that is read

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
