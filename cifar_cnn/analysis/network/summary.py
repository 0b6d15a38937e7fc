"""``summary``: the layers of a network as a table, in text and in notebooks."""

import html
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from cifar_cnn.analysis.network.costs import total_macs
from cifar_cnn.analysis.network.layers import Layer, layers_of
from cifar_cnn.base.sizes import count_parameters
from cifar_cnn.base.tables import text_table

_COLUMNS: dict[str, Callable[[Layer], str]] = {
    "layer": lambda layer: layer.name or "(network)",
    "kind": lambda layer: layer.kind,
    "output": lambda layer: " x ".join(map(str, layer.output_shape)),
    "parameters": lambda layer: f"{layer.parameters:,}",
    "multiply-adds": lambda layer: f"{layer.macs:,}",
    "receptive field": lambda layer: str(layer.field.size or ("whole image" if layer.field.known else "unknown")),
}
_LEFT = 3  # columns of text, before those of numbers


@dataclass(frozen=True)
class Summary:
    """The layers of a network; ``str`` and Jupyter show them as a table.

    Attributes:
        layers: layers in the order in which their calls end.
        image_shape: shape of the images, (C, H, W).
        parameters: number of parameters of the network.
        macs: multiply-adds of its convolutions and matrix products for one image.
    """

    layers: list[Layer]
    image_shape: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def total(self) -> str:
        """Parameters and multiply-adds in one line."""
        size = " x ".join(map(str, self.image_shape))
        return f"{self.parameters:,} parameters, {self.macs:,} multiply-adds per image of {size}"

    def __str__(self) -> str:
        return self._table(self._rows())

    def short(self, layers: int = 24) -> str:
        """The table with at most ``layers`` rows: the first and the last ones, and how many are left out."""
        rows = self._rows()
        left_out = len(rows) - layers
        if left_out <= 1:
            return self._table(rows)
        first = (layers + 1) // 2
        gap = [f"({left_out:,} layers left out)", *[""] * (len(_COLUMNS) - 1)]
        return self._table([*rows[:first], gap, *rows[first + left_out :]])

    def _table(self, rows: list[list[str]]) -> str:
        rows = [list(_COLUMNS), *rows]
        lines = text_table(rows, left=range(_LEFT))
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], self.total])

    __repr__ = __str__

    def _rows(self) -> list[list[str]]:
        return [[cell(layer) for cell in _COLUMNS.values()] for layer in self.layers]

    def _repr_html_(self) -> str:
        def line(cells: list[str], tag: str) -> str:
            sides = ("left" if i < _LEFT else "right" for i in range(len(cells)))
            found = (
                f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>'
                for cell, side in zip(cells, sides, strict=True)
            )
            return f"<tr>{''.join(found)}</tr>"

        body = "".join(line(row, "td") for row in self._rows())
        return f"<table>{line(list(_COLUMNS), 'th')}{body}</table><p>{html.escape(self.total)}</p>"


def summary(model: nn.Module, image_shape: tuple[int, int, int] = (3, 32, 32)) -> Summary:
    """The layers of a network with output shapes, parameters, multiply-adds and receptive fields, as in the report.

    The function works on a copy and does not change the network.

    Args:
        model: an ImageClassifier, or any network from images (N, C, H, W) to logits.
        image_shape: (C, H, W).

    Example::

        print(summary(SimpleCNN(), (3, 32, 32)))
    """
    network = getattr(model, "backbone", model)
    layers = layers_of(network, tuple(image_shape))
    return Summary(layers, tuple(image_shape), count_parameters(network), total_macs(layers))
