"""Read the results of a run for a comparison."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifar_cnn.analysis.statistics import Seed
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.callbacks.predictions import FILE_NAME
from cifar_cnn.runs.predictions import read_predictions
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.schemas import Config

# Options of the Trainer in which runs of one experiment may differ.
NOT_OF_THE_EXPERIMENT = ("default_root_dir", "logger", "limit_test_batches")


@dataclass(frozen=True)
class RunResult:
    """The results of one run.

    Attributes:
        folder: folder of the run.
        seed: its ``seed_everything``; None if it was not seeded.
        key: its config without seed, fold, name and folder: equal for the runs of one experiment.
        test_accuracy: accuracy of the best checkpoint, from 0 to 1.
        val_accuracy: validation accuracy after each finished epoch; NaN without a validation.
        seconds: training time, validation included.
        correct: whether each test image was classified correctly: bool, (N,).
        images: fingerprint of the test images and their labels.
        tta: test-time augmentation of the test.
        changed_code: the user's own files that were changed between training and test.
    """

    folder: Path
    seed: int | None
    key: str
    test_accuracy: float
    val_accuracy: list[float]
    seconds: float
    correct: np.ndarray
    images: str
    tta: str
    changed_code: tuple[str, ...] = ()
    fold: int | None = None  # of a cross-validation

    @property
    def number(self) -> Seed:
        """The identifier of the run within its network: its seed and fold, or its folder if it was not seeded."""
        if self.seed is None:
            return str(self.folder)
        return self.seed if self.fold is None else f"seed {self.seed}, fold {self.fold}"

    @property
    def best_validation(self) -> float | None:
        """The validation accuracy of the best epoch; None without a validation."""
        return max((value for value in self.val_accuracy if math.isfinite(value)), default=None)


def read_run(folder: Path) -> RunResult:
    """Read the folder of a run that was tested.

    Raises:
        InputError: a file in it is missing or damaged.
    """
    run = RunFolder(folder)
    config, test, epochs = run.config, run.result, run.epochs
    seed = config.get("seed_everything", False)
    if not test:
        raise InputError(f"{relative(folder)} has not been tested: run `cifar-cnn test --ckpt_path {relative(folder)}`")
    correct, images = _read_predictions(folder / FILE_NAME)
    return RunResult(
        folder,
        None if seed is False else int(seed),
        _key(config),
        float(test["accuracy"]),
        [row.get("val/accuracy", math.nan) for row in epochs],
        sum(row["epoch_seconds"] for row in epochs),
        correct,
        images,
        test["tta"],
        tuple(test["changed_code"]),
        config.get("data", {}).get("fold"),
    )


def _read_predictions(path: Path) -> tuple[np.ndarray, str]:
    """Which predictions are correct, and the fingerprint of the images."""
    found = read_predictions(path)
    correct = (found.classes == found.labels).numpy()
    labels = found.labels.numpy().tobytes()
    return correct, hashlib.sha256(found.images_sha256.encode() + labels).hexdigest()


def _key(config: Config) -> str:
    options = config.get("trainer", {})
    trainer = {name: value for name, value in options.items() if name not in NOT_OF_THE_EXPERIMENT}
    data = {**config.get("data", {}), "fold": None}
    of_one_run = {"seed_everything": None, "name": None}
    return json.dumps(_sorted({**config, "trainer": trainer, "data": data, **of_one_run}), default=str)


def _sorted(content: Any) -> Any:
    """Plain data with its keys converted to text and sorted; YAML also allows keys that are not text."""
    if isinstance(content, dict):
        named = sorted(((str(key), value) for key, value in content.items()), key=lambda each: each[0])
        return {key: _sorted(value) for key, value in named}
    return [_sorted(each) for each in content] if isinstance(content, list) else content
