"""A Python interpreter that starts fast, because PyTorch and Lightning are already imported.

A server imports them once, which takes seconds. The program that ``interpreter`` creates then acts like
``python -m MODULE`` or ``python FILE``: the server forks a process with the program's arguments, folder, environment,
streams and ignored signals, in a session of its own. The program passes its signals on to that process and ends with
the same status.

Environment variables that are read during imports or by the search for modules have no effect, so tests of these use
``sys.executable``.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LENGTH = 8  # bytes of a request's length
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


PROGRAM = """#!{python} -IS
import sys
sys.path.insert(0, {folder!r})
import warm
warm.run({address!r}, sys.argv[1:])
"""


@contextlib.contextmanager
def interpreter(folder: Path) -> Iterator[str]:
    """Yield the path of the program. Simultaneous uses of the same folder share a server."""
    from filelock import FileLock  # imported here, because the program does not need it

    here, address, program = Path(__file__), str(folder / "warm.socket"), folder / "warm_python"
    with socket.socket(socket.AF_UNIX) as connection:  # the server ends when the last connection is closed
        with FileLock(folder / "warm.lock"):
            if connection.connect_ex(address):
                Path(address).unlink(missing_ok=True)
                program.write_text(PROGRAM.format(python=sys.executable, folder=str(here.parent), address=address))
                program.chmod(0o755)
                # More threads would not survive the fork.
                environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here.parents[2])}
                server = subprocess.Popen([sys.executable, here, address], env=environment, start_new_session=True)
                while connection.connect_ex(address):
                    assert server.poll() is None, "the server has ended"
                    time.sleep(0.01)
        yield str(program)


def run(address: str, words: list[str]) -> None:
    """Let the server fork a process, and end with its status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    ignored = [signum for signum in PASSED_ON if signal.getsignal(signum) == signal.SIG_IGN]
    request = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ), "ignored": ignored}
    content = json.dumps(request).encode()
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    socket.send_fds(server, [len(content).to_bytes(LENGTH, "big")], [0, 1, 2])
    server.sendall(content)
    pid = int(server.recv(100))
    for signum in set(PASSED_ON) - set(ignored):
        signal.signal(signum, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = int(server.recv(100))
    if status < 0:
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


class Server:
    """Forks a process for each request, until no connection is left."""

    def __init__(self, address: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen()
        self.ended, self.written = socket.socketpair()  # readable when a process has ended
        self.ended.setblocking(False)
        self.written.setblocking(False)
        signal.set_wakeup_fd(self.written.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.processes: dict[socket.socket, int] = {}  # the process ID for each connection; 0 without a process

    def serve(self) -> dict[str, Any] | None:
        """Return the request in each forked process, and None in the server when it ends."""
        self.processes[self.listener.accept()[0]] = 0
        while self.processes:
            for ready in select.select([self.listener, self.ended, *self.processes], [], [])[0]:
                if ready is self.listener:
                    self.processes[self.listener.accept()[0]] = 0
                elif ready is self.ended:
                    self.report()
                elif (request := self.answer(ready)) is not None:
                    return request
        signal.set_wakeup_fd(-1)
        return None

    def answer(self, connection: socket.socket) -> dict[str, Any] | None:
        """Fork for a request, and return it in the child; a closed connection kills its process."""
        head, streams, *_ = socket.recv_fds(connection, LENGTH, 3)
        if not head:
            if pid := self.processes.pop(connection):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            connection.close()
            return None
        content = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        if pid := os.fork():
            self.processes[connection] = pid
            connection.sendall(str(pid).encode())
            for stream in streams:
                os.close(stream)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self.listener, self.ended, self.written, *self.processes):
            each.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return json.loads(content)

    def report(self) -> None:
        """Send the status of each ended process to its caller."""
        with contextlib.suppress(BlockingIOError):
            self.ended.recv(1000)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for connection in [each for each, pid in self.processes.items() if pid == ended[0]]:
                    self.processes[connection] = 0
                    with contextlib.suppress(BrokenPipeError):
                        connection.sendall(str(os.waitstatus_to_exitcode(ended[1])).encode())


def become(words: list[str], folder: str, environment: dict[str, str], ignored: list[int]) -> None:
    """Run what ``python`` would run with these arguments."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in ignored:
        signal.signal(signum, signal.SIG_IGN)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        by_lines = number == 2 or (number == 1 and bool(environment.get("PYTHONUNBUFFERED")))
        mode, errors = ("w" if number else "r"), ("backslashreplace" if number == 2 else "strict")
        stream = open(number, mode, 1 if by_lines else -1, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    is_module = words[0] == "-m"
    first = folder if is_module else os.path.dirname(os.path.abspath(words[0]))
    of_server = 2  # the entries for this file and for its PYTHONPATH
    sys.path[:of_server] = [first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = words[is_module:]
    if is_module:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


def main(address: str) -> None:
    server = Server(address)
    for module in ("torch.utils.tensorboard", "cifar_cnn.cli.main", "cifar_cnn.analysis.report"):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that no process searches the imported objects for garbage, which would copy their memory

    # Exceptions and sys.exit reach the end of the interpreter, as they do without a server.
    if (request := server.serve()) is not None:
        del server
        become(**request)


if __name__ == "__main__":
    main(sys.argv[1])
