"""The remaining work on a run as a cluster job. The job imports this module and no library but submitit."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_cnn.base.process import environment, local_rank
from cifar_cnn.runs.work import Work

if TYPE_CHECKING:  # an optional dependency
    from submitit.helpers import DelayedSubmission


class ClusterJob:
    """Runs the command for the remaining work; called by submitit, again after each preemption.

    Args:
        work: finds the command.
        log: file for the output of the command.
        program: the Python file that runs the command.
    """

    def __init__(self, work: Work, log: Path, program: str) -> None:
        self.work = work
        self.log = log
        self.program = program
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Run the command until it ends, and return its exit status."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        rank = local_rank()  # with one task for each GPU
        path = self.log.with_name(f"{self.log.stem}_{rank}{self.log.suffix}") if rank else self.log
        command = [sys.executable, self.program, *self.work.command()]
        with path.open("w", encoding="utf-8") as log:
            # In its own session, so that the signals of a preemption reach only this process.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment(), start_new_session=True
            )
        try:
            while (status := self._process.poll()) is None:
                time.sleep(0.5)
            return status
        finally:
            self._stop()

    def checkpoint(self) -> "DelayedSubmission":
        """Let the command save a checkpoint; submitit calls this in a signal handler and requeues the result."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        return DelayedSubmission(ClusterJob(self.work, self.log, self.program))

    __submitit_checkpoint__ = checkpoint  # its name in later versions of submitit

    def _stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        # Not through Popen, because the interrupted code may hold its lock.
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)
        with suppress(ChildProcessError):
            os.waitpid(self._process.pid, 0)
