"""The tables of a comparison, and the notes needed to read them."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from cifar_cnn.analysis.compare.networks import Network, Pair, same_images
from cifar_cnn.analysis.statistics import LEVEL, Interval
from cifar_cnn.base.tables import markdown_table


def network_table(networks: list[Network]) -> str:
    """One row for each network."""
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
        for row in (network.summary() for network in networks)
    ]
    return markdown_table([header, *cells], left=range(1))


def option_table(networks: list[Network]) -> str:
    """The options in which given runs differ; empty for configs, whose names identify them."""
    if not any(network.key for network in networks):
        return ""
    given = [_options(json.loads(network.first.key)) for network in networks]
    names = sorted({name for options in given for name in options})
    rows = [[name, *(options.get(name, "-") for options in given)] for name in names]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    header = ["option", *(network.name for network in networks)]
    return markdown_table([header, *rows], left=range(1)) if rows else ""


def _options(content: Any, name: str = "") -> dict[str, str]:
    """Convert a config to the equivalent options of the command line, such as ``model.optimizer.lr``."""
    if not isinstance(content, dict) or not content:
        text = json.dumps(content)
        return {name: text if len(text) <= 30 else f"{text[:27]}..."}
    found: dict[str, str] = {}
    for key, value in content.items():
        part = [] if key in ("class_path", "init_args") else [key]
        found |= _options(value, ".".join([*([name] if name else []), *part]))
    return found


def pair_table(pairs: list[Pair]) -> str:
    """One row for each pair of networks."""
    header = ["A", "B", "B - A", f"{LEVEL:.0%} over seeds", f"{LEVEL:.0%} over images", "McNemar p"]
    cells = [
        [
            a.name,
            b.name,
            f"{100 * result.mean:+.2f}",
            _optional(result.seeds_interval, _interval) + ("" if result.paired or not result.seeds_interval else " *"),
            _optional(result.images_interval, _interval) if same_images(a, b) else "different images",
            _optional(result.mcnemar_p, "{:.2g}".format),
        ]
        for a, b, result in pairs
    ]
    return markdown_table([header, *cells], left=range(2))


def _interval(interval: Interval) -> str:
    return f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}"


def _optional(value: Any, form: Callable[[Any], str]) -> str:
    return "-" if value is None else form(value)


def notes(networks: list[Network]) -> list[str]:
    """Sentences about unusual conditions under which accuracies were measured."""
    runs = [(network.name, run.tta) for network in networks for run in network.runs.values()]
    augmented = sorted({f"{name} ({tta})" for name, tta in runs if tta != "none"})
    notes = [f"Tested with test-time augmentation: {', '.join(augmented)}."] if augmented else []
    for network in networks:
        if changed := sorted({name for run in network.runs.values() for name in run.changed_code}):
            files = ", ".join(changed)
            notes.append(f"{network.name} was tested with code that was changed after the training: {files}.")
    folded = [network.name for network in networks if len({run.fold for run in network.runs.values()}) > 1]
    if folded:
        notes.append(
            f"Cross-validation: the runs of {', '.join(folded)} differ in their fold. The column val is the mean over "
            "the folds; sd and the interval over seeds cover the choice of training images too."
        )
    unseeded = [network.name for network in networks if any(run.seed is None for run in network.runs.values())]
    if unseeded:
        notes.append(f"Some runs were not seeded (seed_everything false): {', '.join(unseeded)}.")
    if not same_images(*networks):
        notes.append("Some networks were tested on different images; differences between them are hardly meaningful.")
    return notes
