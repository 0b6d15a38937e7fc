"""The tables of a comparison, and the notes needed to read them."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from cifar_cnn.analysis.compare.networks import Network, Pair, same_images
from cifar_cnn.analysis.statistics import LEVEL, Interval
from cifar_cnn.base.tables import markdown_table


def network_table(rows: list[dict[str, Any]]) -> str:
    """One row for each network, from :meth:`Network.summary`, and for the ensemble."""
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
            _optional(row["epochs"], "{:g}".format),
            f"{row['training_seconds_mean']:,.0f} s",
        ]
        for row in rows
    ]
    return markdown_table([header, *cells], left=range(1))


def about_networks(networks: list[Network]) -> str:
    """Explain the columns of the table of networks."""
    images = sorted({len(run.correct) for network in networks for run in network.runs.values()})
    return (
        f"Accuracy on {' or '.join(f'{n:,}' for n in images)} test images at the epoch with the best validation "
        "accuracy: mean and standard deviation over n runs with different seeds. MACs: multiply-adds for one image. "
        "Training time: mean per run, including validation."
    )


def option_table(networks: list[Network]) -> str:
    """The options in which given runs differ as a table; empty if there are none."""
    rows = option_rows(networks)
    return markdown_table(rows, left=range(1)) if rows else ""


def option_rows(networks: list[Network]) -> list[list[str]]:
    """The options in which given runs differ, with a header; empty for configs, whose names identify them."""
    if not any(network.key for network in networks):
        return []
    given = [_options(json.loads(network.first.key)) for network in networks]
    names = sorted({name for options in given for name in options})
    rows = [[name, *(options.get(name, "-") for options in given)] for name in names]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return [["option", *(network.name for network in networks)], *rows] if rows else []


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


def pair_table(pairs: list[Pair], adjusted: list[float | None], margin: float) -> str:
    """One row for each pair of networks.

    Args:
        pairs: the pairs with their differences.
        adjusted: the p value of each pair, adjusted for the number of pairs.
        margin: the margin of equivalence, from 0 to 1.
    """
    return markdown_table([pair_header(margin), *pair_rows(pairs, adjusted)], left=range(2))


def pair_header(margin: float) -> list[str]:
    """The header of the table of pairs."""
    level = f"{LEVEL:.0%} over"
    return ["A", "B", "B - A", f"{level} seeds", f"{level} images", "p", "Holm p", f"equivalent ({100 * margin:g})"]


def pair_rows(pairs: list[Pair], adjusted: list[float | None]) -> list[list[str]]:
    """The cells of the table of pairs."""
    return [
        [
            a.name,
            b.name,
            f"{100 * result.mean:+.2f}",
            _optional(result.seeds_interval, _interval) + ("" if result.paired or not result.seeds_interval else " *"),
            _optional(result.images_interval, _interval) if same_images(a, b) else "different images",
            _optional(result.p, "{:.2g}".format) + (" m" if result.p is not None and result.seeds_p is None else ""),
            _optional(holm, "{:.2g}".format),
            _optional(result.equivalence_p, _equivalence),
        ]
        for (a, b, result), holm in zip(pairs, adjusted, strict=True)
    ]


def how_to_read(margin: float) -> list[str]:
    """Explain the table of pairs, with one paragraph for each kind of column."""
    alpha = 1 - LEVEL
    return [
        f"Differences are in percentage points of test accuracy. {LEVEL:.0%} confidence intervals: over seeds by "
        "Student's t, for the seeds that both networks were trained with (*: unpaired, Welch's t); over test images by "
        "bootstrap, for these particular runs.",
        "p: if both networks were equally good, the probability of a difference at least this large, by the t test "
        "over seeds. For one run each (m), by McNemar's exact test: the probability that the images that only one of "
        "them classifies correctly are split at least this unequally.",
        "Holm p: p adjusted for the number of pairs. The more pairs there are, the more likely one of them has a small "
        f"p by chance. If every pair with a Holm p below {alpha:.2g} is called different, the probability that any of "
        f"these statements is wrong is at most {alpha:.0%}. The intervals are not adjusted.",
        f"Equivalent: whether the difference is shown to be smaller than {100 * margin:g} points, by two one-sided t "
        f"tests over seeds (TOST; in brackets their p, which must be below {alpha:.2g}). A large p alone does not show "
        "that two networks are equally good: with few runs, neither a difference nor equivalence may be shown.",
    ]


def _equivalence(p: float) -> str:
    return f"{'yes' if p < 1 - LEVEL else 'not shown'} ({p:.2g})"


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
