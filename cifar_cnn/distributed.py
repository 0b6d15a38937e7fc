"""The processes of one training: which of them speaks, and what becomes of the rest when one ends before its time."""

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

# What a process tells those that Lightning lets it start, beside its id: the checkpoint that it has found.
_CHECKPOINT = "CIFAR_CNN_CHECKPOINT"
SECONDS_TO_END = 5.0  # for a process in good order, once another one has ended or told why all end
_SECONDS_TO_FINISH = 60.0  # for a process that has nothing left to do, once process 0 has nothing either
_SECONDS_TO_TELL = 10.0  # for process 0, should another be the first to meet with what ends all
# On Windows, python.exe of a virtual environment is a process between a process and the one that started it, and the id
# of the parent stays when it has ended.
_PARENT_TELLS = os.name != "nt"

_has_told = threading.Event()  # why the training ended
_launcher: ScriptLauncher | None = None  # which starts the others, and watches them


def speaks() -> bool:
    """Whether this process says what concerns all on its machine: the first, or the second when the first is gone."""
    rank = local_rank()
    return rank == 0 or (rank == 1 and _starter_is_gone())


def tell(message: str, seconds: float = 0) -> None:
    """Print why the training ended, on standard error, and end the processes that this one has started.

    So the first is the last to go, and none of the others finds it gone and speaks as well. Another one that speaks up
    gives it time, since it meets with the same as a rule, tells of it, and ends this one. If this one ended before, the
    first would be killed for it, by Lightning or by torchrun, and could not tell.

    Args:
        message: the line.
        seconds: that those may take to end by themselves.
    """
    if not speaks():
        time.sleep(_SECONDS_TO_TELL)
    _has_told.set()
    print(message, file=sys.stderr, flush=True)
    with suppress(KeyboardInterrupt):  # it has been said why all ends
        _end_the_others(seconds)


def end_together() -> str | None:
    """At the end of a command that went well in this process, wait for those that it has started.

    So that nothing runs, or is still to be written, once the command has ended.

    Returns:
        What went wrong in one of them, in one line; None when all went well.
    """
    wrong = [f"process {rank} {what}" for rank, what in _end_the_others(_SECONDS_TO_FINISH)]
    return f"all is written, but {'; '.join(wrong)}" if wrong else None


def disconnect() -> None:
    """Leave the other processes, when all is done or over.

    Lightning does not for gloo, whose threads then may let go of their last tensors while Python is being taken down:
    that ends the process with SIGABRT. What waits for a process that is gone is waited for a short time only.
    """
    if distributed.is_available() and distributed.is_initialized():
        leaving = threading.Thread(target=distributed.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(SECONDS_TO_END)


def watch(trainer: Trainer) -> None:
    """Let the processes that Lightning starts end with the one that started them, also when they wait for a GPU.

    Lightning ends the first when one that it started has ended; for the other way round it has nothing.
    """
    global _launcher
    first, launcher = local_rank() == 0, trainer.strategy.launcher
    _launcher = launcher if first and isinstance(launcher, ScriptLauncher) else None
    if first:
        os.environ[STARTED_BY] = str(os.getpid())
    elif STARTED_BY in os.environ:
        threading.Thread(target=_end_with_the_starter, name="starter-watch", daemon=True).start()


def pass_on(checkpoint: Path) -> None:
    """Let the processes that are started use this checkpoint: what is ``last`` can be another one when they look."""
    if local_rank() == 0:
        os.environ[_CHECKPOINT] = str(checkpoint)


def checkpoint_of_the_starter() -> Path | None:
    """The checkpoint that the process which started this one has found."""
    return Path(os.environ[_CHECKPOINT]) if local_rank() > 0 and _CHECKPOINT in os.environ else None


def check_number(trainer: Trainer) -> None:
    """Refuse what torchrun has started and the options do not know of: each process would train alone.

    Raises:
        InputError: the numbers of processes differ.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        return
    started = int(os.environ["WORLD_SIZE"])
    if trainer.world_size != started:
        raise InputError(
            f"torchrun has started {started} processes and the options are for {trainer.world_size}: give "
            "--trainer.devices as many as --nproc-per-node, --trainer.num_nodes as --nnodes, and "
            "--trainer.strategy ddp"
        )


def is_loss_of_a_process(error: Exception) -> bool:
    """Whether an exception is what torch.distributed raises when another process does not answer."""
    return distributed.is_available() and (isinstance(error, distributed.DistError) or "gloo" in str(error))


def loss_of_a_process(trainer: Trainer, error: BaseException, how_to_resume: str) -> Stopped:
    """What to raise in its place.

    Args:
        trainer: of this process.
        error: what torch.distributed has raised.
        how_to_resume: the end of the line.
    """
    deadline = time.monotonic() + 2  # the connections of a process close a little before it is known to have ended
    while True:
        ended = [(rank, child.poll()) for rank, child in enumerate(_started(), 1) if child.poll()]
        if ended or _starter_is_gone() or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if ended:
        what = "; ".join(f"process {rank} {_ended(status)}" for rank, status in ended if status)
    elif _starter_is_gone():
        what = "process 0 is gone"
    else:
        reason = re.sub(r"^\[[^\]]*\]\s*|\s*This is typically.*", "", " ".join(str(error).split()))[:200].rstrip(".")
        what = f"another process is gone or cannot be reached ({reason})"
        if "connectFullMesh" in reason and trainer.num_nodes > 1:
            how_to_resume = "name each machine's network interface in GLOO_SOCKET_IFNAME, such as eth0"
            return Stopped(f"{what}: {how_to_resume}", in_all=False)
    return Stopped(f"{what}: the others end too; {how_to_resume}", in_all=False)


def tell_plainly(record: logging.LogRecord) -> bool:
    """A filter for what Lightning logs before it kills this process because one that it started has ended."""
    match = re.search(r"rank: (\d+)\] Child process with PID \d+ terminated with code (-?\d+)", record.getMessage())
    if match is None:
        return True
    if not _has_told.is_set():
        what = f"process {match[1]} {_ended(int(match[2]))}"
        tell(f"\ncifar-cnn: {what}: the others end too; a fit goes on with  cifar-cnn fit --ckpt_path last")
    return False


def _started() -> list[subprocess.Popen]:
    return _launcher.procs[:] if _launcher is not None else []


def _end_the_others(seconds: float) -> list[tuple[int, str]]:
    """Wait for the processes that this one has started, and kill those that take longer; which ended badly, and how."""
    children = _started()
    if _launcher is not None:
        # Lightning's watcher would kill this process for the end of one in the list that it has.
        watched, _launcher.procs = _launcher.procs, children
        watched.clear()
    deadline = time.monotonic() + seconds
    try:
        while any(child.poll() is None for child in children) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:  # also when a Ctrl-C ends the waiting
        status = [child.poll() for child in children]
        for child in children:
            child.kill()  # it may wait for a GPU or another process, and hear of no other signal
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
        tell("\ncifar-cnn: process 0 is gone: the others end too; a fit goes on with  cifar-cnn fit --ckpt_path last")
    os._exit(1)
