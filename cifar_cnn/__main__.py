"""The command ``cifar-cnn``, also ``python -m cifar_cnn``."""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        del sys.path[0]  # the current folder under `python -m`; nothing may be imported from there
    __spec__ = None  # Lightning then starts further processes by the path of this file rather than with -m

import gc
import importlib.util
import os
import signal

if importlib.util.find_spec("cifar_cnn") is None:  # this file was started by its path, without being installed
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from cifar_cnn.base import process, streams
from cifar_cnn.cli import command_names, help_texts
from cifar_cnn.trust import own_modules


def main() -> None:
    """Run the command line of ``sys.argv`` and exit with its status."""
    streams.prepare()
    try:
        status = _answer_at_once(sys.argv[1:])
        if status is None:
            status = _run(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:
        if not streams.is_lost(error):
            raise
        streams.drop_output()
        status = 0  # the reader of the output (head, a closed pager) has stopped reading
        if not isinstance(error, BrokenPipeError):
            print(f"cifar-cnn: error: cannot write the output: {error.strerror}", file=sys.stderr)
            status = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all work is done; do not interrupt the shutdown of Python
    gc.freeze()  # nor search all objects for garbage again and again, which takes a second
    sys.exit(status)


def _answer_at_once(args: list[str]) -> int | None:
    """Handle help, version and mistakes in the command, which need no library.

    Returns:
        The exit status; None if the command must be run.
    """
    if (text := help_texts.wanted(args)) is not None:
        print(text, end="")
        return 0
    if args == ["--version"]:
        from cifar_cnn import __version__

        print(f"cifar-cnn {__version__}")
        return 0
    is_command = not args or not args[0].startswith("-")
    mistake = command_names.mistake(args[0] if args else None) if is_command else None
    try:
        os.getcwd()
    except OSError:
        mistake = mistake or "the current folder has been deleted: change to another one, for example with  cd ~"
    if mistake:
        print(f"cifar-cnn: error: {mistake}", file=sys.stderr)
        return 2
    return None


def _run(args: list[str]) -> int:
    if process.local_rank() and process.STARTED_BY in os.environ:
        # Ctrl-C is also sent to the first process, which stops this one once this one has imported and connected.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    if not os.path.isfile(sys.argv[0]):  # Scripts/cifar-cnn on Windows, where the file is called cifar-cnn.exe
        sys.argv[0] = process.PROGRAM  # Lightning runs this file with Python for further processes
    os.environ["PYTHONSAFEPATH"] = "1"  # nor do Python processes that libraries start import from there (3.11 or newer)
    own_modules.search(os.getcwd(), ["cifar_cnn"])  # cifar_cnn: for processes spawned by `python -m` in a checkout

    if args[0] in command_names.LIGHT:
        from cifar_cnn.cli import light

        return light.run(args)
    if args[0] in command_names.TRAINING and not process.local_rank() and not {"-h", "--help"} & set(args):
        print("Loading PyTorch and Lightning", file=sys.stderr, flush=True)
    try:
        gc.disable()  # half a million objects are made during the imports, and all of them stay
        from cifar_cnn.cli import run  # only now: it imports torch and Lightning, which takes seconds

        gc.freeze()
        gc.enable()
        try:
            status = run(args)
            sys.stdout.flush()
            return status
        except Exception as error:
            return _report(error)
    except KeyboardInterrupt:  # during the import; run handles all later ones
        if not process.local_rank():
            print("\ncifar-cnn: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _report(error: Exception) -> int:
    """Print a traceback that contains only the user's own code; return the exit status."""
    from cifar_cnn import distributed as processes
    from cifar_cnn.trust.tracebacks import own_traceback

    text = own_traceback(error)
    if text is None or (isinstance(error, OSError) and streams.is_lost(error)):
        raise error
    processes.stop_with_message(text)
    return 1


if __name__ == "__main__":
    main()
