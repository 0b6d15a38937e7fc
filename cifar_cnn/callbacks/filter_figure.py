"""Draw the filters of a convolution: as RGB pictures for three input channels, else one tile per filter and channel."""

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:  # importing matplotlib takes several hundred milliseconds
    from matplotlib.axes import Axes

    from cifar_cnn.base.figures import PlainFigure

TITLE_SIZE = 10  # points
TEXT_SIZE = 8  # points
COLORS = "coolwarm"  # negative weights blue, positive ones red


def draw_filters(weight: Tensor, title: str, max_filters: int = 8) -> "PlainFigure":
    """Draw the first filters of a convolution.

    Filters over 3 input channels are drawn as RGB pictures. Gray is 0, and each filter is scaled by its own largest
    weight, because some filters of a trained first layer are ten times weaker than others and would look plain gray.
    All other filters are drawn with one tile per filter and input channel (a 1 × 1 convolution becomes a matrix), one
    color for each sign and a common scale, so that filters can be compared. Weights that are not finite are black.

    Args:
        weight: (filters, input channels, height, width), of any floating type and on any device.
        title: text above the figure; long lines are wrapped.
        max_filters: maximum number of filters, and of input channels of each filter.

    Returns:
        A figure that pyplot does not manage, so it need not be closed.
    """
    filters = _chosen(weight, max_filters)
    mosaic = _mosaic(filters)
    figure, axes = _figure_of(mosaic, filters, title)
    if filters.as_matrix:
        _label_matrix(axes, filters, mosaic)
    else:
        _label_tiles(axes, filters, mosaic)
    if not filters.as_rgb:
        _add_color_bar(figure, axes, filters)
    return figure


@dataclass(frozen=True)
class _Filters:
    """The weights that are drawn.

    Attributes:
        layer_shape: shape of the layer's weight: (filters, input channels, height, width).
        weights: the drawn weights, in the same layout; values that are not finite are replaced by 0.
        finite: which of the drawn weights are finite.
    """

    layer_shape: tuple[int, ...]
    weights: np.ndarray
    finite: np.ndarray

    @property
    def as_rgb(self) -> bool:
        """Whether each filter is an RGB picture."""
        _, channels, height, width = self.layer_shape
        return channels == 3 and height * width > 1

    @property
    def as_matrix(self) -> bool:
        """Whether filters are rows and input channels columns of a matrix of tiles."""
        return not self.as_rgb and self.layer_shape[1] > 1

    @property
    def largest(self) -> np.ndarray:
        """The largest absolute weight of each filter."""
        return np.abs(self.weights).max(axis=(1, 2, 3))

    @property
    def scale(self) -> np.ndarray:
        """The weight that gets the full color: one per filter for RGB, else one for all filters.

        The common scale ends at three times the root mean square, because a few outliers would leave all other weights
        pale.
        """
        scale = self.largest if self.as_rgb else min(self.largest.max(), 3 * np.sqrt(np.mean(self.weights**2)))
        return np.where(scale > 0, scale, 1.0)

    @property
    def amount(self) -> str:
        """Which of the layer's filters are drawn."""
        n = len(self.weights)
        return "all filters" if n == self.layer_shape[0] else f"first {n} of {self.layer_shape[0]} filters"

    @property
    def remark(self) -> str:
        """An additional line of the caption if there are black weights."""
        return "" if self.finite.all() else "\nblack: not finite"


def _chosen(weight: Tensor, max_filters: int) -> _Filters:
    whole = _Filters(tuple(weight.shape), np.empty(0), np.empty(0))
    weights = weight[:max_filters, : 3 if whole.as_rgb else max_filters].detach().cpu().double().numpy()
    finite = np.isfinite(weights)
    return _Filters(tuple(weight.shape), np.where(finite, weights, 0), finite)


def _tiles(filters: _Filters) -> np.ndarray:
    """The colors of all weights: uint8, (rows, columns, height, width, RGB)."""
    import matplotlib

    unit = ((1 + filters.weights / filters.scale.reshape(-1, 1, 1, 1)) / 2).clip(0, 1)  # a weight of 0 becomes 0.5
    if filters.as_rgb:
        tiles = np.moveaxis(unit * filters.finite, 1, -1)[:, None]
    else:
        tiles = matplotlib.colormaps[COLORS](unit)[..., :3] * filters.finite[..., None]
    tiles = np.rint(tiles * 255).astype(np.uint8)
    return tiles if filters.as_matrix else _fold(tiles[:, 0])


def _fold(tiles: np.ndarray) -> np.ndarray:
    """Arrange tiles in rows: uint8, (n, height, width, RGB) to (rows, columns, height, width, RGB)."""
    columns = min(len(tiles), math.ceil(math.sqrt(2 * len(tiles))))
    rows = math.ceil(len(tiles) / columns)
    blank = np.full((rows * columns - len(tiles), *tiles.shape[1:]), 255, tiles.dtype)
    return np.concatenate([tiles, blank]).reshape(rows, columns, *tiles.shape[1:])


@dataclass(frozen=True)
class _Mosaic:
    """All tiles as one picture.

    Attributes:
        pixels: uint8, (height, width, RGB).
        rows: number of tiles in a column.
        columns: number of tiles in a row.
        above: pixels of margin above the weights in each tile.
    """

    pixels: np.ndarray
    rows: int
    columns: int
    above: int

    @property
    def tile_height(self) -> int:
        """Height of a tile in pixels, including margins."""
        return self.pixels.shape[0] // self.rows

    @property
    def tile_width(self) -> int:
        """Width of a tile in pixels, including margins."""
        return self.pixels.shape[1] // self.columns


def _mosaic(filters: _Filters) -> _Mosaic:
    tiles = _tiles(filters)
    rows, columns, height, width = tiles.shape[:4]
    magnify = math.ceil(48 / max(height, width))
    tiles = tiles.repeat(magnify, axis=2).repeat(magnify, axis=3)
    gap = 2 if filters.as_matrix else 5
    above = gap if filters.as_matrix else 17  # room for the filter's label
    beside = gap if filters.as_matrix else gap + max(0, height - width) * magnify // 2  # the same beside narrow filters
    tiles = np.pad(tiles, ((0, 0), (0, 0), (above, gap), (beside, beside), (0, 0)), constant_values=255)
    tile_height, tile_width = tiles.shape[2:4]
    pixels = tiles.swapaxes(1, 2).reshape(rows * tile_height, columns * tile_width, 3)
    return _Mosaic(pixels, rows, columns, above)


def _figure_of(mosaic: _Mosaic, filters: _Filters, title: str) -> tuple["PlainFigure", "Axes"]:
    """A figure of the mosaic with its title; tile (row, column) is centered on (column, row)."""
    from cifar_cnn.base.figures import PlainFigure

    rows, columns = mosaic.rows, mosaic.columns
    height, width = mosaic.tile_height, mosaic.tile_width
    tile_inches = (min(0.5, 8 / max(rows, columns)) if filters.as_matrix else 1.2) / max(height, width)
    figure_width = max(5.0, columns * width * tile_inches + (0.2 if filters.as_rgb else 1.5))
    per_inch = 12.5  # characters of the title
    title = "\n".join(textwrap.fill(line, int(figure_width * per_inch)) for line in title.splitlines())
    figure_height = max(1.2, rows * height * tile_inches) + 0.8 + 0.17 * title.count("\n")
    figure = PlainFigure(figsize=(figure_width, figure_height), dpi=100, layout="compressed")
    figure.suptitle(title, fontsize=TITLE_SIZE)
    axes = figure.add_subplot()
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(mosaic.pixels, interpolation="nearest", extent=extent, aspect=height / width)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=TEXT_SIZE)
    return figure, axes


def _label_matrix(axes: "Axes", filters: _Filters, mosaic: _Mosaic) -> None:
    channels = filters.layer_shape[1]
    inputs = "all" if channels == mosaic.columns else f"first {mosaic.columns} of {channels}"
    caption = f"input channel\n{filters.amount}, {inputs} input channels{filters.remark}"
    axes.set_xlabel(caption, fontsize=TEXT_SIZE)
    axes.set_ylabel("filter", fontsize=TEXT_SIZE)
    axes.set_xticks(range(0, mosaic.columns, math.ceil(mosaic.columns / 32)))
    axes.set_yticks(range(0, mosaic.rows, math.ceil(mosaic.rows / 32)))


def _label_tiles(axes: "Axes", filters: _Filters, mosaic: _Mosaic) -> None:
    note = "in RGB: gray is 0, each scaled by its largest weight" if filters.as_rgb else "over one input channel"
    axes.set_xlabel(f"{filters.amount} {note}{filters.remark}", fontsize=TEXT_SIZE)
    axes.set_xticks([])
    axes.set_yticks([])
    for index, largest in enumerate(filters.largest):
        row, column = divmod(index, mosaic.columns)
        label = f"{index}: |w| ≤ {largest:#.2g}" if filters.as_rgb else f"{index}"
        top = row - 0.5 + (mosaic.above - 2) / mosaic.tile_height
        axes.text(column, top, label, fontsize=TEXT_SIZE, ha="center", va="bottom")


def _add_color_bar(figure: "PlainFigure", axes: "Axes", filters: _Filters) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = float(filters.scale)
    extend = "both" if filters.largest.max() > scale else "neither"  # arrows show that some weights exceed the scale
    colors = ScalarMappable(Normalize(-scale, scale), COLORS)
    bar = figure.colorbar(colors, ax=axes, shrink=0.8, aspect=15, fraction=0.06, extend=extend)
    bar.set_label("weight", fontsize=TEXT_SIZE)
    bar.ax.tick_params(labelsize=TEXT_SIZE)
