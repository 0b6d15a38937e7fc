"""The charts of reports, comparisons and measurements, in one style: as SVG for a page, or as PNG."""

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cifar_cnn.base.probability_scores import Bins

if TYPE_CHECKING:  # importing matplotlib takes several hundred milliseconds
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from cifar_cnn.base.figures import PlainFigure

# Colors in a PNG; in an SVG they become variables of the page, which has a light and a dark theme.
TEXT, MUTED, LINE = "#1b1f24", "#5f6875", "#e3e6ea"
SERIES = ("#2f6fde", "#d9730d", "#1f9d6b", "#a34fc4")
_VARIABLES = {TEXT: "text", MUTED: "muted", LINE: "line"} | {color: f"s{i}" for i, color in enumerate(SERIES, 1)}


_STYLE: Any = {
    "font.size": 9,
    "text.color": TEXT,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": TEXT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@contextmanager
def chart(
    width: float = 4.2, height: float = 2.7, panels: int = 1, ratios: Sequence[float] | None = None
) -> Iterator[tuple["PlainFigure", list["Axes"]]]:
    """Make an empty chart; everything drawn within the context gets the common style.

    Args:
        width: width in inches.
        height: height in inches.
        panels: number of axes side by side.
        ratios: relative widths of the panels; equal by default.
    """
    import matplotlib
    from cycler import cycler

    from cifar_cnn.base.figures import PlainFigure

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=SERIES)}):
        figure = PlainFigure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(1, panels, squeeze=False, width_ratios=ratios)[0]) if panels else []


def logarithmic(axes: "Axes", base: int = 10) -> None:
    """Make the horizontal axis logarithmic, with plain numbers: the figure does not draw matplotlib's powers."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_xscale("log", base=base)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def svg(figure: "PlainFigure", description: str) -> str:
    """Convert a figure to an <svg> element for a page that defines --text, --muted, --line and --s1 to --s4.

    Args:
        figure: drawn within :func:`chart`.
        description: text for screen readers.
    """
    import html

    import matplotlib

    stream = io.StringIO()
    # The salt makes ids unique when a page has several charts.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="[a-z0-9A-Z]+(?:\.[a-z]+)?_\d+"', "", text)  # unused ids of groups, such as axes_1
    box = re.search(r'viewBox="[^"]+"', text)
    assert box is not None
    label = html.escape(description, quote=True)
    head = f'<svg class="chart" {box[0]} role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    text = head + text[text.index(">") + 1 :]
    for color, name in _VARIABLES.items():
        text = text.replace(color, f"var(--{name})")
    text = re.sub(r"font: ((?:bold |italic )?)([\d.]+px)[^;\"]*", r"font: \1\2 var(--font)", text)
    return re.sub(r"\s*\n\s*", "\n", text)


def png(figure: "PlainFigure") -> bytes:
    """Convert a figure to a PNG on white. A palette of 256 colors takes a third of the bytes without visible loss."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, facecolor="white")
    palette = Image.open(stream).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, 4, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    palette.save(stream, "png", optimize=True)
    return stream.getvalue()


def picture(pixels: np.ndarray) -> str:
    """Convert pixels to a data URL for <img src>; small pictures are stored without loss.

    Args:
        pixels: uint8, (H, W), (H, W, 3), or (H, W, 4) with opacity.
    """
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    if max(image.size) < 96:
        image.save(stream, "png", optimize=True)
        kind = "png"
    else:
        image.save(stream, "webp", quality=85)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def colored(values: np.ndarray, low: float, high: float, name: str = "viridis") -> np.ndarray:
    """Map numbers to colors: uint8, with an additional last axis for RGB."""
    import matplotlib

    unit = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return (matplotlib.colormaps[name](np.nan_to_num(unit).clip(0, 1))[..., :3] * 255).round().astype(np.uint8)


def lines(
    title: str,
    xlabel: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    percent: bool = False,
    markers: bool = False,
    bottom: float | None = None,
) -> "PlainFigure":
    """Draw curves and a legend in a chart of their own; see :func:`draw_lines`."""
    with chart() as (figure, (axes,)):
        curves = draw_lines(axes, title, xlabel, series, percent, markers, bottom)
        if sum(map(len, series)) > 20:  # long names would cover the curves
            legend_below(figure, curves)
        elif curves:
            axes.legend(list(curves.values()), list(curves))
        return figure


def legend_below(figure: "PlainFigure", curves: Mapping[str, "Artist"]) -> None:
    """Add a legend below the figure and make the figure taller by its height.

    Args:
        figure: drawn within :func:`chart`.
        curves: from :func:`draw_lines`.
    """
    in_a_row = int(11 * figure.get_figwidth() / (max(map(len, curves)) + 5))  # 11 characters of a name to an inch
    columns = min(max(in_a_row, 1), len(curves))
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(curves) // columns))
    figure.legend(list(curves.values()), list(curves), loc="outside lower center", ncols=columns)


def draw_lines(
    axes: "Axes",
    title: str,
    xlabel: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    percent: bool = False,
    markers: bool = False,
    bottom: float | None = None,
) -> dict[str, "Artist"]:
    """Draw curves on axes; call it within :func:`chart`.

    Args:
        axes: axes to draw on.
        title: name of the values, with their unit.
        xlabel: label of the x axis.
        series: x and y of each curve by its name in the legend; a curve with an empty name gets no entry.
        percent: show values as percentages.
        markers: mark each point; a single point is always marked.
        bottom: lower end of the y axis.

    Returns:
        The curves by name, for a legend. matplotlib's automatic legend would leave out names that begin with _.
    """
    curves: dict[str, Artist] = {}
    dashes = ("-", "--", "-.", ":")  # distinguish curves without colors, and curves that coincide
    for index, (name, (x, y)) in enumerate(series.items()):
        marker = "o" if markers or len(x) == 1 else None
        # If there are more curves than colors, a color is used again with another dash.
        dash = dashes[(index + index // len(SERIES)) % len(dashes)]
        (curve,) = axes.plot(x, y, marker=marker, markersize=3.5, linestyle=dash)
        if name:
            curves[name] = curve
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    _scale(axes, {place for x, _ in series.values() for place in x}, percent, bottom)
    return curves


def _scale(axes: "Axes", places: set[float], percent: bool, bottom: float | None) -> None:
    """Set limits and ticks; ``places`` are all values on the x axis."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if len(places) == 1:
        axes.set_xlim(min(places) - 1, max(places) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if percent:
        axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))  # 2.5 would be shown as 2 or 3
        low, high = axes.get_ylim()
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.05 else 1))
    if bottom is not None:
        axes.set_ylim(bottom=bottom)


def reliability(bins: Bins) -> "PlainFigure":
    """Draw accuracy over confidence: one bar for each bin, fainter the fewer images the bin holds."""
    from matplotlib.ticker import PercentFormatter

    counts, accuracy, confidence = bins.counts.numpy(), bins.accuracy.numpy(), bins.confidence.numpy()
    filled = counts > 0
    width = 1 / len(counts)
    left = width * np.arange(len(counts))
    alpha = 0.3 + 0.7 * counts / counts.max()
    with chart(4.2, 3.4) as (figure, (axes,)):
        for start, height, opacity in zip(left[filled], accuracy[filled], alpha[filled], strict=True):
            axes.bar(start, height, 0.94 * width, align="edge", color=SERIES[0], alpha=opacity, linewidth=0)
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1.2, label="perfectly calibrated")
        axes.plot(confidence[filled], accuracy[filled], "o", color=SERIES[1], markersize=4, label="mean of a bin")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence: probability of the predicted class")
        axes.set_title("Accuracy")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="upper left")
        return figure
