"""Coordinate the processes of a run: choose the one that prints messages, and stop all when one ends early."""

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

from cifar_cnn.base.errors import InputError, Stopped
from cifar_cnn.base.process import STARTED_BY, local_rank
from cifar_cnn.base.tables import printable
from cifar_cnn.compat import ScriptLauncher

# Environment variable that passes the checkpoint to resume from to the processes that Lightning starts.
_CHECKPOINT = "CIFAR_CNN_CHECKPOINT"
SECONDS_TO_END = 5.0  # time for a healthy process to end after another one has ended or reported an error
_SECONDS_TO_FINISH = 60.0  # time for the other processes to end after process 0 has finished its work
_SECONDS_TO_PRINT = 10.0  # time for process 0 to print an error that another process sees first
# Whether the id of the parent shows that the process which started this one has ended. On Windows it does not: the
# parent is the python.exe of the virtual environment, and its id does not change when it ends.
_PARENT_ID_IS_RELIABLE = os.name != "nt"

_has_printed = threading.Event()  # set once the reason for the end of the run has been printed
_launcher: ScriptLauncher | None = None  # Lightning's launcher, which starts and watches the other processes


def prints_messages() -> bool:
    """Whether this process prints messages for all processes on its machine.

    This is the first process, or the second if the first has ended.
    """
    rank = local_rank()
    return rank == 0 or (rank == 1 and _starter_has_ended())


def stop_with_message(message: str, seconds: float = 0) -> None:
    """Print to standard error why the run ended, and stop the processes that this one has started.

    Process 0 ends last, because the other processes would print an error if it disappeared. Any other process first
    waits for process 0, which usually sees the same error, prints it and stops the others. If the other process ended
    earlier, Lightning or torchrun would kill process 0 before it could print.

    Args:
        message: the line to print.
        seconds: how long to wait for the started processes to end by themselves.
    """
    if not prints_messages():
        time.sleep(_SECONDS_TO_PRINT)
    _has_printed.set()
    print(printable(message, keep="\n\t"), file=sys.stderr, flush=True)
    with suppress(KeyboardInterrupt):  # the reason has been printed
        _end_the_others(seconds)


def end_together() -> str | None:
    """After the command has succeeded in this process, wait for the processes that this one has started.

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
    """Make the processes that Lightning starts end when process 0 ends, even while they wait for a GPU.

    Lightning ends process 0 when a process that it started has ended, but not the other way round.
    """
    global _launcher
    first, launcher = local_rank() == 0, trainer.strategy.launcher
    _launcher = launcher if first and isinstance(launcher, ScriptLauncher) else None
    if first:
        os.environ[STARTED_BY] = str(os.getpid())
    elif STARTED_BY in os.environ:
        threading.Thread(target=_end_with_the_starter, name="starter-watch", daemon=True).start()


def pass_on_checkpoint(checkpoint: Path) -> None:
    """Pass a checkpoint on to the processes started later, for which ``last`` could mean a newer checkpoint."""
    if local_rank() == 0:
        os.environ[_CHECKPOINT] = str(checkpoint)


def passed_on_checkpoint() -> Path | None:
    """The checkpoint found by the process that started this one, if any."""
    return Path(os.environ[_CHECKPOINT]) if local_rank() > 0 and _CHECKPOINT in os.environ else None


def check_number(trainer: Trainer) -> None:
    """Reject options that do not match the processes of torchrun, since each process would train separately.

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
    """The exception to raise after another process has stopped responding.

    Args:
        trainer: the Trainer of this process.
        error: the exception from torch.distributed.
        how_to_resume: end of the message, which says how to resume.
    """
    deadline = time.monotonic() + 2  # connections close shortly before the system reports that the process has ended
    while True:
        ended = [(rank, child.poll()) for rank, child in enumerate(_started(), 1) if child.poll()]
        if ended or _starter_has_ended() or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if ended:
        what = "; ".join(f"process {rank} {_ended(status)}" for rank, status in ended if status)
    elif _starter_has_ended():
        what = "process 0 has ended"
    else:
        reason = re.sub(r"^\[[^\]]*\]\s*|\s*This is typically.*", "", " ".join(str(error).split()))[:200].rstrip(".")
        what = f"another process has ended or cannot be reached ({reason})"
        if "connectFullMesh" in reason and trainer.num_nodes > 1:
            how_to_resume = "set GLOO_SOCKET_IFNAME to the network interface of each machine, such as eth0"
            return Stopped(f"{what}: {how_to_resume}", in_all=False)
    return Stopped(f"{what}: stopping the others; {how_to_resume}", in_all=False)


def replace_launcher_message(record: logging.LogRecord) -> bool:
    """Logging filter that replaces the message which Lightning logs before it kills this process.

    Lightning does so when another process has ended.
    """
    match = re.search(r"rank: (\d+)\] Child process with PID \d+ terminated with code (-?\d+)", record.getMessage())
    if match is None:
        return True
    if not _has_printed.is_set():
        what = f"process {match[1]} {_ended(int(match[2]))}"
        stop_with_message(
            f"\ncifar-cnn: {what}: stopping the others; resume a fit with  cifar-cnn fit --ckpt_path last"
        )
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
            child.kill()  # while it waits for a GPU or another process, it ignores other signals
    late = f"did not end within {seconds:g} s and was killed"
    return [(rank, late if each is None else _ended(each)) for rank, each in enumerate(status, 1) if each != 0]


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _starter_has_ended() -> bool:
    """Whether the process that started this one has ended, judging by the id of the parent."""
    return (
        _PARENT_ID_IS_RELIABLE
        and local_rank() > 0
        and os.environ.get(STARTED_BY, str(os.getppid())) != str(os.getppid())
    )


def _end_with_the_starter() -> None:
    while not _starter_has_ended():
        time.sleep(1)
    time.sleep(SECONDS_TO_END)
    if prints_messages() and not _has_printed.is_set():
        stop_with_message(
            "\ncifar-cnn: process 0 has ended: stopping the others; resume a fit with  cifar-cnn fit --ckpt_path last"
        )
    os._exit(1)
