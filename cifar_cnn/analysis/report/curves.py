"""Section: loss, accuracy and learning rate over the epochs."""

from pathlib import Path

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.report.material import Material, Metrics, Section
from cifar_cnn.runs.metric_rows import metric_rows


def content(material: Material) -> list[str] | None:
    """The charts as SVG."""
    return curves(material.metrics, material.run.begun.get("learning_rate"))


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

    Raises:
        InputError: there is no such file.
    """
    rows = [row for row in metric_rows(path) if row.get("epoch") and row.get("step")]
    ends = [(int(row["step"]) + 1) / (int(row["epoch"]) + 1) for row in rows if row.get("epoch_seconds")]
    steps_an_epoch = ends[-1] if ends else None
    metrics: Metrics = {}
    for row in rows:
        for name, value in row.items():
            if name in ("epoch", "step") or not value:
                continue
            within = name == "lr" or name.endswith("_step")
            if within and steps_an_epoch is None:
                continue
            # A rate logged at a step was used in that step; one logged at the end of an epoch belongs to the next step.
            done = int(row["step"]) + (name != "lr" or bool(row.get("epoch_seconds")))
            x = done / steps_an_epoch if within and steps_an_epoch else int(row["epoch"]) + 1
            xs, ys = metrics.setdefault(name, ([], []))
            xs.append(x)
            ys.append(float(value))
    return metrics
