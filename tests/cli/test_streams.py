import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cifar_cnn.base import streams
from cifar_cnn.base.errors import ENDING, Terminated, terminable
from cifar_cnn.resume.endings import interruption
from tests.conftest import CONFIGS

PYTHON = {**os.environ, "PYTHONPATH": str(CONFIGS.parent)}

needs_shell = pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("cifar-cnn", f"{sys.executable} -m cifar_cnn")
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, env={**PYTHON, **environment})


@needs_shell
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_works_with_a_closed_stream(closed: str) -> None:
    result = shell(f"cifar-cnn --version {closed}")
    assert (result.returncode, result.stderr) == (0, "")
    result = shell(f"cifar-cnn nosuch {closed}")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@needs_shell
def test_no_file_takes_the_number_of_a_closed_stream() -> None:
    code = (
        "from cifar_cnn.base import streams; streams.prepare(); import os; f = open('file', 'w'); os._exit(f.fileno())"
    )
    result = shell(f'{sys.executable} -c "{code}" <&- >&- 2>&-')
    assert result.returncode > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
@pytest.mark.parametrize("command", ["--help", "fit --help", "runs --help", "--version"])
def test_output_that_cannot_be_written_is_one_line(command: str) -> None:
    for environment in ({}, {"PYTHONUNBUFFERED": "1"}):
        result = shell(f"cifar-cnn {command} > /dev/full", **environment)
        assert result.stderr == "cifar-cnn: error: cannot write the output: No space left on device\n"
        assert result.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
def test_messages_that_cannot_be_written_are_dropped() -> None:
    code = "from cifar_cnn.base import streams; import sys; streams.prepare(); print('x' * 9999, file=sys.stderr)"
    result = shell(f'{sys.executable} -c "{code}; print(1)" 2>/dev/full')
    assert (result.returncode, result.stdout) == (0, "1\n")


@needs_shell
def test_a_closed_pipe_is_not_an_error() -> None:
    result = shell("cifar-cnn --help | true; cifar-cnn --help | head -n 1")
    assert (result.stdout.count("\n"), result.stderr) == (1, "")


def test_characters_that_the_terminal_lacks_are_escaped() -> None:
    code = r"from cifar_cnn.base import streams; streams.prepare(); print('röt', '\u4e00')"
    environment = {**PYTHON, "PYTHONIOENCODING": "latin-1"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert result.stdout.split() == ["röt".encode("latin-1"), rb"\u4e00"]


@needs_shell
def test_a_deleted_folder_is_one_line() -> None:
    result = shell("mkdir gone && cd gone && rmdir ../gone && cifar-cnn runs")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("cifar-cnn: error: the current folder has been deleted: ")
    assert "Traceback" not in result.stderr


def test_the_line_names_the_signal_that_ended_a_command() -> None:
    for signum in ENDING:
        with pytest.raises(Terminated) as caught, terminable(signum):
            signal.raise_signal(signum)
        assert interruption(caught.value) == (f"ended by {signum.name}", 128 + signum)


def test_output_for_a_lost_terminal_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    monkeypatch.setattr(streams, "_to_null_device", moved.append)
    monkeypatch.setattr(os, "fstat", lambda number: os.stat(os.devnull))
    for terminal, expected in ((True, []), (False, [1, 2])):
        monkeypatch.setattr(os, "isatty", lambda number, terminal=terminal: terminal)
        streams.leave_lost_terminal()
        assert moved == expected
