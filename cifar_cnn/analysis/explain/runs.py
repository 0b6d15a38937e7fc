"""Measure several runs, print the tables and write pictures and numbers."""

import hashlib
import json
import os
import re
from pathlib import Path

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.explain.figures import equivariance_chart, feature_chart, prediction_chart, side_by_side_chart
from cifar_cnn.analysis.explain.texts import as_numbers, as_text, side_by_side
from cifar_cnn.analysis.explain.theory import Theory, explain
from cifar_cnn.analysis.shown import SPLIT_NAMES
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write
from cifar_cnn.base.paths import relative
from cifar_cnn.runs.run import RunFolder, Split


def explain_runs(runs: list[RunFolder], images: int = 1000, output: Path | None = None) -> Path:
    """Measure runs, print their tables, and write pictures and numbers.

    Args:
        runs: several are also drawn side by side.
        images: maximum number of test or validation images of each run; at least 2.
        output: folder to write into; by default ``explain`` in the folder of the first run.

    Returns:
        The folder that was written.

    Raises:
        InputError: a run has no images, or the folder cannot be written.
    """
    output = output or runs[0].folder / "explain"
    there = next(each for each in (output, *output.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):  # checked first, since measuring takes minutes
        raise InputError(f"cannot write into {output}: name a folder with --output")
    theories = _measured(runs, images)
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write(output, theories)
    except OSError as error:
        raise InputError(f"cannot write into {output}: {error.strerror}; name a folder with --output") from error
    return output


def _measured(runs: list[RunFolder], images: int) -> dict[str, Theory]:
    """The measurements by the label of the run, printed as they are made."""
    theories: dict[str, Theory] = {}
    digests = set()
    for label, run in zip(labels_of(runs), runs, strict=True):
        split = _split_of(run)
        image_set = run.images(split)
        digests.add(hashlib.sha256(image_set.images.numpy().tobytes()).digest())
        chosen = f"{min(images, len(image_set)):,} {SPLIT_NAMES[split]} images"
        print(f"{label}: {run.title}, on {chosen}\n" if label != run.title else f"{label}, on {chosen}\n")
        theories[label] = explain(run.trained, image_set, images)
        print(as_text(theories[label]))
    if len(runs) > 1:
        print(side_by_side({label: theory.invariance for label, theory in theories.items()}))
        if len(digests) > 1:
            print("Some runs were measured on different images; differences between them are hardly meaningful.\n")
    return theories


def _write(output: Path, theories: dict[str, Theory]) -> None:
    curves = {label: theory.invariance for label, theory in theories.items()}
    several = len(theories) > 1
    if several:
        write(output / "side_by_side.png", charts.png(side_by_side_chart(curves)))
    else:
        write(output / "features.png", charts.png(feature_chart(curves)))
        write(output / "predictions.png", charts.png(prediction_chart(curves)))
    for label, theory in theories.items():
        name = "equivariance_" + re.sub(r"[^\w.-]+", "_", label) if several else "equivariance"
        write(output / f"{name}.png", charts.png(equivariance_chart(theory.equivariance)))
    numbers = {label: as_numbers(theory) for label, theory in theories.items()}
    write(output / "explain.json", json.dumps(numbers, indent=1) + "\n")


def labels_of(runs: list[RunFolder]) -> list[str]:
    """Label runs by their configs or, if those are not unique, by their networks, seeds or folders.

    Raises:
        InputError: a run is given twice.
    """
    folders = [relative(run.folder) for run in runs]
    if twice := {folder for folder in folders if folders.count(folder) > 1}:
        raise InputError(f"given twice: {', '.join(sorted(twice))}")
    configs = [run.label for run in runs]
    numbers = [run.record.get("seed") for run in runs]
    named = zip(configs, numbers, strict=True)
    seeds = [f"{name} seed {seed}" if name and seed is not None else "" for name, seed in named]
    for labels in (configs, [run.title for run in runs], seeds):
        if all(labels) and len(set(labels)) == len(runs):
            return labels
    return folders


def _split_of(run: RunFolder) -> Split:
    """The test images of a run that has been tested, else its validation images."""
    return "test" if (run.folder / "test.json").is_file() else "val"
