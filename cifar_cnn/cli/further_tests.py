"""``cifar-cnn test --corruptions --temperature``: measure more than the accuracy, after the ordinary test."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from cifar_cnn.analysis.robustness.measure import corruption_lines, measure_corruptions, write_corruptions
from cifar_cnn.analysis.run import Run
from cifar_cnn.analysis.temperature import calibration_lines, measure_calibration
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write_json
from cifar_cnn.base.paths import relative
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.trainer import Trainer
from cifar_cnn.trainer.conclusion import summary_of, write_report


def add_options(parser: LightningArgumentParser, command: str) -> None:
    """Add the options of ``test``; other commands have none."""
    if command != "test":
        return
    parser.add_argument(
        "--corruptions",
        nargs="?",
        const=True,
        type=bool | int,
        default=False,
        help="Also measure the accuracy under common corruptions, on all test images or on a random sample of N.",
    )
    parser.add_argument(
        "--temperature",
        nargs="?",
        const=True,
        type=bool,
        default=False,
        help="Also fit a temperature on the validation images; score the probabilities without and with it.",
    )


def method(trainer: pl.Trainer, command: str, config: Namespace) -> Callable[..., Any]:
    """The method of the trainer for a command, or :func:`run` if a test is to measure more."""
    if config.get("corruptions") or config.get("temperature"):
        assert isinstance(trainer, Trainer)
        return partial(run, trainer, config)
    return getattr(trainer, command)


def run(
    trainer: Trainer,
    config: Namespace,
    model: ImageClassifier,
    datamodule: CIFAR10DataModule,
    ckpt_path: Path,
    weights_only: bool = True,
) -> None:
    """Test, then measure what the options request; write JSON files beside test.json, and the report.

    Raises:
        InputError: the run has no validation images, several processes test it, or a file cannot be written.
    """
    if trainer.world_size > 1:
        raise InputError("--corruptions and --temperature are measured by one process: add --trainer.devices 1")
    report, trainer.report = trainer.report, False
    trainer.test(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=weights_only)
    written = getattr(summary_of(trainer), "written", None)  # None: the checkpoint is outside of a run
    tested = Run(ckpt_path.parent.parent, ckpt_path)
    tested.model.tta, tested.model.tta_fraction = model.tta, model.tta_fraction
    try:
        if most := config["corruptions"]:
            sample = None if most is True else most
            corrupted = measure_corruptions(tested, datamodule.image_set("test"), sample)
            _conclude("corruptions", corrupted, corruption_lines, write_corruptions, written)
        if config["temperature"]:
            calibrated = measure_calibration(tested, datamodule.image_set("test"))
            _conclude("calibration", calibrated, calibration_lines, write_json, written)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {error.strerror}") from error
    finally:
        if report and written is not None and written.name == "test.json":
            write_report(trainer, written.parent, datamodule, None)


def _conclude(
    name: str,
    result: Any,
    lines: Callable[[Any], list[str]],
    write: Callable[[Path, Any], None],
    test_file: Path | None,
) -> None:
    """Print the lines of a result, and write it beside the file of the test, if there is one."""
    path = test_file.with_name(test_file.name.replace("test", name, 1)) if test_file else None
    if path:
        write(path, result)
    print("", *lines(result), *([f"Written to {relative(path)}"] if path else []), sep="\n")
