"""Read a git repository without running the programs that it names.

The repository may be a stranger's: a downloaded folder can bring a ``.git/config`` whose filters, file system monitor
or remotes are commands.
"""

import os
import subprocess
import threading
from pathlib import Path

_SECONDS = 10  # for a command
_GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")
_NO_FETCH = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}  # of objects that a partial clone lacks


def git(folder: Path, *words: str, most: int = 1_000_000) -> tuple[bytes, int]:
    """Run a git command that only reads, for at most ten seconds.

    Of the commands that compare files, use only those of :func:`compares_files_safely`.

    Args:
        folder: where to run it.
        words: the command and its options.
        most: bytes of its output that are read.

    Returns:
        The output and the exit status, which is not 0 if output is missing.
    """
    command = [*_GIT, "-C", os.fspath(folder), *words]
    environment = {**os.environ, **_NO_FETCH}
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
            assert process.stdout is not None
            timer = threading.Timer(_SECONDS, process.kill)  # a slow disk
            timer.start()
            output = process.stdout.read(most + 1)
            timer.cancel()
            if len(output) > most:
                process.kill()
        return output[:most], process.returncode
    except OSError:  # git is not installed
        return b"", -1


def compares_files_safely(folder: Path) -> bool:
    """Whether a comparison of changed files runs no filter of the repository's own config.

    Filters of the user's own config, such as Git LFS, may run. Submodules have configs of their own: pass
    ``--ignore-submodules=dirty``.
    """
    commands = r"^filter\..*\.(clean|process)$"
    found, status = git(folder, "config", "--includes", "--show-scope", "--name-only", "--get-regexp", commands)
    of_the_user = (b"system\t", b"global\t", b"command\t")
    return status == 1 or (status == 0 and all(line.startswith(of_the_user) for line in found.splitlines()))
