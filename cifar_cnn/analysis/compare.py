"""``cifar-cnn compare``: runs, or configs that are trained first, with the uncertainty of each difference."""

import csv
import hashlib
import itertools
import json
import math
import os
import statistics
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout

from cifar_cnn.analysis import plan
from cifar_cnn.analysis.network.costs import macs_of
from cifar_cnn.analysis.statistics import LEVEL, Difference, Interval, Seed, difference
from cifar_cnn.callbacks.predictions import FILE_NAME
from cifar_cnn.errors import InputError
from cifar_cnn.runs import trained_as
from cifar_cnn.runs.checkpoints import load_trained
from cifar_cnn.runs.folders import BEST, run_of
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.sizes import count_parameters

# Options of the Trainer in which runs of one experiment may differ.
NOT_OF_THE_EXPERIMENT = ("default_root_dir", "logger", "limit_test_batches")


def run_or_config(name: str) -> Path:
    """The config file, or the folder of a run, that ``name`` means.

    Raises:
        InputError: it is neither.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    run = path if path.is_dir() else run_of(path) if path.is_file() else None
    if run is None or not (run / "config.yaml").is_file() or not (run / "checkpoints" / BEST).is_file():
        raise InputError(f"{name} is neither a config (.yaml) nor the folder of a run with a checkpoint best.ckpt")
    return Path(os.path.relpath(run))


def compare(items: list[Path], folder: Path, fits: plan.Fits, seeds: int, command_line: str) -> dict[str, str]:
    """Compare runs, and configs that are trained first; print and write the results.

    Args:
        items: from :func:`run_or_config`.
        folder: for the results and the runs, from :func:`cifar_cnn.analysis.plan.plan_folder`.
        fits: the commands that train and test.
        seeds: how many to train each config with.
        command_line: to name in the results.

    Returns:
        Why a task failed, by the name of the task; the others are compared.

    Raises:
        InputError: no run has a result, or another process works in ``folder``.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _compare(items, folder, fits, seeds, command_line)
    except Timeout:
        raise InputError(f"another process is working on this comparison, in {folder}") from None


def _compare(items: list[Path], folder: Path, fits: plan.Fits, seeds: int, command_line: str) -> dict[str, str]:
    tasks: list[tuple[Path, plan.Task]] = []
    for item in items:
        if item.is_file():
            tasks += [
                (item, plan.training(item, seed, fits, folder / item.stem / f"seed_{seed}")) for seed in range(seeds)
            ]
        else:
            tasks.append((item, plan.testing(item, fits, folder)))
    if not all(task.is_done() for _, task in tasks):
        plan.carry_out([task for _, task in tasks])
    failures = {task.name: task.failure for _, task in tasks if task.failure}

    networks: list[Network] = []
    for item, task in tasks:
        run = task.run()
        if task.failure or run is None:
            continue
        result = read_run(run)
        if item.is_file():
            network = next((each for each in networks if each.name == item.stem), None)
        else:
            network = next(
                (each for each in networks if each.key == result.key and result.number not in each.runs), None
            )
        if network is None:
            network = Network(item.stem, "") if item.is_file() else Network("", result.key)
            networks.append(network)
        network.runs[result.number] = result
    if not networks:
        raise InputError(f"no run has a result: {'; '.join(failures.values())}")
    of_runs = [network for network in networks if network.key]
    names = names_of(
        [next(iter(network.runs.values())).folder for network in of_runs],
        {item.stem for item in items if item.is_file()},
    )
    for network, name in zip(of_runs, names, strict=True):
        network.name = name
    _check_images(networks)
    for network in networks:
        network.measure()
    pairs = [(a, b, _difference(a, b)) for a, b in itertools.combinations(networks, 2)]
    _write(folder, command_line, networks, pairs, failures)
    return failures


def _check_images(networks: list["Network"]) -> None:
    """Raise where the mean of a network's runs would be one over different images."""
    for network in networks:
        first, *others = network.runs.values()
        if other := next((run for run in others if run.images != first.images), None):
            raise InputError(
                f"the runs of {network.name} were tested on different images, {os.path.relpath(first.folder)} and "
                f"{os.path.relpath(other.folder)}: remove the test.json that is out of date, and compare again"
            )


def names_of(folders: list[Path], taken: set[str]) -> list[str]:
    """What to call runs: by their config, with the folder's name or by its path where that does not tell them apart.

    Args:
        folders: of the runs.
        taken: names of others.
    """
    configs = [RunFolder(folder).label for folder in folders]
    longer = [
        f"{config}, {folder.name}" if config else folder.name for config, folder in zip(configs, folders, strict=True)
    ]
    forms = (configs, longer)
    names = []
    for index, folder in enumerate(folders):
        fits = (form[index] for form in forms if form[index] not in {"", *taken} and form.count(form[index]) == 1)
        names.append(next(fits, str(folder)))
    return names


@dataclass(frozen=True)
class RunResult:
    """What is read of one run.

    Attributes:
        folder: of the run.
        seed: of the run (``seed_everything``); None if it had none.
        key: its config without seed and folder, the same for runs of one experiment.
        test_accuracy: of the best checkpoint, from 0 to 1.
        val_accuracy: the best epoch's after each finished epoch, NaN where there was no validation.
        seconds: of training, validation included.
        correct: whether it was right on each test image: bool, (N,).
        images: fingerprint of the test images and their labels.
        tta: the test-time augmentation of the test.
        changed_code: files of the user's own that were changed between the training and the test.
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
        """By what runs of one network are told apart, and paired with those of another: the seed, if there is one."""
        return str(self.folder) if self.seed is None else self.seed


def read_run(run: Path) -> RunResult:
    """Read the folder of a run that was tested.

    Raises:
        InputError: something in it is damaged.
    """
    try:
        config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        test = json.loads((run / "test.json").read_text(encoding="utf-8"))
        with np.load(run / FILE_NAME, allow_pickle=False) as predictions:
            labels = predictions["labels"]
            correct = predictions["logits"].argmax(1) == labels
            images = hashlib.sha256(str(predictions["images_sha256"]).encode() + labels.tobytes()).hexdigest()
        epochs = RunFolder(run).epochs
        trainer = {name: value for name, value in config["trainer"].items() if name not in NOT_OF_THE_EXPERIMENT}
        key = json.dumps(
            {**config, "trainer": trainer, "seed_everything": None, "name": None}, sort_keys=True, default=str
        )
        return RunResult(
            run,
            None if config["seed_everything"] is False else int(config["seed_everything"]),
            key,
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


@dataclass
class Network:
    """The runs of one experiment, which differ in their seed alone.

    Attributes:
        name: of the config; of runs that were given, what tells them apart.
        key: see RunResult; empty for a config, whose runs are known by its name.
        runs: by seed; those without one by their folder.
        parameters: how many numbers it learns.
        macs: multiply-adds of one image through the network, in convolutions and matrix products.
    """

    name: str
    key: str
    runs: dict[Seed, RunResult] = field(default_factory=dict)
    parameters: int = 0
    macs: int = 0

    def measure(self) -> None:
        """Count parameters and multiply-adds, of any of the runs."""
        trained = load_trained(next(iter(self.runs.values())).folder / "checkpoints" / BEST)
        classifier = trained.classifier
        self.parameters = count_parameters(classifier.backbone)
        self.macs = macs_of(classifier.backbone, (3, trained.image_size, trained.image_size))

    def accuracies(self) -> list[float]:
        """Test accuracies of the runs."""
        return [run.test_accuracy for run in self.runs.values()]

    def summary(self) -> dict[str, Any]:
        """All figures of the table, as plain data."""
        accuracies = self.accuracies()
        best_val = [max(values) for run in self.runs.values() if (values := _finite(run.val_accuracy))]
        return {
            "name": self.name,
            "n": len(accuracies),
            "test_accuracy_mean": statistics.mean(accuracies),
            "test_accuracy_sd": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            "val_accuracy_mean": statistics.mean(best_val) if best_val else None,
            "parameters": self.parameters,
            "macs": self.macs,
            "epochs": statistics.mean(len(run.val_accuracy) for run in self.runs.values()),
            "training_seconds_mean": statistics.mean(run.seconds for run in self.runs.values()),
        }


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]


def _same_images(*networks: Network) -> bool:
    return len({run.images for network in networks for run in network.runs.values()}) == 1


def _difference(a: Network, b: Network) -> Difference:
    a_accuracy, b_accuracy = ({seed: run.test_accuracy for seed, run in each.runs.items()} for each in (a, b))
    if not _same_images(a, b):
        return difference(a_accuracy, b_accuracy)
    a_correct, b_correct = ({seed: run.correct for seed, run in each.runs.items()} for each in (a, b))
    return difference(a_accuracy, b_accuracy, a_correct, b_correct)


Pair = tuple[Network, Network, Difference]


def _write(folder: Path, command: str, networks: list[Network], pairs: list[Pair], failures: dict[str, str]) -> None:
    from cifar_cnn.analysis import compare_plots  # only here: it imports matplotlib

    rows = [network.summary() for network in networks]
    runs = [
        {
            "name": network.name,
            "seed": run.seed,
            "folder": os.path.relpath(run.folder),
            "test_accuracy": run.test_accuracy,
            "val_accuracy": max(_finite(run.val_accuracy), default=None),
            "training_seconds": run.seconds,
        }
        for network in networks
        for run in network.runs.values()
    ]
    differences: list[dict[str, Any]] = [
        {
            "a": a.name,
            "b": b.name,
            "b_minus_a": result.mean,
            "over_seeds": result.seeds_interval,
            "paired": result.paired,
            "over_images": result.images_interval,
            "mcnemar_p": result.mcnemar_p,
        }
        for a, b, result in pairs
    ]
    table, pair_table, options = _network_table(rows), _pair_table(pairs), _option_table(networks)
    notes = _notes(networks)
    images = {len(run.correct) for network in networks for run in network.runs.values()}
    for text in [table, options, pair_table if pairs else "", *notes]:
        if text:
            print(f"\n{text}")
    markdown = [
        "# Comparison",
        f"`{command}`",
        table,
        f"Accuracy on {' or '.join(f'{n:,}' for n in sorted(images))} test images, of each run's epoch with the "
        "best validation accuracy: mean and standard deviation over n runs that differ in their seed. MACs: "
        "multiply-adds of one image. Training time: mean a run, validation included.",
        *notes,
        *(["Where their options differ:", options] if options else []),
        "![test accuracy of each run](accuracy.png)",
        "![validation accuracy by epoch](curves.png)",
    ]
    if pairs:
        markdown += [
            "## Differences",
            pair_table,
            f"In points of test accuracy. {LEVEL:.0%} confidence intervals: over seeds by Student's t, of the seeds "
            "that both were trained with (*: not paired, Welch's t); over test images by bootstrap, for these very "
            "runs. McNemar p, for one run each: how likely so unequal a split of the images that only one of both gets "
            "right would be if they were equally good. None of these is adjusted for the number of pairs.",
        ]
    if failures:
        markdown += ["## Failed", "\n".join(f"- {name}: {reason}" for name, reason in failures.items())]
    content = {"command": command, "networks": rows, "runs": runs, "differences": differences, "failed": failures}
    try:
        (folder / "compare.md").write_text("\n\n".join(markdown) + "\n", encoding="utf-8")
        (folder / "compare.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        _write_csv(folder / "networks.csv", rows)
        _write_csv(folder / "runs.csv", runs)
        _write_csv(
            folder / "differences.csv",
            [
                {
                    **{name: value for name, value in row.items() if not name.startswith("over_")},
                    **{
                        f"{name}_{side}": interval[i] if (interval := row[name]) else None
                        for name in ("over_seeds", "over_images")
                        for i, side in enumerate(("low", "high"))
                    },
                }
                for row in differences
            ],
        )
        compare_plots.accuracy(networks).savefig(folder / "accuracy.png")
        compare_plots.curves(networks).savefig(folder / "curves.png")
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}") from error
    print(
        f"\nWritten to {os.path.relpath(folder)}: compare.md, compare.json, 3 tables as CSV, accuracy.png, curves.png"
    )
    for name, reason in failures.items():
        print(f"cifar-cnn: {name} failed: {reason}", file=sys.stderr)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        if rows:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


def _network_table(rows: list[dict[str, Any]]) -> str:
    header = ["network", "n", "test", "sd", "val", "parameters", "MACs", "epochs", "training"]
    percent = partial(_optional, form="{:.2%}".format)
    cells = [
        [
            row["name"],
            str(row["n"]),
            percent(row["test_accuracy_mean"]),
            percent(row["test_accuracy_sd"]),
            percent(row["val_accuracy_mean"]),
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:,.1f} M",
            f"{row['epochs']:g}",
            f"{row['training_seconds_mean']:,.0f} s",
        ]
        for row in rows
    ]
    return _markdown_table(header, cells, left=1)


def _option_table(networks: list[Network]) -> str:
    """The options in which runs that were given differ; configs are known by their names."""
    if not any(network.key for network in networks):
        return ""
    given = [_options(json.loads(next(iter(network.runs.values())).key)) for network in networks]
    names = sorted({name for options in given for name in options})
    rows = [[name, *(options.get(name, "-") for options in given)] for name in names]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return _markdown_table(["option", *(network.name for network in networks)], rows, left=1) if rows else ""


def _options(content: Any, name: str = "") -> dict[str, str]:
    """A config as the options of the command line that it stands for, such as ``model.optimizer.lr``."""
    if not isinstance(content, dict) or not content:
        text = json.dumps(content)
        return {name: text if len(text) <= 30 else f"{text[:27]}..."}
    found: dict[str, str] = {}
    for key, value in content.items():
        part = [] if key in ("class_path", "init_args") else [key]
        found |= _options(value, ".".join([*([name] if name else []), *part]))
    return found


def _notes(networks: list[Network]) -> list[str]:
    """What must be known to read the accuracies."""
    runs = [(network.name, run.tta) for network in networks for run in network.runs.values()]
    augmented = sorted({f"{name} ({tta})" for name, tta in runs if tta != "none"})
    notes = [f"Tested with test-time augmentation: {', '.join(augmented)}."] if augmented else []
    for network in networks:
        if changed := sorted({name for run in network.runs.values() for name in run.changed_code}):
            files = ", ".join(changed)
            notes.append(f"{network.name} was tested with code that was changed after the training: {files}.")
    unseeded = [network.name for network in networks if any(run.seed is None for run in network.runs.values())]
    if unseeded:
        notes.append(f"With runs that were not seeded (seed_everything false): {', '.join(unseeded)}.")
    if not _same_images(*networks):
        notes.append("Not all were tested on the same images; between other images, a difference says little.")
    return notes


def _pair_table(pairs: list[Pair]) -> str:
    header = ["A", "B", "B - A", f"{LEVEL:.0%} over seeds", f"{LEVEL:.0%} over images", "McNemar p"]
    cells = [
        [
            a.name,
            b.name,
            f"{100 * result.mean:+.2f}",
            _optional(result.seeds_interval, _interval) + ("" if result.paired or not result.seeds_interval else " *"),
            _optional(result.images_interval, _interval) if _same_images(a, b) else "other images",
            _optional(result.mcnemar_p, "{:.2g}".format),
        ]
        for a, b, result in pairs
    ]
    return _markdown_table(header, cells, left=2)


def _interval(interval: Interval) -> str:
    return f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}"


def _optional(value: Any, form: Any) -> str:
    return "-" if value is None else form(value)


def _markdown_table(header: list[str], rows: list[list[str]], left: int) -> str:
    """A Markdown table that is aligned as text too; the first ``left`` columns to the left, the others to the right."""
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])
