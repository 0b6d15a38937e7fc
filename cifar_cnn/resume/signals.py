"""Save a checkpoint before a signal ends a fit."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.base import streams
from cifar_cnn.base.errors import ENDING, Stopped, Terminated
from cifar_cnn.distributed import prints_messages
from cifar_cnn.resume.checkpoints import how_to_resume, last_checkpoint

log = logging.getLogger("cifar_cnn")


class StopOnSignal(Callback):
    """Stops a fit on SIGTERM, Ctrl-C or a closed terminal (SIGHUP), after the current step and with a checkpoint.

    A second signal stops it at once. A signal that was ignored when the process started stays ignored: a shell script
    makes its background jobs (``cifar-cnn fit ... &``) ignore Ctrl-C.

    Raises:
        Stopped: a signal arrived and everything is saved; the message says how to resume.
    """

    SIGNALS = (*ENDING, signal.SIGINT)

    def __init__(self) -> None:
        super().__init__()
        self._received: int | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers, which only the main thread may do."""
        self._received = None
        if threading.current_thread() is threading.main_thread():
            # Replaces Lightning's handler of SIGTERM, which ends the fit after the step without saving.
            heard = [each for each in self.SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
            self._handlers = {each: signal.signal(each, self._handle) for each in heard}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the signal arrived during the last step: the test and the report that follow take time too."""
        self._stop_if_saved(trainer)
        self._unlisten()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unlisten()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Request a checkpoint; a request from one rank is enough."""
        if self._received is not None and (last := last_checkpoint(trainer)):
            last.request()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Request a checkpoint: the signal may have arrived during a long validation."""
        self.on_train_batch_end(trainer, pl_module, None, None, 0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop before the next step if the last one is saved."""
        self._stop_if_saved(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the next epoch if the last step is saved."""
        self._stop_if_saved(trainer)

    def _stop_if_saved(self, trainer: Trainer) -> None:
        last = last_checkpoint(trainer)
        saved = last is None or last.tried == trainer.global_step  # the same in all processes
        signum = self._received or 0
        if saved and trainer.world_size > 1:  # of any rank
            received = torch.tensor(signum, device=trainer.strategy.root_device)
            signum = int(trainer.strategy.reduce(received, reduce_op="max"))
        if not signum:
            return
        if last is not None:
            last.commit(trainer)
            if not saved:  # the signal arrived after the step, or within one that cannot be saved
                last.request()
                return
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        raise Stopped(f"stopped by {name} at step {trainer.global_step}: {how_to_resume(trainer)}", 128 + signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        streams.leave_lost_terminal()
        if self._received is not None:
            if signum == self._received and signum not in (signal.SIGTERM, signal.SIGINT):
                return  # both the system and the shell send SIGHUP when the terminal is closed
            self._unlisten()
            raise Terminated(signum) if signum in ENDING else KeyboardInterrupt
        self._received = signum
        if prints_messages():
            log.info("\nSaving a checkpoint, then stopping. Press Ctrl-C again to stop now.")

    def _unlisten(self) -> None:
        for each, handler in self._handlers.items():
            signal.signal(each, handler)
        self._handlers = {}
