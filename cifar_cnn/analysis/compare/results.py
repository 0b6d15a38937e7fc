"""What a comparison reads from the folder of a run."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cifar_cnn.analysis.statistics import Seed
from cifar_cnn.callbacks.predictions import FILE_NAME
from cifar_cnn.errors import InputError
from cifar_cnn.runs import trained_as
from cifar_cnn.runs.run import RunFolder

# Options of the Trainer in which runs of one experiment may differ.
NOT_OF_THE_EXPERIMENT = ("default_root_dir", "logger", "limit_test_batches")


@dataclass(frozen=True)
class RunResult:
    """The results of one run.

    Attributes:
        folder: folder of the run.
        seed: its ``seed_everything``; None if it was not seeded.
        key: its config without seed, name and folder: equal for the runs of one experiment.
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

    @property
    def number(self) -> Seed:
        """What identifies the run among those of its network: its seed, or its folder if it was not seeded."""
        return str(self.folder) if self.seed is None else self.seed

    @property
    def best_validation(self) -> float | None:
        """The validation accuracy of the best epoch; None without a validation."""
        return max((value for value in self.val_accuracy if math.isfinite(value)), default=None)


def read_run(run: Path) -> RunResult:
    """Read the folder of a run that was tested.

    Raises:
        InputError: a file in it is damaged.
    """
    try:
        config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        test = json.loads((run / "test.json").read_text(encoding="utf-8"))
        correct, images = _read_predictions(run / FILE_NAME)
        epochs = RunFolder(run).epochs
        return RunResult(
            run,
            None if config["seed_everything"] is False else int(config["seed_everything"]),
            _key(config),
            float(test["accuracy"]),
            [row.get("val/accuracy", math.nan) for row in epochs],
            sum(row["epoch_seconds"] for row in epochs),
            correct,
            images,
            test.get("tta") or trained_as.options(config["model"]).get("tta") or "none",
            tuple(map(str, test.get("changed_code") or ())),
        )
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{run} cannot be read ({type(error).__name__}: {error})") from error


def _read_predictions(path: Path) -> tuple[np.ndarray, str]:
    """Which predictions are correct, and the fingerprint of the images."""
    with np.load(path, allow_pickle=False) as predictions:
        labels = predictions["labels"]
        correct = predictions["logits"].argmax(1) == labels
        images = hashlib.sha256(str(predictions["images_sha256"]).encode() + labels.tobytes()).hexdigest()
    return correct, images


def _key(config: dict[str, Any]) -> str:
    trainer = {name: value for name, value in config["trainer"].items() if name not in NOT_OF_THE_EXPERIMENT}
    return json.dumps(
        {**config, "trainer": trainer, "seed_everything": None, "name": None}, sort_keys=True, default=str
    )
