"""The plots of a comparison."""

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.ticker import LogFormatter, MaxNLocator, PercentFormatter

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.compare.networks import Network
from cifar_cnn.base.figures import PlainFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy(networks: list[Network]) -> PlainFigure:
    """Draw the test accuracy of each run and the mean of each network, and the accuracy over the multiply-adds."""
    with charts.chart(11, 1.6 + 0.4 * max(len(networks), 4), panels=2, ratios=(3, 2)) as (figure, (left, right)):
        for row, (network, color) in enumerate(zip(networks, _colors(len(networks)), strict=True)):
            values = network.accuracies()
            left.plot(values, [row] * len(values), "o", color=color, alpha=0.6, markeredgewidth=0)
            if len(values) > 1:
                left.plot(np.mean(values), row, "|", color="black", markersize=16, markeredgewidth=2)
            deviation = np.std(values, ddof=1) if len(values) > 1 else 0
            right.errorbar(network.macs / 1e6, np.mean(values), deviation, fmt="o", color=color, capsize=3)
        left.set_yticks(range(len(networks)), [network.name for network in networks])
        left.set_ylim(len(networks) - 0.5, -0.5)
        left.grid(visible=False, axis="y")
        several = _several(networks)
        left.set_xlabel("test accuracy (dot: one run, bar: mean)" if several else "test accuracy")
        left.xaxis.set_major_formatter(PercentFormatter(1))
        if any(network.macs for network in networks):  # a logarithmic axis needs a value above 0
            right.set_xscale("log")
        for axis in ("major", "minor"):  # 3 rather than 3x10^0
            getattr(right.xaxis, f"set_{axis}_formatter")(LogFormatter(minor_thresholds=(1.5, 0.5)))
        right.margins(x=0.1, y=0.1)
        right.set_xlabel("multiply-adds per image, millions\n(colors as on the left)")
        right.set_ylabel("test accuracy,\nmean and standard deviation" if several else "test accuracy")
        right.yaxis.set_major_formatter(PercentFormatter(1))
        return figure


def curves(networks: list[Network]) -> PlainFigure:
    """Draw the validation accuracy over the epochs: the mean of the runs as a line, their range as a band."""
    with charts.chart(9, 5) as (figure, (axes,)):
        lines: dict[str, Any] = {}
        for network, color in zip(networks, _colors(len(networks)), strict=True):
            runs = [run.val_accuracy for run in network.runs.values()]
            length = min(map(len, runs))
            values = np.array([run[:length] for run in runs])
            if np.isfinite(values).any():
                lines[network.name] = _draw_range(axes, values, color)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch\n(line: mean of the runs, band: their range)" if _several(networks) else "epoch")
        axes.set_ylabel("validation accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        if lines:
            axes.legend(list(lines.values()), list(lines), loc="lower right")
        return figure


def _draw_range(axes: "Axes", values: np.ndarray, color: Any) -> Any:
    """Draw mean and range of values, (runs, epochs); returns the line."""
    epochs = np.arange(1, values.shape[1] + 1)
    low, high = values.min(0), values.max(0)
    (line,) = axes.plot(epochs, values.mean(0), "-o", color=color, markersize=3)
    axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
    axes.vlines(epochs, low, high, color=color, alpha=0.3)  # the band of a single epoch has no width
    return line


def _colors(n: int) -> list[Any]:
    return [matplotlib.colormaps["tab10" if n <= 10 else "tab20"](i % 20) for i in range(n)]


def _several(networks: list[Network]) -> bool:
    """Whether a network has more than one run, and so a mean."""
    return any(len(network.runs) > 1 for network in networks)
