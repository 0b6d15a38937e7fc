"""The charts of the measurements."""

from typing import TYPE_CHECKING, Any

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.explain.equivariance import Equivariance, example_pictures
from cifar_cnn.analysis.explain.invariance import POOLINGS, Invariance
from cifar_cnn.analysis.explain.shifts import shift
from cifar_cnn.base.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cifar_cnn.base.figures import PlainFigure

Curves = dict[str, tuple[range, list[float]]]

FEATURES = "Change of the pooled features"
UNIT = "1 = change to an unrelated image"
SHIFT = "shift in pixels"
_SMALL: Any = {"fontsize": 8.5, "fontweight": "normal", "loc": "center"}  # titles of pictures


def feature_chart(curves: dict[str, Invariance]) -> "PlainFigure":
    """Draw :func:`feature_curves`."""
    figure = charts.lines(FEATURES, SHIFT, feature_curves(curves), False, True, 0)
    figure.axes[0].set_ylabel(UNIT)
    return figure


def prediction_chart(curves: dict[str, Invariance]) -> "PlainFigure":
    """Draw :func:`prediction_curves`."""
    return charts.lines("Predictions", SHIFT, prediction_curves(curves), True, True, 0)


def side_by_side_chart(curves: dict[str, Invariance]) -> "PlainFigure":
    """Draw features and predictions over the shift, one line for each network."""
    with charts.chart(8.4, 3.3, panels=2) as (figure, (left, right)):
        names = charts.draw_lines(left, FEATURES, SHIFT, feature_curves(curves), markers=True, bottom=0)
        left.set_ylabel(UNIT)
        title = "Same predicted class as unshifted"
        charts.draw_lines(right, title, SHIFT, prediction_curves(curves), percent=True, markers=True, bottom=0)
        charts.legend_below(figure, names)
        return figure


def feature_curves(curves: dict[str, Invariance]) -> Curves:
    """The change of the features over the shift: by pooling for one network, by each network's own head for several.

    Args:
        curves: the measurements by the name of the run.
    """
    if len(curves) == 1:
        (only,) = curves.values()
        series = {label: only.features[name] for name, label in POOLINGS.items()}
    else:
        series = {name: each.features["head"] for name, each in curves.items()}
    return {name: (range(len(values)), values) for name, values in series.items()}


def prediction_curves(curves: dict[str, Invariance]) -> Curves:
    """The fraction of unchanged predictions over the shift, and for a single network its accuracy."""
    if len(curves) == 1:
        (only,) = curves.values()
        series = {"same as unshifted": only.same_class, "accuracy": only.accuracy}
    else:
        series = {name: each.same_class for name, each in curves.items()}
    return {name: (range(len(values)), values) for name, values in series.items()}


def equivariance_chart(equivariance: Equivariance, pixels: tuple[int, ...] = (3, 4)) -> "PlainFigure":
    """Draw shifted maps, maps of the shifted image and their difference: one row per layer, one block per shift."""
    pixels = tuple(shift for shift in pixels if shift < len(equivariance.errors[0]))
    rows = len(equivariance.layers)
    with charts.chart(0.9 + 4.1 * len(pixels), 0.75 + 1.42 * (rows + 1), panels=0) as (figure, _):
        blocks = figure.subfigures(1, len(pixels), squeeze=False)[0]
        for index, (block, by) in enumerate(zip(blocks, pixels, strict=True)):
            block.suptitle(f"shifted by {by} pixels", fontsize=10, fontweight="bold")
            grid = block.subplots(rows + 1, 3, squeeze=False)
            for axes in grid.flat:
                # The color of the axes shows through in columns that nothing was shifted into.
                axes.set(xticks=[], yticks=[], facecolor=charts.LINE)
                axes.grid(False)
                axes.spines[:].set_visible(False)
            _draw_images(grid[0], equivariance, by)
            _draw_maps(grid[1:], equivariance, by, named=index == 0)
        return figure


def _draw_images(row: "list[Axes]", equivariance: Equivariance, by: int) -> None:
    moved = shift(equivariance.example[None], by, (0, 1))[0]
    for axes, image, title in zip(row, (equivariance.example, moved), ("image", "shifted image"), strict=False):
        axes.imshow(visible(image).permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(title, **_SMALL)
    row[2].set_visible(False)


def _draw_maps(grid: "list[list[Axes]]", equivariance: Equivariance, by: int, named: bool) -> None:
    """Draw one row for each layer, with its name if ``named``."""
    measured = zip(grid, equivariance.layers, equivariance.examples, equivariance.errors, strict=True)
    for row, layer, examples, errors in measured:
        for axes, picture in zip(row, example_pictures(*examples[by]), strict=True):
            axes.imshow(picture, interpolation="nearest")
        row[2].set_xlabel(f"error {errors[by]:.1%}", fontsize=8.5, color=charts.TEXT)
        if named:
            name = layer.name if len(layer.name) <= 22 else f"…{layer.name[-21:]}"  # fits into the height of a row
            row[0].set_ylabel(f"{name}\n{layer.kind}, stride {layer.field.stride}", fontsize=8)
    for axes, title in zip(grid[0], ("shifted map", "map of shifted image", "difference"), strict=True):
        axes.set_title(title, **_SMALL)
