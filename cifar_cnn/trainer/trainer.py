"""Lightning's Trainer with everything a run needs: its folder, checkpoints, records, exact resume and report."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from cifar_cnn import distributed as processes
from cifar_cnn.analysis.run import Run
from cifar_cnn.base import process
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.callbacks.python_run import record_python
from cifar_cnn.callbacks.summary import validation_line, why_not_validated
from cifar_cnn.checks.network import check_network
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.hardware import configure_hardware
from cifar_cnn.quiet import plain_output
from cifar_cnn.resume.checkpoint_io import AtomicCheckpointIO
from cifar_cnn.resume.endings import errors_in_one_line
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.runs.contents import check_weights_of
from cifar_cnn.runs.folders import run_of
from cifar_cnn.runs.init_from import load_initial_weights
from cifar_cnn.runs.training_lock import training_in
from cifar_cnn.trainer.conclusion import drop_weight_averaging, layer_table, path_of_best, summary_of, write_report
from cifar_cnn.trainer.folder import checkpoint_to_resume, open_folder
from cifar_cnn.trainer.options import (
    NoProfiler,
    Precision,
    as_list,
    check_not_zero,
    chosen_callbacks,
    default_precision,
    set_defaults,
)

log = logging.getLogger("cifar_cnn")


class Trainer(pl.Trainer):
    """Lightning's Trainer with run folders, exact resume and reports; ``cifar-cnn fit`` uses it too.

    ``fit`` writes ``lightning_logs/version_N``: config, metrics, checkpoints, filter pictures, records and report. A
    killed run resumes exactly with ``fit(model, data, ckpt_path="last")``. Ctrl-C saves a checkpoint before stopping.

    Example::

        trainer = Trainer(max_epochs=5, name="baseline")
        trainer.fit(model, data)
        trainer.run.curves()

    Args:
        name: name of the run, for its record, report and comparisons.
        report: write report.html after fit and test.
        test_after_fit: test the best checkpoint at the end of ``fit``.
        callbacks: callbacks in addition to the defaults (``cifar_cnn.callbacks.defaults.DEFAULTS``); a callback of the
            same class replaces the default.
        without: classes of default callbacks to leave out.
        logger: by default TensorBoard and metrics.csv in the run's folder. A CSVLogger or TensorBoardLogger, if first,
            replaces both and determines the folder; others replace only TensorBoard. False trains without a folder.
        precision: by default the fastest one that trains as well as float32 on this machine: bf16-mixed on GPUs with
            bfloat16 and on CPUs with AMX or AVX512_BF16, else 32-true.
        limit_train_batches: training batches per epoch, or (float) a fraction of them; by default all.
        limit_val_batches: validation batches, or a fraction of them.
        limit_test_batches: test batches, or a fraction of them.
        limit_predict_batches: batches of Lightning's predict, or a fraction of them.
        overfit_batches: train and validate only on this number or fraction of training batches.
        val_check_interval: steps between validations, or (float) a fraction of an epoch; by default one epoch.
        enable_model_summary: print the layers at the start of ``fit``: output shapes, parameters, multiply-adds and
            receptive fields (shortened for large networks; ``cifar_cnn.summary`` lists all layers).
        profiler: times the parts of a step: ``simple``, ``advanced``, or a Profiler.
        kwargs: see ``lightning.pytorch.Trainer``. By default a fit trains for 10 epochs, without a sanity check of
            the validation.

    Raises:
        MisconfigurationException: an option has an impossible value.
    """

    # Limits are annotated int | float, in that order, so that jsonargparse parses 1 as a count and not as fraction 1.0.
    def __init__(
        self,
        *,
        name: str | None = None,
        report: bool = True,
        test_after_fit: bool = False,
        callbacks: list[Callback] | Callback | None = None,
        without: Sequence[type[Callback]] = (),
        logger: Logger | list[Logger] | bool | None = None,
        precision: Precision | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | None = None,
        enable_model_summary: bool = False,
        profiler: Profiler | str | None = None,
        **kwargs: Any,
    ) -> None:
        configure_hardware()
        self.name = name
        self.run_folder: Path | None = None  # folder of the latest fit
        self.report = report
        self.test_after_fit = test_after_fit
        self._given_loggers = as_list(logger)
        self._has_folder = logger is not False
        self._shows_layers = enable_model_summary
        self._backbone: nn.Module | None = None
        check_not_zero({**kwargs, "val_check_interval": val_check_interval})
        set_defaults(kwargs, self._has_folder)
        precision = precision or default_precision(kwargs)
        with plain_output(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You passed .*precision='16-mixed'.* AMP with fp16 is not supported")
            super().__init__(
                callbacks=chosen_callbacks(callbacks, without, kwargs),
                logger=False,  # created in fit, together with the run folder
                precision=precision,
                limit_train_batches=limit_train_batches,
                limit_val_batches=limit_val_batches,
                limit_test_batches=limit_test_batches,
                limit_predict_batches=limit_predict_batches,
                overfit_batches=overfit_batches,
                val_check_interval=val_check_interval,
                enable_model_summary=False,  # Lightning's own table; fit prints the package's
                profiler=profiler or NoProfiler(),
                **kwargs,
            )
        if not self.fast_dev_run:  # type: ignore[attr-defined]
            self.loggers = self._given_loggers  # for test and validation; fit replaces them
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:  # unless a plugin has replaced it
            self.strategy.checkpoint_io = AtomicCheckpointIO()
        if str(precision) in ("16", "16-mixed") and self.precision == "bf16-mixed" and self.is_global_zero:
            log.warning("Precision 16-mixed needs a GPU; on this CPU the run uses bf16-mixed.")
        processes.check_number(self)
        processes.watch(self)

    @property
    def run(self) -> Run:
        """The run of the most recent ``fit``.

        Raises:
            InputError: there is no such run, or it has no folder (``logger=False``).
        """
        if self.run_folder is None:
            raise InputError("this trainer has no run yet: call trainer.fit(model, data) with a logger")
        return Run(self.run_folder, backbone=self._backbone)

    def fit(
        self,
        model: pl.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = True,
    ) -> None:
        """Train a model in a new run folder or, with ``ckpt_path``, resume a run in its own folder.

        Args:
            model: the model to train, usually an ImageClassifier.
            train_dataloaders: a CIFAR10DataModule, or a DataLoader of (images, labels).
            val_dataloaders: a DataLoader, if the training images come from one.
            datamodule: replaces both loaders.
            ckpt_path: the checkpoint to resume from; ``last`` is last.ckpt of the newest run.
            weights_only: ignored, as checkpoints are always read without running code.

        Raises:
            InputError: the arguments cannot be used (no folder is left behind), or another process trains this run.
            Stopped: the run ended early (Ctrl-C, SIGTERM, a loss that is NaN); the message says how to resume.
        """
        if isinstance(train_dataloaders, pl.LightningDataModule):
            train_dataloaders, datamodule = None, train_dataloaders
        with plain_output():
            checkpoint = checkpoint_to_resume(self, model, ckpt_path)
            if checkpoint is None and isinstance(model, ImageClassifier):
                load_initial_weights(model)
            self._check(model, datamodule)
            record_python(self, model, datamodule)
            self._backbone = getattr(model, "backbone", None)
            new_folder = self._open_folder(checkpoint)
            path = checkpoint.path if checkpoint else None
            locked = self.run_folder if rank_zero_only.rank == 0 else None  # type: ignore[attr-defined]
            with errors_in_one_line(self, "fit", new_folder), training_in(locked):
                if isinstance(datamodule, CIFAR10DataModule):
                    self._say(f"Loading the images of {type(datamodule.source).__name__}")
                if self._shows_layers and self.is_global_zero:
                    print(layer_table(model, datamodule))
                super().fit(model, train_dataloaders, val_dataloaders, datamodule, path, True)
                if isinstance(model, ImageClassifier):
                    self._conclude(model, datamodule)

    def validate(
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
        weights_only: bool | None = True,
    ) -> Any:
        """Validate a model; see ``lightning.pytorch.Trainer.validate``. ``verbose`` prints accuracy and loss."""
        with plain_output(), errors_in_one_line(self, "validate"):
            self._announce("Validating", ckpt_path)
            check_weights_of(model, ckpt_path)
            found = super().validate(model, dataloaders, ckpt_path, False, datamodule, weights_only)
            if not found:
                raise InputError(f"nothing to validate: {why_not_validated(self)}")
            if verbose and "val/accuracy" in self.callback_metrics:
                self._say(f"\n{validation_line(self)}")
        return found

    def test(
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
        weights_only: bool | None = True,
    ) -> Any:
        """Test a model; see ``lightning.pytorch.Trainer.test``.

        With the ``ckpt_path`` of a run, it writes test.json, the predictions and the report into the run's folder.
        """
        with plain_output(), errors_in_one_line(self, "test"):
            if not self.limit_test_batches:
                raise InputError("nothing to test: trainer.limit_test_batches is 0")
            self._announce("Testing", ckpt_path)
            check_weights_of(model, ckpt_path)
            found = self._test(model, dataloaders, ckpt_path, False, datamodule, weights_only)
            summary = summary_of(self)
            if summary is not None and summary.written is not None and summary.written.name == "test.json":
                self._write_report(summary.written.parent, self.datamodule)  # type: ignore[attr-defined]
        return found

    def _test(self, *arguments: Any) -> Any:
        """Test, print the results and write them into the run folder, without a report."""
        found = super().test(*arguments)
        summary, model, data = summary_of(self), self.lightning_module, self.datamodule  # type: ignore[attr-defined]
        if summary is not None and isinstance(data, CIFAR10DataModule) and isinstance(model, ImageClassifier):
            summary.print_test(self, model)
        return found

    def _check(self, model: pl.LightningModule, datamodule: pl.LightningDataModule | None) -> None:
        """Try the network and the loss before any file is written."""
        known = isinstance(model, ImageClassifier) and isinstance(datamodule, CIFAR10DataModule)
        if known and process.local_rank() == 0:
            check_network(model, datamodule, str(self.precision))  # type: ignore[arg-type]

    def _open_folder(self, checkpoint: Checkpoint | None) -> Path | None:
        """Point the loggers at the run's folder; return the folder if it is new."""
        if not self._has_folder or self.fast_dev_run:  # type: ignore[attr-defined]
            self.loggers = [DummyLogger()] if self.fast_dev_run else []  # type: ignore[attr-defined]
            self.run_folder = None
            return None
        is_rank_zero = rank_zero_only.rank == 0  # type: ignore[attr-defined]
        self.loggers, new = open_folder(self.default_root_dir, self._given_loggers, checkpoint, is_rank_zero)
        self.run_folder = Path(str(self.loggers[0].log_dir))
        return new

    def _conclude(self, model: ImageClassifier, datamodule: pl.LightningDataModule | None) -> None:
        """Test the best checkpoint if requested, print the summary and write the report."""
        path = path_of_best(self)
        failure: Exception | None = None
        if self.test_after_fit and path and self.limit_test_batches:
            drop_weight_averaging(self)
            try:
                self._test(model, None, path, False, datamodule, True)
            except (InputError, OSError) as error:  # such as missing test images, which are loaded only now
                failure = error
        if (summary := summary_of(self)) is not None:
            summary.print_fit(self, model)
        if path and (run := run_of(path)) is not None:
            self._write_report(run, datamodule)
        if failure is not None:
            raise InputError(f"the training is complete and saved, but the test failed: {failure}") from failure

    def _write_report(self, run: Path, datamodule: pl.LightningDataModule | None) -> None:
        if self.report:
            write_report(self, run, datamodule, self._backbone)

    def _announce(self, what: str, checkpoint: Any) -> None:
        if checkpoint is not None:
            self._say(f"{what} {relative(checkpoint)}")

    def _say(self, line: str) -> None:
        if self.is_global_zero:
            print(line)
