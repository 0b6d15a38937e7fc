import os
import signal
import subprocess
from pathlib import Path

import pytest

PROGRAM = """
import atexit, os, sys, time
atexit.register(print, "at the end")
print(__name__, sys.argv, os.getcwd(), os.environ["GIVEN"], sys.stdin.read(), flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
sys.exit("failed" if sys.argv[1] == "fail" else 7)
"""


def test_a_process_is_like_one_of_python(warm_python: str, in_empty_folder: Path) -> None:
    Path("program.py").write_text(PROGRAM)
    environment = {**os.environ, "GIVEN": "value"}
    for word, status, error in (("end", 7, ""), ("fail", 1, "failed\n")):
        ended = subprocess.run(
            [warm_python, "program.py", word], input="text", capture_output=True, text=True, env=environment
        )
        assert (ended.returncode, ended.stderr) == (status, error)
        first = f"__main__ ['program.py', '{word}'] {in_empty_folder} value text"
        assert ended.stdout.splitlines() == [first, "at the end"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_ends_by_a_signal(warm_python: str, signum: int) -> None:
    Path("program.py").write_text(PROGRAM)
    with subprocess.Popen(
        [warm_python, "program.py", "wait"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "GIVEN": "value"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"__main__")
        process.send_signal(signum)
        assert process.stdout.read() == (b"at the end\n" if signum == signal.SIGINT else b"")
        assert process.wait() == -signum
