"""Figures with unusual names and sizes."""

import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import cifar_cnn
from cifar_cnn.analysis import charts
from cifar_cnn.analysis.compare import plots as compare_plots
from cifar_cnn.analysis.compare.networks import Network
from cifar_cnn.analysis.compare.results import RunResult
from cifar_cnn.analysis.report.classes import confusion
from cifar_cnn.base.figures import PlainFigure
from cifar_cnn.callbacks.confusion_figure import draw_confusion, worst_confusions
from cifar_cnn.callbacks.filter_figure import draw_filters
from cifar_cnn.runs.predictions import Predictions

NAMES = ("cost_$1_$2", "$\\frac$", "_hidden", "a_b^c")


def network(name: str) -> Network:
    result = RunResult(Path(), 0, "", 0.5, [0.4, 0.5], 1.0, np.array([True]), "", "none")
    return Network(name, "", {0: result}, 1, 1_000_000)


def series() -> dict[str, tuple[list[int], list[int]]]:
    return {name: ([0, 1], [0, i]) for i, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    "figure",
    [
        charts.lines(NAMES[0], NAMES[1], series()),
        draw_confusion(np.eye(4, dtype=int), NAMES),
        draw_confusion(np.ones((40, 40), int), NAMES * 10),
        draw_filters(torch.ones(2, 4, 3, 3), NAMES[1]),
        compare_plots.accuracy([network(name) for name in NAMES]),
        compare_plots.curves([network(name) for name in NAMES]),
    ],
    ids=["lines", "matrix", "worst", "filters", "accuracy", "curves"],
)
def test_dollar_signs_are_drawn_literally(figure: Figure) -> None:
    assert isinstance(figure, PlainFigure)
    assert figure.pixels().std() > 0  # an invalid formula would raise
    assert "\\frac" in charts.svg(figure, "names") or "cost_$1_$2" in charts.svg(figure, "names")


@pytest.mark.filterwarnings("error")
def test_networks_without_multiply_adds_are_drawn() -> None:
    assert compare_plots.accuracy([replace(network("scale"), macs=0)]).pixels().std() > 0


def test_every_figure_is_a_plain_figure() -> None:
    (folder,) = cifar_cnn.__path__
    sources = {str(path.relative_to(folder)): path.read_text() for path in Path(folder).rglob("*.py")}
    assert [name for name, text in sources.items() if re.search(r"(?<!Plain)\bFigure\(", text)] == []
    # pyplot keeps every figure in memory until it is closed, so only windows, which the user closes, may use it
    assert [name for name, text in sources.items() if re.search(r"import.*\bpyplot", text)] == ["base/figures.py"]


def test_names_with_a_leading_underscore_are_in_the_legend() -> None:
    (axes,) = compare_plots.curves([network(name) for name in NAMES]).axes
    below = charts.lines("title", "x", series())
    (beside,) = charts.lines("title", "x", {"_a": ([0, 1], [0, 1]), "": ([0, 1], [1, 1])}).axes
    legends = [axes.get_legend(), *below.legends, beside.get_legend()]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends if legend] == [
        [*NAMES],
        [*NAMES],
        ["_a"],
    ]


def test_the_worst_confusions_by_hand() -> None:
    counts = np.array([[9, 1, 0], [5, 0, 2], [0, 5, 7]])
    assert worst_confusions(counts, 3) == [(1, 0), (2, 1), (1, 2)]
    assert worst_confusions(counts, 9) == [(1, 0), (2, 1), (1, 2), (0, 1)]
    assert worst_confusions(np.eye(3, dtype=int), 9) == []


def test_for_many_classes_the_worst_confusions_are_drawn() -> None:
    counts = 10 * np.eye(200, dtype=int)
    counts[7, 9] = 4
    counts[3, 100] = 1
    names = tuple(f"class {i}" for i in range(200))
    (axes,) = draw_confusion(counts, names).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["class 7 → class 9", "class 3 → class 100"]
    assert [text.get_text() for text in axes.texts] == ["4 of 14", "1 of 11"]
    assert axes.get_title() == "The 2 most frequent confusions, true → predicted\n200 classes; 5 of 2,005 images wrong"
    assert draw_confusion(np.eye(200, dtype=int), names).pixels().shape == (800, 800, 3)


def test_a_thousand_classes_are_fast() -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"class {i}" for i in range(1000))
    counts = rng.integers(0, 2, (1000, 1000))
    logits, labels = torch.eye(1000)[rng.integers(0, 1000, 5000)], torch.arange(5000) % 1000
    draw_confusion(counts[:40, :40], names[:40]).pixels()  # loads matplotlib's fonts
    start = time.process_time()
    pixels = draw_confusion(counts, names).pixels()
    found = confusion(Predictions(logits, labels), names)
    assert time.process_time() - start < 3
    assert pixels.size < 3e6
    assert found["shares"] is None
    assert found["matrix"] is None
    assert len(found["pairs"]) == 30
    assert len(found["rows"]) == 1000
