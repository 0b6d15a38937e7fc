"""Summarize a run at its end: network, accuracy and files."""

import math
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write_json
from cifar_cnn.base.intervals import LEVEL, wilson_interval
from cifar_cnn.base.paths import relative
from cifar_cnn.base.sizes import count_parameters
from cifar_cnn.callbacks.stopwatch import EpochStopwatch
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.resume.checkpoints import best_checkpoint
from cifar_cnn.resume.loops import images_evaluated, overfits, run_folder, validates
from cifar_cnn.runs import kept_code
from cifar_cnn.runs.checkpoints import read_checkpoint
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.folders import is_best, result_path
from cifar_cnn.runs.results import ResultFiles


class RunSummary(Callback):
    """Times the epochs (logged as ``epoch_seconds``, validation included) and prints a summary of fit and test.

    The results of a test are also written to ``test.json`` in the run folder of its checkpoint. A test of another
    checkpoint, of other images or of a subset writes a file with another name
    (:func:`cifar_cnn.runs.folders.result_path`).

    Args:
        files: chooses the file of a test.
    """

    def __init__(self, files: ResultFiles | None = None) -> None:
        super().__init__()
        self.files = files or ResultFiles()
        self.written: Path | None = None  # the file that the latest test has written
        self._run: Path | None = None
        self._validated = (0, 0)  # number of images in the latest validation, and of all validation images
        self._fit_start = 0.0
        self._watch = EpochStopwatch()
        self._epoch_seconds: list[float] = []
        self._fit_seconds = 0.0
        self._fit_metrics: dict[str, float] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that at least one step will be trained.

        Raises:
            InputError: no step would be trained.
        """
        for option in ("limit_train_batches", "max_epochs"):
            if stage == "fit" and getattr(trainer, option) == 0:
                raise InputError(f"nothing to train: trainer.{option} is 0")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._run = run_folder(trainer)
        if trainer.is_global_zero:
            backbone = getattr(pl_module, "backbone", pl_module)
            where = f"; run folder: {relative(self._run)}" if self._run else ""
            print(f"Training {type(backbone).__name__}, {count_parameters(backbone):,} parameters{where}")
        self._fit_start = time.perf_counter()
        self._watch.start()  # on_train_epoch_start is not called for a run resumed within an epoch
        self._epoch_seconds = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_seconds.append(self._watch.seconds)
        pl_module.log("epoch_seconds", self._epoch_seconds[-1])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = images_evaluated(trainer, "val")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fit_seconds = time.perf_counter() - self._fit_start
        self._fit_metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}

    @rank_zero_only
    def print_test(self, trainer: Trainer, pl_module: ImageClassifier) -> None:
        """Print the accuracy of each class, and write test.json into the run of the checkpoint."""
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        image_set, names = trainer.test_dataloaders.image_set, datamodule.class_names  # type: ignore[union-attr]
        seen, images = images_evaluated(trainer, "test")
        result: dict[str, Any] = {
            name.removeprefix("test/"): _finite(value.tolist()) for name, value in pl_module.test_results.items()
        }
        right = sum(row[label] for label, row in enumerate(result["confusion_matrix"]))
        result |= {
            "accuracy_interval": list(wilson_interval(right, seen)),
            "class_names": list(names),
            "images": seen,
            "tested_on": self.files.tested_on(datamodule.source, image_set),
            "tta": pl_module.tta,
            "tta_fraction": pl_module.tta_fraction,
        }
        self.written = path = self.files.path(trainer, ".json", image_set, seen)
        if path is not None:  # before printing, which fails if the output was a closed pipe
            checkpoint = Path(os.path.realpath(str(trainer.ckpt_path)))
            result |= {"checkpoint": relative(checkpoint, path.parent), "checkpoint_checksum": checksum(checkpoint)}
            trained_here = bool(self._fit_start)  # with the imported code, even if the files have changed since
            result["changed_code"] = [] if trained_here else kept_code.changed_files(read_checkpoint(checkpoint))
            try:
                write_json(path, result)
            except OSError as error:
                print(f"{path} could not be written: {error.strerror}")
        _print_test(result, images)
        if path is not None and path.name != "test.json":
            reason = _difference(trainer, path, self.files.is_named, seen < images)
            print(f"Written to {relative(path)}, not to test.json: {reason}")

    @rank_zero_only
    def print_fit(self, trainer: Trainer, pl_module: ImageClassifier) -> None:
        """Print the results of a fit and of its test, if there was one."""
        epochs = len(self._epoch_seconds)
        pace = f", {statistics.median(self._epoch_seconds):.1f} s per epoch" if epochs > 1 else ""
        where = trainer.strategy.root_device.type
        lines = {
            "Trained": f"{type(pl_module.backbone).__name__}, {count_parameters(pl_module.backbone):,} parameters, "
            f"{epochs} epoch{'s' * (epochs != 1)} in {self._fit_seconds:.0f} s{pace}, on {where}, "
            f"precision {trainer.precision}"
        }
        checkpoint = best_checkpoint(trainer)
        best = checkpoint.best_model_path if checkpoint and os.path.isfile(checkpoint.best_model_path) else ""
        some = of_some_images(*self._validated, "trainer.limit_val_batches")
        if overfits(trainer):
            some = " on the training batches themselves (trainer.overfit_batches)"
        if checkpoint and checkpoint.monitor == "val/accuracy" and checkpoint.best_model_score is not None:
            lines["Validation"] = f"{checkpoint.best_model_score.item():.2%} accuracy{some}, of the best epoch"
        elif "val/accuracy" in self._fit_metrics:
            lines["Validation"] = f"{self._fit_metrics['val/accuracy']:.2%} accuracy{some}, of the last epoch"
        else:
            lines["Validation"] = f"none: {why_not_validated(trainer)}"
        if pl_module.test_results:
            some = of_some_images(*images_evaluated(trainer, "test"), "trainer.limit_test_batches")
            accuracy = pl_module.test_results["test/accuracy"].item()
            lines["Test"] = f"{accuracy:.2%} accuracy{some}, of the checkpoint below"
        elif best:
            lines["Test"] = "not yet: run  cifar-cnn test"
        if best:
            lines["Checkpoint"] = relative(best)
        if self._run and (filters := self._run / "filters").is_dir():
            lines["Filters"] = relative(filters)
        print()
        for name, text in lines.items():
            print(f"{name:<11} {text}")


def _print_test(result: Mapping[str, Any], images: int) -> None:
    """Print the content of ``test.json`` as a table; ``images`` is the total number of test images."""
    names, some = result["class_names"], of_some_images(result["images"], images, "trainer.limit_test_batches")
    width = max(map(len, names))
    print(f"\nAccuracy{some}" if some else "\nAccuracy on the test images")
    for name, accuracy, row in zip(names, result["accuracy_per_class"], result["confusion_matrix"], strict=True):
        known = f"{accuracy:7.2%}  of {sum(row)}" if accuracy is not None else f"{'-':>7}  no images"
        print(f"  {name:{width}}  {known}")
    low, high = result["accuracy_interval"]
    interval = f"{LEVEL:.0%} interval {low:.2%} to {high:.2%}"
    print(f"  {'all':{width}}  {result['accuracy']:7.2%}  of {result['images']}; {interval}")
    if len(names) > 5:
        print(f"  {'top 5':{width}}  {result['accuracy_top5']:7.2%}")
    if None not in (result["nll"], result["brier"], result["ece"]):
        print(f"  NLL {result['nll']:.4f}, Brier score {result['brier']:.4f}, ECE {result['ece']:.2%}")


def of_some_images(seen: int, images: int, option: str) -> str:
    """``on 500 of 5,000 images (OPTION)`` with a leading space; empty if all images were seen."""
    return f" on {seen:,} of {images:,} images ({option})" if seen < images else ""


def _difference(trainer: Trainer, path: Path, named: bool, partial: bool) -> str:
    """Explain why a test is not written to test.json."""
    checkpoint = Path(str(trainer.ckpt_path))
    found = [] if is_best(checkpoint) else [f"{checkpoint.name} is not the run's best checkpoint"]
    if path != result_path(checkpoint, ".json", partial=partial):
        found.append("a name was given for these images" if named else "these are not the run's own test images")
    if partial:
        found.append("not all images were tested")
    return ", and ".join(found)


def validation_line(trainer: Trainer) -> str:
    """Accuracy and loss of the latest validation, as a line."""
    metrics = trainer.callback_metrics
    some = of_some_images(*images_evaluated(trainer, "val"), "trainer.limit_val_batches")
    return f"Validation  {metrics['val/accuracy']:.2%} accuracy{some}, loss {metrics['val/loss']:.4f}"


def why_not_validated(trainer: Trainer) -> str:
    """The reason why a fit or a validation has no validation results."""
    if trainer.limit_val_batches == 0:
        return "trainer.limit_val_batches is 0"
    if not validates(trainer):
        return "there are no validation images, data.val_size is 0"
    return "no step was trained"


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not support, with None."""
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
