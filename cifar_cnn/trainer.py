"""Lightning's Trainer with the edges that a user would cut himself on taken off."""

import logging
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.connector import _PRECISION_INPUT
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cifar_cnn.checkpoint_io import AtomicCheckpointIO
from cifar_cnn.hardware import best_precision

log = logging.getLogger("cifar_cnn")


class NoProfiler(PassThroughProfiler):
    """Lightning's profiler that profiles nothing, without making a context of its own for each of 100 calls a step."""

    _NOTHING = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]
        """Do nothing."""
        return self._NOTHING


class Trainer(pl.Trainer):
    """Lightning's Trainer, for the command line.

    ``precision`` is by default the fastest that trains as well as float32 on the machine at hand. Checkpoints are
    written atomically.

    The limits are ``int | float``, in that order: Lightning's own order makes ``--trainer.limit_val_batches 1`` the
    fraction 1.0, which is all batches.

    Args:
        limit_train_batches: how many training batches an epoch has, or (float) which fraction of them; by default all.
        limit_val_batches: likewise of the validation batches.
        limit_test_batches: likewise of the test batches.
        limit_predict_batches: likewise of the batches of Lightning's predict.
        overfit_batches: train and validate on the same few training batches in every epoch, unaugmented: how many, or
            (float) which fraction of them. A network that can learn brings their loss near 0.
        val_check_interval: steps from one validation to the next, or (float) which fraction of an epoch; by default an
            epoch.
        precision: of the computation; by default see above.
        profiler: times the parts of a step: ``simple``, ``advanced``, or a Profiler.
        kwargs: see Lightning.
    """

    def __init__(
        self,
        *,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | None = None,
        precision: _PRECISION_INPUT | None = None,
        profiler: Profiler | str | None = None,
        **kwargs: Any,
    ) -> None:
        options = {**kwargs, "val_check_interval": val_check_interval}
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "max_steps", "val_check_interval"):
            if options.get(name) == 0:  # Lightning would divide by it
                raise MisconfigurationException(f"{name} must not be 0")
        if precision is None and not kwargs.get("plugins"):  # a plugin may bring a precision of its own
            precision = best_precision(str(kwargs.get("accelerator", "auto")))  # type: ignore[assignment]
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "You passed .*precision='16-mixed'.* AMP with fp16 is not supported on CPU"
            )
            super().__init__(
                limit_train_batches=limit_train_batches,
                limit_val_batches=limit_val_batches,
                limit_test_batches=limit_test_batches,
                limit_predict_batches=limit_predict_batches,
                overfit_batches=overfit_batches,
                val_check_interval=val_check_interval,
                precision=precision,
                profiler=profiler or NoProfiler(),
                **kwargs,
            )
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:  # not a plugin's own
            self.strategy.checkpoint_io = AtomicCheckpointIO()
        if str(precision) in ("16", "16-mixed") and self.precision == "bf16-mixed" and self.is_global_zero:
            log.warning("Precision 16-mixed needs a GPU; on this CPU the run uses bf16-mixed.")
