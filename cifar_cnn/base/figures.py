"""The figure class of all drawings. It imports matplotlib, so import this module inside the function that draws."""

import io
import math
import warnings
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

from cifar_cnn.base.visible import visible

COLUMNS = 8  # of a figure of images


class PlainFigure(Figure):
    """A figure that shows text literally and is displayed by Jupyter without pyplot.

    Names of classes, configs and layers may contain dollar signs, and matplotlib would parse the text between them as
    a formula. pyplot would keep every figure in memory.
    """

    def draw(self, renderer: Any) -> None:
        """Draw the figure in any format."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)

    def pixels(self) -> np.ndarray:
        """Render the figure: uint8, (height, width, RGB)."""
        canvas = FigureCanvasAgg(self)
        with warnings.catch_warnings():  # class names may contain glyphs that the font lacks, or be too long
            warnings.simplefilter("ignore", UserWarning)
            canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def draw_images(images: Tensor, titles: list[str]) -> PlainFigure:
    """Draw images in rows of eight.

    Args:
        images: uint8, (N, C, H, W), shown as :func:`cifar_cnn.base.visible.visible` does.
        titles: one above each image.
    """
    rows = max(1, math.ceil(len(images) / COLUMNS))
    figure = PlainFigure(figsize=(1.25 * COLUMNS, 1.5 * rows), dpi=100, layout="constrained")
    for axes in (grid := figure.subplots(rows, COLUMNS, squeeze=False)).flat:
        axes.axis("off")
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        axes.imshow(visible(image).permute(1, 2, 0).numpy())
        axes.set_title(title if len(title) <= 16 else f"{title[:15]}…", fontsize=8)
    return figure


def show_in_window(figure: Figure) -> bool:
    """Show a figure in a window until the user closes it.

    Returns:
        False if no window can be opened, because matplotlib has no GUI toolkit or there is no display.
    """
    import matplotlib
    from matplotlib import pyplot
    from matplotlib.backends import BackendFilter, backend_registry

    if matplotlib.get_backend().lower() not in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
        return False
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    window = pyplot.figure(figsize=figure.get_size_inches(), dpi=figure.dpi)
    window.figimage(pyplot.imread(buffer))
    pyplot.show()
    return True
