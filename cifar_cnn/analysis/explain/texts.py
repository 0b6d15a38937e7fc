"""The measurements as tables for the terminal and as plain data."""

import math
from collections.abc import Iterable

from cifar_cnn.analysis.explain.equivariance import Equivariance
from cifar_cnn.analysis.explain.invariance import POOLINGS, Invariance
from cifar_cnn.analysis.explain.theory import Theory
from cifar_cnn.analysis.network.layers import Sharing


def as_text(theory: Theory) -> str:
    """All figures of one network as tables."""
    width = max(24, *(len(layer.name) for layer in theory.equivariance.layers))
    lines = _equivariance_lines(theory.equivariance, width)
    lines += ["", *_invariance_lines(theory.invariance, width)]
    lines += ["", *_sharing_lines(theory.sharing, width)]
    return "\n".join(lines) + "\n"


def _equivariance_lines(equivariance: Equivariance, width: int) -> list[str]:
    lines = [
        "Equivariance: relative difference between the maps of a shifted image and the shifted maps, by shift in pixels"
    ]
    lines.append(f"{_line('layer', width, _shifts(equivariance.errors[0]))}   stride")
    for layer, errors in zip(equivariance.layers, equivariance.errors, strict=True):
        lines.append(f"{_line(layer.name, width, map(_percent, errors))}   {layer.field.stride}")
    return lines


def _invariance_lines(invariance: Invariance, width: int) -> list[str]:
    lines = ["Invariance: change of the last features, by shift in pixels (1.00: change to an unrelated image)"]
    lines.append(_line("", width, _shifts(invariance.same_class)))
    for name in (*POOLINGS, "head"):
        label = f"own head ({invariance.head})" if name == "head" else name
        lines.append(_line(label, width, (f"{value:6.2f}" for value in invariance.features[name])))
    lines.append(_line("same predicted class", width, map(_percent, invariance.same_class)))
    lines.append(_line("accuracy", width, map(_percent, invariance.accuracy)))
    return lines


def _sharing_lines(sharing: list[Sharing], width: int) -> list[str]:
    lines = ["Parameter sharing and local connectivity, compared with a fully connected layer of the same size"]
    lines.append(f"  {'layer':{width}} {'parameters':>12} {'fully':>16} {'connections':>14} {'fully':>16}")
    for each in sharing:
        numbers = f"{each.parameters:>12,} {each.full_parameters:>16,}"
        lines.append(f"  {each.name:{width}} {numbers} {each.connections:>14,} {each.full_connections:>16,}")
    return lines


def side_by_side(curves: dict[str, Invariance]) -> str:
    """The effect of shifts on several networks, as tables with one line for each network.

    Args:
        curves: the measurements by the name of the run.
    """
    width = max(24, *map(len, curves))
    longest = max((each.same_class for each in curves.values()), key=len)
    lines = ["Side by side, by shift in pixels", _line("", width, _shifts(longest))]
    lines.append("change of the pooled features (1.00: change to an unrelated image)")
    for name, each in curves.items():
        lines.append(_line(name, width, (f"{value:6.2f}" for value in each.features["head"])))
    lines.append("same predicted class as the unshifted image")
    lines += [_line(name, width, map(_percent, each.same_class)) for name, each in curves.items()]
    lines.append("accuracy")
    lines += [_line(name, width, map(_percent, each.accuracy)) for name, each in curves.items()]
    return "\n".join(lines) + "\n"


def _line(label: str, width: int, cells: Iterable[str]) -> str:
    return f"  {label:{width}} {' '.join(cells)}"


def _shifts(values: list[float]) -> list[str]:
    """The head of a table: the shift of each value."""
    return [f"{pixels:>6}" for pixels in range(len(values))]


def _percent(value: float) -> str:
    return f"{value:6.1%}" if math.isfinite(value) else "     -"


def as_numbers(theory: Theory) -> dict[str, object]:
    """All figures as plain data for JSON; None for those that could not be measured."""
    equivariance, invariance = theory.equivariance, theory.invariance
    return {
        "equivariance_error": {
            layer.name: _rounded(errors) for layer, errors in zip(equivariance.layers, equivariance.errors, strict=True)
        },
        "equivariance_images": equivariance.images,
        "feature_change": {name: _rounded(values) for name, values in invariance.features.items()},
        "same_class": _rounded(invariance.same_class),
        "accuracy": _rounded(invariance.accuracy),
        "invariance_images": invariance.images,
        "layers": {
            each.name: {
                "parameters": each.parameters,
                "fully_connected_parameters": each.full_parameters,
                "connections": each.connections,
                "fully_connected_connections": each.full_connections,
            }
            for each in theory.sharing
        },
    }


def _rounded(values: list[float]) -> list[float | None]:
    return [round(value, 6) if math.isfinite(value) else None for value in values]
