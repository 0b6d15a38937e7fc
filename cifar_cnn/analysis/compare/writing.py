"""Print a comparison and write its files: page, Markdown, JSON, CSV and plots."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.compare.compared import Compared
from cifar_cnn.analysis.compare.networks import Network
from cifar_cnn.analysis.compare.page import page
from cifar_cnn.analysis.compare.tables import about_networks, how_to_read, network_table, option_table, pair_table
from cifar_cnn.base.files import write, writing_into
from cifar_cnn.base.paths import relative

Rows = list[dict[str, Any]]


def print_and_write(folder: Path, compared: Compared) -> None:
    """Print the tables and write all files; each file is replaced atomically.

    Raises:
        InputError: the folder cannot be written.
    """
    for text in compared.texts:
        print(f"\n{text}")
    with writing_into(folder):
        _write(folder, compared)
    names = "compare.html, compare.md, compare.json, 3 tables as CSV, accuracy.png, curves.png"
    print(f"\nWritten to {relative(folder)}: {names}")


def _write(folder: Path, compared: Compared) -> None:
    from cifar_cnn.analysis.compare import plots  # imports matplotlib

    networks = compared.networks
    content: dict[str, Any] = {
        "command": compared.command,
        "networks": compared.rows,
        "runs": _run_rows(networks),
        "differences": _difference_rows(compared),
        "failed": compared.failures,
    }
    write(folder / "compare.md", _markdown(compared))
    write(folder / "compare.json", json.dumps(content, indent=1) + "\n")
    write(folder / "networks.csv", _as_csv(content["networks"]))
    write(folder / "runs.csv", _as_csv(content["runs"]))
    write(folder / "differences.csv", _as_csv([_flat(row) for row in content["differences"]]))
    write(folder / "accuracy.png", charts.png(plots.accuracy(networks)))
    write(folder / "curves.png", charts.png(plots.curves(networks)))
    write(folder / "compare.html", page(compared))


def _run_rows(networks: list[Network]) -> Rows:
    return [
        {
            "name": network.name,
            "seed": run.seed,
            "folder": relative(run.folder),
            "test_accuracy": run.test_accuracy,
            "val_accuracy": run.best_validation,
            "training_seconds": run.seconds,
        }
        for network in networks
        for run in network.runs.values()
    ]


def _difference_rows(compared: Compared) -> Rows:
    return [
        {
            "a": a.name,
            "b": b.name,
            "b_minus_a": result.mean,
            "over_seeds": result.seeds_interval,
            "paired": result.paired,
            "over_images": result.images_interval,
            "mcnemar_p": result.mcnemar_p,
            "seeds_p": result.seeds_p,
            "holm_p": holm_p,
            "equivalence_margin": compared.margin,
            "equivalence_p": result.equivalence_p,
        }
        for (a, b, result), holm_p in zip(compared.pairs, compared.holm_p, strict=True)
    ]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of differences with a column for each end of its intervals."""
    flat = {name: value for name, value in row.items() if not name.startswith("over_")}
    for name in ("over_seeds", "over_images"):
        for side, end in zip(("low", "high"), row[name] or (None, None), strict=True):
            flat[f"{name}_{side}"] = end
    return flat


def _as_csv(rows: Rows) -> bytes:
    if not rows:
        return b""
    stream = io.StringIO(newline="")
    table = csv.DictWriter(stream, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return stream.getvalue().encode()


def _markdown(compared: Compared) -> str:
    networks = compared.networks
    options = option_table(networks)
    parts = [
        "# Comparison",
        *([f"`{compared.command}`"] if compared.command else []),
        network_table(compared.rows),
        about_networks(networks),
        *compared.notes,
        *(["Options that differ:", options] if options else []),
        "![test accuracy of each run](accuracy.png)",
        "![validation accuracy by epoch](curves.png)",
    ]
    if compared.pairs:
        parts += [
            "## Differences",
            pair_table(compared.pairs, compared.holm_p, compared.margin),
            *how_to_read(compared.margin),
        ]
    if compared.failures:
        parts += ["## Failed", "\n".join(f"- {name}: {reason}" for name, reason in compared.failures.items())]
    return "\n\n".join(parts) + "\n"
