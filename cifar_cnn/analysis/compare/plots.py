"""The plots of a comparison."""

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.ticker import EngFormatter, LogFormatter, LogLocator, MaxNLocator, PercentFormatter

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
        with_means = several(networks)
        left.set_xlabel("test accuracy (dot: one run, bar: mean)" if with_means else "test accuracy")
        left.xaxis.set_major_formatter(PercentFormatter(1))
        if any(network.macs for network in networks):  # a logarithmic axis needs a value above 0
            right.set_xscale("log")
        for axis in ("major", "minor"):  # 3 rather than 3x10^0
            getattr(right.xaxis, f"set_{axis}_formatter")(LogFormatter(minor_thresholds=(1.5, 0.5)))
        right.margins(x=0.1, y=0.1)
        right.set_xlabel("multiply-adds per image, millions\n(colors as on the left)")
        right.set_ylabel("test accuracy,\nmean and standard deviation" if with_means else "test accuracy")
        right.yaxis.set_major_formatter(PercentFormatter(1))
        return figure


def curves(networks: list[Network]) -> PlainFigure:
    """Draw the validation accuracy over the epochs: each run, their mean as a thick line, their range as a band."""
    with charts.chart(9, 5) as (figure, (axes,)):
        lines: dict[str, Any] = {}
        for network, color in zip(networks, _colors(len(networks)), strict=True):
            runs = [run.val_accuracy for run in network.runs.values()]
            length = min(map(len, runs))
            values = np.array([run[:length] for run in runs])
            if np.isfinite(values).any():
                for run in runs if len(runs) > 1 else []:
                    axes.plot(range(1, len(run) + 1), run, color=color, alpha=0.45, linewidth=0.7)
                lines[network.name] = _draw_range(axes, values, color)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bands = "epoch\n(thick line: mean of the runs, band: lowest to highest run, thin lines: runs)"
        axes.set_xlabel(bands if several(networks) else "epoch")
        axes.set_ylabel("validation accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        if lines:
            axes.legend(list(lines.values()), list(lines), loc="lower right")
        return figure


def costs(networks: list[Network]) -> list[tuple[PlainFigure, str]]:
    """Draw the test accuracy over the parameters, the multiply-adds and the training time, each with a description."""
    values = {
        "parameters": [network.parameters for network in networks],
        "multiply-adds per image": [network.macs for network in networks],
        "training time, seconds": [network.summary()["training_seconds_mean"] for network in networks],
    }
    return [(_scatter(networks, name, x), f"Test accuracy over {name}") for name, x in values.items()]


def _scatter(networks: list[Network], name: str, x: list[float]) -> PlainFigure:
    """Draw the mean accuracy of each network, with its lowest and highest run, over a cost."""
    with charts.chart(4.2, 3.0) as (figure, (axes,)):
        for network, color, place in zip(networks, _colors(len(networks)), x, strict=True):
            values = network.accuracies()
            mean = float(np.mean(values))
            reach = [[mean - min(values)], [max(values) - mean]]
            axes.errorbar(place, mean, reach, fmt="o", color=color, capsize=3)
        if all(x):  # a logarithmic axis has no 0
            axes.set_xscale("log")
            for axis in ("major", "minor"):
                getattr(axes.xaxis, f"set_{axis}_formatter")(EngFormatter(sep=""))
            axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.margins(x=0.15, y=0.15)
        axes.set_title("Test accuracy")
        axes.set_xlabel(name)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        return figure


def _draw_range(axes: "Axes", values: np.ndarray, color: Any) -> Any:
    """Draw mean and range of values, (runs, epochs); returns the line."""
    epochs = np.arange(1, values.shape[1] + 1)
    low, high = values.min(0), values.max(0)
    (line,) = axes.plot(epochs, values.mean(0), "-o", color=color, markersize=3)
    axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
    axes.vlines(epochs, low, high, color=color, alpha=0.3)  # the band of a single epoch has no width
    return line


def hex_color(index: int, n: int) -> str:
    """The color of a network among ``n`` networks, for a page."""
    from matplotlib.colors import to_hex

    return to_hex(_colors(n)[index])


def _colors(n: int) -> list[Any]:
    return [matplotlib.colormaps["tab10" if n <= 10 else "tab20"](i % 20) for i in range(n)]


def several(networks: list[Network]) -> bool:
    """Whether any network has more than one run, and therefore a mean."""
    return any(len(network.runs) > 1 for network in networks)
