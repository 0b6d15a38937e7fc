"""Section: loss, accuracy and learning rate over the epochs."""

import math
from pathlib import Path

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.report.material import Material, Metrics, Section
from cifar_cnn.runs.metric_rows import metric_rows, number


def content(material: Material) -> list[str] | None:
    """The charts as SVG."""
    return curves(material.metrics, material.run.sessions[0].get("learning_rate"))


SECTION = Section("curves", "Curves", "Learning curves", content)


def curves(metrics: Metrics, first_rate: float | None = None) -> list[str] | None:
    """Loss, accuracy and learning rate over the epochs, each a chart as SVG.

    Args:
        metrics: from :func:`read_metrics`.
        first_rate: learning rate of the first step.
    """
    found = []
    for title, suffix, percent in (("Loss", "loss", False), ("Accuracy", "accuracy", True)):
        series = {
            name: metrics[f"{key}/{suffix}"]
            for name, key in (("training", "train"), ("validation", "val"))
            if f"{key}/{suffix}" in metrics
        }
        if series:
            few = len(next(iter(series.values()))[0]) <= 15
            found.append(charts.svg(charts.lines(title, "epoch", series, percent, few), f"{title} over the epochs"))
    epochs, rates = metrics.get("lr", ([], []))
    if first_rate is not None and epochs and epochs[0] > 0:
        epochs, rates = [0.0, *epochs], [first_rate, *rates]
    if len(epochs) > 1:
        chart = charts.lines("Learning rate", "epoch", {"": (epochs, rates)}, bottom=0)
        found.append(charts.svg(chart, "Learning rate over the epochs"))
    return found or None


def read_metrics(path: Path) -> Metrics:
    """Read a metrics.csv: for each column the epochs, counted from 1 with fractions within an epoch, and the values.

    Values that are not finite are left out.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    rows = [row for row in metric_rows(path) if "epoch" in row and "step" in row]
    places = [(int(float(row["epoch"])), int(float(row["step"]))) for row in rows]
    ends = [(step + 1) / (epoch + 1) for (epoch, step), row in zip(places, rows, strict=True) if "epoch_seconds" in row]
    steps_an_epoch = ends[-1] if ends else None
    metrics: Metrics = {}
    for (epoch, step), row in zip(places, rows, strict=True):
        for name, value in row.items():
            if name in ("epoch", "step") or not math.isfinite(number(value)):
                continue
            within = name == "lr" or name.endswith("_step")
            if within and steps_an_epoch is None:
                continue
            # A rate logged at a step was used in that step; one logged at the end of an epoch belongs to the next step.
            done = step + (name != "lr" or "epoch_seconds" in row)
            x = done / steps_an_epoch if within and steps_an_epoch else epoch + 1
            xs, ys = metrics.setdefault(name, ([], []))
            xs.append(x)
            ys.append(number(value))
    return metrics
