"""Lightning's Trainer with all that a run needs: its folder, checkpoints, records, exact resume and report."""

import logging
import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_summary import summarize
from torch import nn

from cifar_cnn import commands
from cifar_cnn import distributed as processes
from cifar_cnn.analysis import report as reports
from cifar_cnn.analysis.network.summary import summary
from cifar_cnn.analysis.run import Run
from cifar_cnn.callbacks.defaults import with_defaults
from cifar_cnn.callbacks.python_run import PythonRun
from cifar_cnn.callbacks.save_config import SaveConfig
from cifar_cnn.callbacks.summary import RunSummary, of_some_images, why_not_validated
from cifar_cnn.checks.network import check_network
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.compat import PrecisionInput
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.errors import InputError
from cifar_cnn.hardware import best_precision, use_all_of_the_hardware
from cifar_cnn.quiet import plain_output
from cifar_cnn.resume.checkpoint_io import AtomicCheckpointIO
from cifar_cnn.resume.checkpoints import best_checkpoint
from cifar_cnn.resume.endings import ended_plainly
from cifar_cnn.resume.loops import images_evaluated
from cifar_cnn.resume.resumable import check_resumable
from cifar_cnn.runs.checkpoints import Checkpoint, read_to_resume
from cifar_cnn.runs.folders import RUNS, find_checkpoint, new_run_folder, run_of
from cifar_cnn.runs.init_from import load_initial_weights
from cifar_cnn.runs.loggers import brings_a_folder, run_loggers
from cifar_cnn.runs.training_lock import training_in

log = logging.getLogger("cifar_cnn")


class NoProfiler(PassThroughProfiler):
    """Lightning's profiler that profiles nothing, without making a context of its own for each of 100 calls a step."""

    _NOTHING = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]
        """Do nothing."""
        return self._NOTHING


class Trainer(pl.Trainer):
    """Lightning's Trainer with everything that a run needs; ``cifar-cnn fit`` uses it too.

    ``fit`` makes a folder ``lightning_logs/version_N`` with config.yaml, metrics.csv, TensorBoard events, the best and
    the last checkpoint, filter pictures, fit.json and report.html. A killed run resumes exactly with
    ``fit(model, data, ckpt_path="last")``, also in another Python process. Ctrl-C saves a checkpoint first.

    Example::

        trainer = Trainer(max_epochs=5, name="baseline")
        trainer.fit(model, data)
        trainer.run.curves()

    Args:
        name: of the run, for its record, report and comparisons.
        report: write report.html after fit and test.
        test_after_fit: test the best checkpoint at the end of ``fit``.
        callbacks: added to those of every run (``cifar_cnn.callbacks.defaults.DEFAULTS``); a callback of the same class
            replaces the default.
        without: classes of default callbacks to leave out.
        logger: by default TensorBoard and metrics.csv in the run's folder. A CSVLogger or TensorBoardLogger given first
            brings a folder of its own, other loggers are used beside metrics.csv, False trains without a folder.
        precision: by default the fastest that trains as well as float32 on this machine: bf16-mixed on GPUs with
            bfloat16 and on CPUs with AMX, else 32-true.
        limit_train_batches: training batches an epoch, or (float) a fraction of them; by default all.
        limit_val_batches: validation batches, or a fraction of them.
        limit_test_batches: test batches, or a fraction of them.
        limit_predict_batches: batches of Lightning's predict, or a fraction of them.
        overfit_batches: train and validate on this number or fraction of training batches alone.
        val_check_interval: steps between validations, or (float) a fraction of an epoch; by default an epoch.
        enable_model_summary: print the layers at the start of ``fit``: output shapes, parameters, multiply-adds and
            receptive fields (shortened for large networks; ``cifar_cnn.summary`` lists all layers).
        profiler: times the parts of a step: ``simple``, ``advanced``, or a Profiler.
        kwargs: see ``lightning.pytorch.Trainer``. By default 10 epochs are trained, and no sanity check of the
            validation is run.

    Raises:
        MisconfigurationException: an option has an impossible value.
    """

    # Limits are int | float, in that order: Lightning's own order makes --trainer.limit_val_batches 1 the fraction 1.0.
    def __init__(
        self,
        *,
        name: str | None = None,
        report: bool = True,
        test_after_fit: bool = False,
        callbacks: list[Callback] | Callback | None = None,
        without: Sequence[type[Callback]] = (),
        logger: Logger | list[Logger] | bool | None = None,
        precision: PrecisionInput | None = None,
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
        use_all_of_the_hardware()
        self.name = name
        self.run_folder: Path | None = None  # of the newest fit
        self.report = report
        self.test_after_fit = test_after_fit
        given_loggers = [] if logger in (None, True, False) else logger
        self._given_loggers: list[Logger] = (
            list(given_loggers) if isinstance(given_loggers, (list, tuple)) else [given_loggers]  # type: ignore[list-item]
        )
        self._has_folder = logger is not False
        self._shows_layers = enable_model_summary
        self._backbone: nn.Module | None = None
        options = {**kwargs, "val_check_interval": val_check_interval}
        for option in ("accumulate_grad_batches", "check_val_every_n_epoch", "max_steps", "val_check_interval"):
            if options.get(option) == 0:  # Lightning would divide by it
                raise MisconfigurationException(f"{option} must not be 0")
        if precision is None and not kwargs.get("plugins"):  # a plugin may bring a precision of its own
            precision = best_precision(str(kwargs.get("accelerator", "auto")))  # type: ignore[assignment]
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        chosen = with_defaults(given, without, kwargs.get("enable_progress_bar") is not False)
        if logger is False or kwargs.get("enable_checkpointing") is False:
            # Without a run folder, checkpoints would lie in the current one and overwrite each other.
            kwargs["enable_checkpointing"] = False
            chosen = [each for each in chosen if not isinstance(each, CheckpointCallback)]
        kwargs.setdefault("num_sanity_val_steps", 0)
        if not {"max_epochs", "max_steps", "max_time"} & {*kwargs}:
            kwargs["max_epochs"] = 10
        with plain_output(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You passed .*precision='16-mixed'.* AMP with fp16 is not supported")
            super().__init__(
                callbacks=chosen,
                logger=False,  # made when a fit has a folder
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
            self.loggers = self._given_loggers  # of a test or validation; a fit has those of its run
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:  # not a plugin's own
            self.strategy.checkpoint_io = AtomicCheckpointIO()
        if str(precision) in ("16", "16-mixed") and self.precision == "bf16-mixed" and self.is_global_zero:
            log.warning("Precision 16-mixed needs a GPU; on this CPU the run uses bf16-mixed.")
        processes.check_number(self)
        processes.watch(self)

    @property
    def run(self) -> Run:
        """The run of the newest ``fit``.

        Raises:
            InputError: there is none, or it has no folder (``logger=False``).
        """
        if self.run_folder is None:
            raise InputError("this trainer has no run yet: call trainer.fit(model, data), with a logger")
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
        """Train a model, in a new run's folder or, with ``ckpt_path``, in that of the run that is resumed.

        Args:
            model: what is trained, usually an ImageClassifier.
            train_dataloaders: a CIFAR10DataModule, or a DataLoader of (images, labels).
            val_dataloaders: a DataLoader, where the training images come from one.
            datamodule: in place of both.
            ckpt_path: a checkpoint to resume from, or one that has been read; ``last`` is the newest run's.
            weights_only: True; checkpoints are read without running code.

        Raises:
            InputError: the model, the data or the checkpoint cannot be used; no folder is left behind.
            Stopped: the run ended early (Ctrl-C, SIGTERM, a loss that is NaN); the message says how to resume.
        """
        if isinstance(train_dataloaders, pl.LightningDataModule):
            train_dataloaders, datamodule = None, train_dataloaders
        with plain_output():
            checkpoint = self._to_resume(ckpt_path, model)
            if checkpoint is None and isinstance(model, ImageClassifier):
                load_initial_weights(model)
            self._check(model, datamodule)
            self._record(model, datamodule)
            new_folder = self._open_folder(checkpoint)
            path = checkpoint.path if checkpoint else None
            locked = self.run_folder if rank_zero_only.rank == 0 else None  # type: ignore[attr-defined]
            with ended_plainly(self, "fit", new_folder), training_in(locked):
                if isinstance(datamodule, CIFAR10DataModule):
                    self._say(f"Loading the images of {type(datamodule.source).__name__}")
                self._show_layers(model, datamodule)
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
        with plain_output(), ended_plainly(self, "validate"):
            self._announce("Validating", ckpt_path)
            found = super().validate(model, dataloaders, ckpt_path, False, datamodule, weights_only)
            if not found:
                raise InputError(f"nothing to validate: {why_not_validated(self)}")
            if verbose and "val/accuracy" in self.callback_metrics:
                metrics = self.callback_metrics
                some = of_some_images(*images_evaluated(self, "val"), "trainer.limit_val_batches")
                self._say(f"\nValidation  {metrics['val/accuracy']:.2%} accuracy{some}, loss {metrics['val/loss']:.4f}")
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

        With the ``ckpt_path`` of a run, test.json and the predictions are written into its folder, and the report.
        """
        with plain_output(), ended_plainly(self, "test"):
            if not self.limit_test_batches:
                raise InputError("nothing to test: trainer.limit_test_batches is 0")
            self._announce("Testing", ckpt_path)
            found = self._test(model, dataloaders, ckpt_path, False, datamodule, weights_only)
            written = self._summary.written if self._summary is not None else None
            if written is not None and written.name == "test.json":  # which a report is about
                self._write_report(written.parent, self.datamodule)  # type: ignore[attr-defined]
        return found

    def _test(self, *arguments: Any) -> Any:
        """Test, print the figures and write them into the run's folder, but no report."""
        found = super().test(*arguments)
        summary, model = self._summary, self.lightning_module
        known = isinstance(self.datamodule, CIFAR10DataModule)  # type: ignore[attr-defined]
        if summary is not None and known and isinstance(model, ImageClassifier):
            summary.print_test(self, model)
        return found

    @property
    def _summary(self) -> RunSummary | None:
        callbacks: list[Callback] = self.callbacks  # type: ignore[attr-defined]
        return next((each for each in callbacks if isinstance(each, RunSummary)), None)

    def _to_resume(self, ckpt_path: Any, model: pl.LightningModule) -> Checkpoint | None:
        """The checkpoint to resume from, read and checked before anything is written; None for a new run."""
        if ckpt_path is None:
            return None
        if not isinstance(ckpt_path, Checkpoint):
            root = os.path.relpath(Path(self.default_root_dir, RUNS))
            ckpt_path = read_to_resume(find_checkpoint(os.fspath(ckpt_path), root))
        check_resumable(ckpt_path, model, self.callbacks)  # type: ignore[attr-defined]
        return ckpt_path

    def _check(self, model: pl.LightningModule, datamodule: pl.LightningDataModule | None) -> None:
        """Try the network and the loss, while a failure leaves nothing."""
        known = isinstance(model, ImageClassifier) and isinstance(datamodule, CIFAR10DataModule)
        if known and commands.local_rank() == 0:
            check_network(model, datamodule, str(self.precision))  # type: ignore[arg-type]

    def _show_layers(self, model: pl.LightningModule, datamodule: pl.LightningDataModule | None) -> None:
        """Print the table of layers, if that was asked for."""
        if not (self._shows_layers and self.is_global_zero):
            return
        if isinstance(datamodule, CIFAR10DataModule):
            datamodule.prepare_data()
            datamodule.setup("fit")
            channels, height, width = datamodule.train_images.shape[1:]
            print(summary(model, (channels, height, width)).short())
        else:  # whose image size is not known
            print(summarize(model))

    def _record(self, model: pl.LightningModule, datamodule: pl.LightningDataModule | None) -> None:
        """Have the run of Python objects recorded, unless a config is."""
        callbacks: list[Callback] = self.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(each, SaveConfig) for each in callbacks):
            callbacks[:] = [each for each in callbacks if not isinstance(each, PythonRun)]
            callbacks.append(PythonRun(model, datamodule))
        self._backbone = getattr(model, "backbone", None)

    def _open_folder(self, checkpoint: Checkpoint | None) -> Path | None:
        """Point the loggers at the run's folder; the folder, if it is a new one."""
        if not self._has_folder or self.fast_dev_run:  # type: ignore[attr-defined]
            self.loggers = [DummyLogger()] if self.fast_dev_run else []  # type: ignore[attr-defined]
            self.run_folder = None
            return None
        given = self._given_loggers
        folder = run_of(checkpoint.path) if checkpoint else None
        new = folder is None and not brings_a_folder(given)
        if new:
            root = Path(os.path.relpath(self.default_root_dir), RUNS)
            is_first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
            # Others write nothing; Lightning tells them the folder of process 0. Resolved, as a resumed run finds it: a
            # ModelCheckpoint whose folder has another name forgets what it has kept.
            folder = new_run_folder(root).resolve() if is_first else root / "version_of_process_0"
        self.loggers = run_loggers(given, folder, int(checkpoint.content["first_step"]) if checkpoint else 0)
        self.run_folder = Path(str(self.loggers[0].log_dir))
        return folder if new and rank_zero_only.rank == 0 else None  # type: ignore[attr-defined]

    def _conclude(self, model: ImageClassifier, datamodule: pl.LightningDataModule | None) -> None:
        """Test the best checkpoint if that was asked for, print the summary, write the report."""
        best = best_checkpoint(self)
        path = best.best_model_path if best else ""
        if path and not self.strategy.broadcast(os.path.isfile(path)):
            log.warning("%s is gone: it is neither tested nor reported on.", os.path.relpath(path))
            path = ""
        failure: Exception | None = None
        if self.test_after_fit and path and self.limit_test_batches:
            # Of a checkpoint it would load the weights that training goes on from, not the averages that are tested.
            callbacks: list[Callback] = self.callbacks  # type: ignore[attr-defined]
            callbacks[:] = [each for each in callbacks if not isinstance(each, WeightAveraging)]
            try:
                self._test(model, None, path, False, datamodule, True)
            except (InputError, OSError) as error:  # the test images are loaded only now
                failure = error
        if (summary := self._summary) is not None:
            summary.print_fit(self, model)
        if path and (run := run_of(path)) is not None:
            self._write_report(run, datamodule)
        if failure is not None:
            raise InputError(f"all is trained and saved, but the test failed: {failure}") from failure

    def _write_report(self, run: Path, datamodule: pl.LightningDataModule | None) -> None:
        if self.report and self.is_global_zero and isinstance(datamodule, CIFAR10DataModule):
            path = reports.try_to_write_report(run, datamodule, self._backbone)
            if path is not None:
                print(f"{'Report':<11} {os.path.relpath(path)}")

    def _announce(self, what: str, checkpoint: Any) -> None:
        if checkpoint is not None:
            self._say(f"{what} {os.path.relpath(checkpoint)}")

    def _say(self, line: str) -> None:
        if self.is_global_zero:
            print(line)
