"""A fit that is told to end saves first."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.distributed import speaks
from cifar_cnn.errors import Stopped, Terminated
from cifar_cnn.resume.checkpoints import how_to_go_on, last_checkpoint

log = logging.getLogger("cifar_cnn")


class StopOnSignal(Callback):
    """Ends a fit in order on SIGTERM and on Ctrl-C: after the step under way a checkpoint is written.

    A second signal ends it at once. One that the process was started to ignore, as a shell's script starts what it
    lets run in the background (``cifar-cnn fit ... &``) to ignore Ctrl-C, stays ignored.

    Raises:
        Stopped: when all is saved; its line says how to go on.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        super().__init__()
        self._received: int | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen; only the main thread may."""
        self._received = None
        if threading.current_thread() is threading.main_thread():
            # Lightning's own handler of SIGTERM is put aside: it ends the fit after the step, and saves nothing.
            heard = [each for each in self.SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
            self._handlers = {each: signal.signal(each, self._handle) for each in heard}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if that was asked for in the last step, too: what would follow takes its time as well."""
        self._stop_if_saved(trainer)
        self._unlisten()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Listen no longer."""
        self._unlisten()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask for a checkpoint; it is taken when one process asks."""
        if self._received is not None and (last := last_checkpoint(trainer)):
            last.request()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask for a checkpoint, likewise; validation may have taken long."""
        self.on_train_batch_end(trainer, pl_module, None, None, 0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop before the next step, if the last one is saved."""
        self._stop_if_saved(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the next epoch, likewise."""
        self._stop_if_saved(trainer)

    def _stop_if_saved(self, trainer: Trainer) -> None:
        last = last_checkpoint(trainer)
        saved = last is None or last.tried == trainer.global_step  # the same in all processes
        asked = self._received is not None
        if saved and trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        if last is not None:
            last.commit(trainer)
            if not saved:  # came after the step's end, or within one that cannot be saved
                last.request()
                return
        signum = self._received or signal.SIGTERM  # where it came to another process
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        raise Stopped(f"stopped by {name} at step {trainer.global_step}: {how_to_go_on(trainer)}", 128 + signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None:
            self._unlisten()
            raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt
        self._received = signum
        if speaks():
            log.info("\nEnding after this step, with a checkpoint; once more ends at once.")

    def _unlisten(self) -> None:
        for each, handler in self._handlers.items():
            signal.signal(each, handler)
        self._handlers = {}
