"""The figure that everything is drawn on; imports matplotlib, so import it where something is drawn."""

import io
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text


class PlainFigure(Figure):
    """A figure that shows each text as it is: names of classes, configs and layers may hold dollar signs.

    matplotlib would take what stands between two of them for a formula. Jupyter shows the figure inline without pyplot,
    which would keep every figure in memory.
    """

    def draw(self, renderer: Any) -> None:
        """Draw the figure, whatever the format."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
