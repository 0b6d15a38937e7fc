"""The page of a comparison, compare.html: self-contained, in the style of a run's report."""

import json
from typing import Any

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.compare import tables
from cifar_cnn.analysis.compare.compared import Compared
from cifar_cnn.analysis.compare.disagreements import disagreements
from cifar_cnn.analysis.numbers import count, duration
from cifar_cnn.analysis.pages import render
from cifar_cnn.analysis.shown import or_reason


def page(compared: Compared) -> str:
    """The page as HTML."""
    return render("compare.html.j2", content(compared))


def content(compared: Compared) -> dict[str, Any]:
    """The variables of the template; a section that fails is left out, and ``missing`` contains the reason."""
    from cifar_cnn.analysis.compare import plots  # imports matplotlib

    missing: list[str] = []
    networks = compared.networks
    colors = [plots.hex_color(index, len(networks)) for index in range(len(networks))]
    curves = or_reason("Curves", lambda: charts.svg(plots.curves(networks), "Validation accuracy by epoch"), missing)
    costs = or_reason("Costs", lambda: [charts.svg(*each) for each in plots.costs(networks)], missing)
    return {
        "command": compared.command,
        "tiles": _tiles(compared),
        "rows": [_row(row, color) for row, color in zip(compared.rows, [*colors, ""], strict=False)],
        "about": tables.about_networks(networks),
        "notes": compared.notes,
        "options": tables.option_rows(networks),
        "several": plots.several(networks),
        "curves": curves,
        "costs": costs,
        "header": tables.pair_header(compared.margin),
        "pairs": _pair_rows(compared),
        "how_to_read": tables.how_to_read(compared.margin),
        "differ": or_reason("Where predictions differ", lambda: disagreements(compared.pairs), missing),
        "failures": compared.failures,
        "missing": missing,
    }


def _tiles(compared: Compared) -> list[dict[str, str]]:
    best = max(compared.rows, key=lambda row: row["test_accuracy_mean"])
    runs = [run for network in compared.networks for run in network.runs.values()]
    images = sorted({len(run.correct) for run in runs})
    return [
        {"name": "best mean test accuracy", "value": f"{best['test_accuracy_mean']:.2%}", "note": best["name"]},
        {"name": "networks", "value": str(len(compared.networks)), "note": f"{len(runs)} runs"},
        {"name": "test images", "value": " or ".join(f"{n:,}" for n in images), "note": "never used for selection"},
        {"name": "training time", "value": duration(sum(run.seconds for run in runs)), "note": "of all runs together"},
    ]


def _row(row: dict[str, Any], color: str) -> dict[str, Any]:
    """The cells of a row, each with its text and the value by which the column is sorted."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.2%}"

    texts = {
        "n": str(row["n"]),
        "test_accuracy_mean": percent(row["test_accuracy_mean"]),
        "test_accuracy_sd": percent(row["test_accuracy_sd"]),
        "val_accuracy_mean": percent(row["val_accuracy_mean"]),
        "parameters": count(row["parameters"]),
        "macs": count(row["macs"]),
        "epochs": "-" if row["epochs"] is None else f"{row['epochs']:g}",
        "training_seconds_mean": duration(row["training_seconds_mean"]),
    }
    cells = [{"text": text, "value": json.dumps(row[name])} for name, text in texts.items()]
    return {"name": row["name"], "color": color, "cells": cells}


def _pair_rows(compared: Compared) -> list[list[dict[str, str]]]:
    """The cells of the table of pairs."""
    found = []
    rows = tables.pair_rows(compared.pairs, compared.holm_p)
    for (_, _, result), holm_p, texts in zip(compared.pairs, compared.holm_p, rows, strict=True):
        low = (
            None if interval is None else interval[0] for interval in (result.seeds_interval, result.images_interval)
        )
        values = [None, None, result.mean, *low, result.p, holm_p, result.equivalence_p]
        cells = zip(texts, values, strict=True)
        found.append([{"text": text, "value": "" if value is None else json.dumps(value)} for text, value in cells])
    return found
