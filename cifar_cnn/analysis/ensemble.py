"""Ensemble: the mean of the probabilities of several runs, scored on their test images."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_cnn.analysis.run import Run
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write_json, writing_into
from cifar_cnn.base.intervals import LEVEL, wilson_interval
from cifar_cnn.base.paths import relative
from cifar_cnn.base.probability_scores import score_sums, scores
from cifar_cnn.base.tables import text_table
from cifar_cnn.callbacks.confusion_figure import confusion_counts
from cifar_cnn.callbacks.predictions import FILE_NAME
from cifar_cnn.runs.folders import is_best, same_or_next_folder
from cifar_cnn.runs.predictions import Predictions, mean_of, read_predictions

RESULT = "ensemble.json"


@dataclass(frozen=True)
class Ensemble:
    """The test of an ensemble.

    Attributes:
        result: content of ensemble.json: ``ensemble``, ``runs`` (each with its ``folder``), ``class_names``,
            ``images`` and ``images_sha256``. The scores of the ensemble and of each run are ``accuracy``,
            ``accuracy_interval``, ``nll``, ``brier``, ``ece`` and ``accuracy_per_class``.
        predictions: the predictions of the ensemble; their probabilities are the mean of those of the runs.
    """

    result: dict[str, Any]
    predictions: Predictions

    def write(self, folder: Path) -> None:
        """Write ensemble.json and test_predictions.npz.

        Raises:
            InputError: the folder cannot be written.
        """
        with writing_into(folder):
            self.predictions.save(folder / FILE_NAME)
            write_json(folder / RESULT, self.result)

    def lines(self) -> list[str]:
        """Tables for the terminal: each run and the ensemble, then the accuracy of the ensemble in each class."""
        ensemble, names = self.result["ensemble"], self.result["class_names"]
        rows = [["", "test", f"{LEVEL:.0%} interval", "NLL", "Brier score", "ECE"]]
        rows += [_row(each["folder"], each) for each in self.result["runs"]]
        rows.append(_row("ensemble", ensemble))
        found = zip(names, ensemble["accuracy_per_class"], strict=True)
        classes = [[name, "-" if value is None else f"{value:.2%}"] for name, value in found]
        head = f"Ensemble of {len(self.result['runs'])} runs on {self.result['images']:,} test images"
        return [head, *text_table(rows, left={0}), "", "Accuracy of the ensemble", *text_table(classes, left={0})]


def ensemble(runs: Sequence[Run]) -> Ensemble:
    """Test the mean of the probabilities of several runs.

    The stored predictions of each run's best checkpoint are used; a run without them is tested first.

    Args:
        runs: two or more runs with the same classes and the same test images.

    Raises:
        InputError: the runs have different classes or test images, or the images of a test cannot be loaded.
    """
    _check(runs)
    for run in runs:
        run.test()
    first = runs[0]
    stored = [read_predictions(run.folder / FILE_NAME, len(run.class_names)) for run in runs]
    images = [run.result["tested_on"]["sha256"] for run in runs]
    if other := next((run for run, each in zip(runs, images, strict=True) if each != images[0]), None):
        raise InputError(
            f"{relative(other.folder)} was tested on other images than {relative(first.folder)}: an ensemble needs the "
            "same test images"
        )
    mean = mean_of(stored)
    rows = [
        {
            "folder": relative(run.folder),
            "name": run.name,
            "tta": run.result["tta"],
            "checkpoint_checksum": run.result["checkpoint_checksum"],
            **_scored(each),
        }
        for run, each in zip(runs, stored, strict=True)
    ]
    result = {"ensemble": _scored(mean), "runs": rows, "class_names": list(first.class_names)}
    return Ensemble({**result, "images": len(mean.labels), "images_sha256": images[0]}, mean)


def ensemble_folder(result: Ensemble, root: Path) -> Path:
    """Find the folder ``ensemble_N`` of the same runs under ``root``, or choose the next number."""
    own = _identity(result.result)
    return same_or_next_folder(root, "ensemble", lambda folder: _identity(_read(folder / RESULT)) == own)


def _identity(result: dict[str, Any]) -> list[str]:
    return sorted(str(each.get("checkpoint_checksum")) for each in result.get("runs", []))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content["runs"], list) else {}
    except (OSError, ValueError, KeyError, TypeError):  # no such file, or somebody else's
        return {}


def _check(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise InputError("an ensemble needs two or more runs")
    if twice := [run for i, run in enumerate(runs) if any(_same(run, other) for other in runs[:i])]:
        raise InputError(f"given twice: {relative(twice[0].folder)}")
    for run in runs:
        if not is_best(run.checkpoint):
            raise InputError(f"an ensemble uses the best checkpoint of each run: give {relative(run.folder)} instead")
        if run.class_names != runs[0].class_names:
            raise InputError(
                f"{relative(run.folder)} has other classes than {relative(runs[0].folder)}: an ensemble needs the same "
                "classes in the same order"
            )


def _same(a: Run, b: Run) -> bool:
    return os.path.realpath(a.folder) == os.path.realpath(b.folder)


def _scored(predictions: Predictions) -> dict[str, Any]:
    counts = confusion_counts(predictions, predictions.logits.shape[1])
    right, n = counts.diagonal(), counts.sum(1)
    found = scores(*score_sums(predictions.logits.double(), predictions.labels))
    return {
        "accuracy": float(right.sum() / n.sum()),
        "accuracy_interval": list(wilson_interval(int(right.sum()), int(n.sum()))),
        **{name: value.item() for name, value in found.items()},
        "accuracy_per_class": [float(r / m) if m else None for r, m in zip(right, n, strict=True)],
        "confusion_matrix": counts.tolist(),
    }


def _row(name: str, scored: dict[str, Any]) -> list[str]:
    low, high = scored["accuracy_interval"]
    numbers = [f"{scored['nll']:.4f}", f"{scored['brier']:.4f}", f"{scored['ece']:.2%}"]
    return [name, f"{scored['accuracy']:.2%}", f"{low:.2%} to {high:.2%}", *numbers]
