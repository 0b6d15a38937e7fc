"""The plots of ``cifar-cnn compare``."""

import matplotlib
import numpy as np
from matplotlib.ticker import LogFormatter, MaxNLocator, PercentFormatter

from cifar_cnn.analysis.compare.networks import Network
from cifar_cnn.figures import PlainFigure


def _colours(n: int) -> list:
    return [matplotlib.colormaps["tab10" if n <= 10 else "tab20"](i % 20) for i in range(n)]


def _several(networks: list[Network]) -> bool:
    """Whether there is a mean to speak of."""
    return any(len(network.runs) > 1 for network in networks)


def accuracy(networks: list[Network]) -> PlainFigure:
    """Test accuracy of each run, the mean of each network, and the accuracy against its multiply-adds."""
    figure = PlainFigure(figsize=(11, 1.6 + 0.4 * max(len(networks), 4)), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2], sharex=False)
    for row, (network, colour) in enumerate(zip(networks, _colours(len(networks)), strict=True)):
        values = network.accuracies()
        left.plot(values, [row] * len(values), "o", color=colour, alpha=0.6, markeredgewidth=0)
        if len(values) > 1:
            left.plot(np.mean(values), row, "|", color="black", markersize=16, markeredgewidth=2)
        deviation = np.std(values, ddof=1) if len(values) > 1 else 0
        right.errorbar(network.macs / 1e6, np.mean(values), deviation, fmt="o", color=colour, capsize=3)
    left.set_yticks(range(len(networks)), [network.name for network in networks])
    left.set_ylim(len(networks) - 0.5, -0.5)
    several = _several(networks)
    left.set_xlabel("test accuracy; a dot a run, a bar the mean" if several else "test accuracy")
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.grid(axis="x", alpha=0.3)
    if any(network.macs for network in networks):  # a logarithm needs a value above 0
        right.set_xscale("log")
    for axis in ("major", "minor"):  # 3, not 3x10^0
        getattr(right.xaxis, f"set_{axis}_formatter")(LogFormatter(minor_thresholds=(1.5, 0.5)))
    right.margins(x=0.1, y=0.1)
    right.set_xlabel("multiply-adds of one image, millions\n(colours as on the left)")
    right.set_ylabel("test accuracy,\nmean and standard deviation" if several else "test accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.grid(alpha=0.3)
    return figure


def curves(networks: list[Network]) -> PlainFigure:
    """Validation accuracy by epoch: the mean of the runs as a line, from the lowest to the highest as a band."""
    figure = PlainFigure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    lines = {}
    for network, colour in zip(networks, _colours(len(networks)), strict=True):
        runs = [run.val_accuracy for run in network.runs.values()]
        length = min(map(len, runs))
        values = np.array([run[:length] for run in runs])
        if not np.isfinite(values).any():
            continue
        epochs = np.arange(1, length + 1)
        (lines[network.name],) = axes.plot(epochs, values.mean(0), "-o", color=colour, markersize=3)
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
        axes.vlines(epochs, values.min(0), values.max(0), color=colour, alpha=0.3)  # of a single epoch all there is
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    several = _several(networks)
    axes.set_xlabel(
        "epoch\n(line: mean of a network's runs; band: from the lowest to the highest)" if several else "epoch"
    )
    axes.set_ylabel("validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(list(lines.values()), list(lines), fontsize=8, loc="lower right")
    return figure
