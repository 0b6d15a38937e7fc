"""The processes of a run: which one prints messages, and how they all stop when one of them ends early."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from lightning.pytorch import Trainer
from torch import distributed

from cifar_cnn.compat import ScriptLauncher
from cifar_cnn.errors import InputError, Stopped
from cifar_cnn.process import STARTED_BY, local_rank
from cifar_cnn.tables import printable

# The variable in which a process passes the checkpoint it has found to the processes that Lightning starts.
_CHECKPOINT = "CIFAR_CNN_CHECKPOINT"
SECONDS_TO_END = 5.0  # granted to a healthy process after another one has ended or reported an error
_SECONDS_TO_FINISH = 60.0  # granted to the other processes after process 0 has finished its work
_SECONDS_TO_TELL = 10.0  # granted to process 0 when another process sees an error first
# On Windows, python.exe of a virtual environment runs between a process and its starter, and the id of a parent process
# remains after it has ended.
_PARENT_TELLS = os.name != "nt"

_has_told = threading.Event()  # the reason for the end of the run has been printed
_launcher: ScriptLauncher | None = None  # starts the other processes and watches them


def speaks() -> bool:
    """Whether this process prints for all processes on its machine: the first, or the second if the first has ended."""
    rank = local_rank()
    return rank == 0 or (rank == 1 and _starter_is_gone())


def tell(message: str, seconds: float = 0) -> None:
    """Print to standard error why the run ended, and stop the processes that this one has started.

    Process 0 ends last, so that no other process misses it and prints a message too. Any other process first waits for
    process 0, which usually sees the same error, prints it and stops the others. If the other process ended earlier,
    Lightning or torchrun would kill process 0 before it could print.

    Args:
        message: the line to print.
        seconds: time for the started processes to end by themselves.
    """
    if not speaks():
        time.sleep(_SECONDS_TO_TELL)
    _has_told.set()
    print(printable(message, keep="\n\t"), file=sys.stderr, flush=True)
    with suppress(KeyboardInterrupt):  # the reason has been printed
        _end_the_others(seconds)


def end_together() -> str | None:
    """Wait for the processes that this one has started, after the command succeeded here.

    When the command ends, no process is still running or writing files.

    Returns:
        The failure of another process in one line; None if all succeeded.
    """
    wrong = [f"process {rank} {what}" for rank, what in _end_the_others(_SECONDS_TO_FINISH)]
    return f"all files are written, but {'; '.join(wrong)}" if wrong else None


def disconnect() -> None:
    """Destroy the process group at the end of a run.

    Lightning does not do this for gloo, whose threads may then free their last tensors while Python shuts down, which
    ends the process with SIGABRT. The call can block on a process that has ended, so it gets only a short time.
    """
    if distributed.is_available() and distributed.is_initialized():
        leaving = threading.Thread(target=distributed.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(SECONDS_TO_END)


def watch(trainer: Trainer) -> None:
    """Make the processes that Lightning starts end with the one that started them, even while they wait for a GPU.

    Lightning ends process 0 when a process that it started has ended, but not the other way round.
    """
    global _launcher
    first, launcher = local_rank() == 0, trainer.strategy.launcher
    _launcher = launcher if first and isinstance(launcher, ScriptLauncher) else None
    if first:
        os.environ[STARTED_BY] = str(os.getpid())
    elif STARTED_BY in os.environ:
        threading.Thread(target=_end_with_the_starter, name="starter-watch", daemon=True).start()


def pass_on(checkpoint: Path) -> None:
    """Pass a checkpoint on to the started processes: by the time they look, ``last`` may be another one."""
    if local_rank() == 0:
        os.environ[_CHECKPOINT] = str(checkpoint)


def checkpoint_of_the_starter() -> Path | None:
    """The checkpoint found by the process that started this one, if any."""
    return Path(os.environ[_CHECKPOINT]) if local_rank() > 0 and _CHECKPOINT in os.environ else None


def check_number(trainer: Trainer) -> None:
    """Reject options that do not match the processes of torchrun: each process would train separately.

    Raises:
        InputError: the numbers of processes differ.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        return
    started = int(os.environ["WORLD_SIZE"])
    if trainer.world_size != started:
        raise InputError(
            f"torchrun has started {started} processes, but the options are for {trainer.world_size}: set "
            "--trainer.devices to the value of --nproc-per-node, --trainer.num_nodes to that of --nnodes, and add "
            "--trainer.strategy ddp"
        )


def is_loss_of_a_process(error: Exception) -> bool:
    """Whether torch.distributed raised an exception because another process does not respond."""
    return distributed.is_available() and (isinstance(error, distributed.DistError) or "gloo" in str(error))


def loss_of_a_process(trainer: Trainer, error: BaseException, how_to_resume: str) -> Stopped:
    """The exception to raise instead.

    Args:
        trainer: the Trainer of this process.
        error: the exception from torch.distributed.
        how_to_resume: the end of the message.
    """
    deadline = time.monotonic() + 2  # connections close shortly before the process is known to have ended
    while True:
        ended = [(rank, child.poll()) for rank, child in enumerate(_started(), 1) if child.poll()]
        if ended or _starter_is_gone() or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if ended:
        what = "; ".join(f"process {rank} {_ended(status)}" for rank, status in ended if status)
    elif _starter_is_gone():
        what = "process 0 has ended"
    else:
        reason = re.sub(r"^\[[^\]]*\]\s*|\s*This is typically.*", "", " ".join(str(error).split()))[:200].rstrip(".")
        what = f"another process has ended or cannot be reached ({reason})"
        if "connectFullMesh" in reason and trainer.num_nodes > 1:
            how_to_resume = "set GLOO_SOCKET_IFNAME to the network interface of each machine, such as eth0"
            return Stopped(f"{what}: {how_to_resume}", in_all=False)
    return Stopped(f"{what}: stopping the others; {how_to_resume}", in_all=False)


def tell_plainly(record: logging.LogRecord) -> bool:
    """Logging filter that replaces the message of Lightning before it kills this process because another one ended."""
    match = re.search(r"rank: (\d+)\] Child process with PID \d+ terminated with code (-?\d+)", record.getMessage())
    if match is None:
        return True
    if not _has_told.is_set():
        what = f"process {match[1]} {_ended(int(match[2]))}"
        tell(f"\ncifar-cnn: {what}: stopping the others; resume a fit with  cifar-cnn fit --ckpt_path last")
    return False


def _started() -> list[subprocess.Popen]:
    return _launcher.procs[:] if _launcher is not None else []


def _end_the_others(seconds: float) -> list[tuple[int, str]]:
    """Wait for the started processes and kill those that take too long; return the failed ranks and how they ended."""
    children = _started()
    if _launcher is not None:
        # Lightning's watcher kills this process when one in its list ends, so empty that list.
        watched, _launcher.procs = _launcher.procs, children
        watched.clear()
    deadline = time.monotonic() + seconds
    try:
        while any(child.poll() is None for child in children) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:  # even if Ctrl-C interrupts the wait
        status = [child.poll() for child in children]
        for child in children:
            child.kill()  # it may be waiting for a GPU or another process, and ignore any other signal
    late = f"did not end within {seconds:g} s and was killed"
    return [(rank, late if each is None else _ended(each)) for rank, each in enumerate(status, 1) if each != 0]


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _starter_is_gone() -> bool:
    """Whether the process that started this one has ended, as far as the parent's id tells."""
    return _PARENT_TELLS and local_rank() > 0 and os.environ.get(STARTED_BY, str(os.getppid())) != str(os.getppid())


def _end_with_the_starter() -> None:
    while not _starter_is_gone():
        time.sleep(1)
    time.sleep(SECONDS_TO_END)
    if speaks() and not _has_told.is_set():
        tell("\ncifar-cnn: process 0 has ended: stopping the others; resume a fit with  cifar-cnn fit --ckpt_path last")
    os._exit(1)
