"""Draw test accuracy over training time, from the folders of runs, and print the same as a table.

``python -m benchmarks.ladder RUN_OR_FOLDER...`` takes runs and folders that contain runs, such as ``lightning_logs`` or
``compare_0``. Runs that differ only in their seed or fold form one recipe: the picture shows the mean and the standard
deviation of its test accuracy and of its training time, and the validation accuracy of each run over time. Times are
comparable only if each run had the machine to itself.

``--peers FILE.csv`` adds other projects, one per row, with the columns ``name,seconds,accuracy,n,hardware``; the
accuracy is a number from 0 to 1.
"""

import argparse
import statistics
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._ladder import Peer, Recipe, conditions_that_differ, read_ladder, read_peers, unique
from benchmarks._measure import run
from cifar_cnn.analysis import charts
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import write, writing_into
from cifar_cnn.base.tables import markdown_table

if TYPE_CHECKING:  # importing matplotlib takes several hundred milliseconds
    from matplotlib.axes import Axes

    from cifar_cnn.base.figures import PlainFigure

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def check_conditions(recipes: Sequence[Recipe], mixed: bool) -> None:
    """Raise an InputError for recipes whose times or accuracies cannot be compared."""
    differing = conditions_that_differ(recipes)
    if differing and not mixed:
        name, values = next(iter(differing.items()))
        raise InputError(
            f"the runs differ in {name} ({'; '.join(values)}), so they cannot be compared: give runs of one kind, or "
            "add --mixed to label each recipe with what differs"
        )


def table(recipes: Sequence[Recipe], peers: Sequence[Peer]) -> str:
    """One row for each recipe and peer, in Markdown; conditions that differ get columns of their own."""
    differing = list(conditions_that_differ(recipes))
    if peers and "hardware" not in differing:
        differing.insert(0, "hardware")
    header = ["recipe", "n", "test accuracy", "training time", "epochs", "training images", *differing]
    rows = [
        [
            recipe.name,
            str(recipe.n),
            f"{_spread([100 * value for value in recipe.accuracies], '.2f')} %",
            f"{_spread(recipe.seconds, ',.0f')} s",
            str(recipe.epochs),
            _numbers(recipe.train_images),
            *(" or ".join(recipe.conditions[name]) for name in differing),
        ]
        for recipe in recipes
    ]
    for peer in peers:
        known = {"hardware": peer.hardware}
        cells = [peer.name, str(peer.n), f"{100 * peer.accuracy:.2f} %", f"{peer.seconds:,.4g} s", "", ""]
        rows.append([*cells, *(known.get(name, "") for name in differing)])
    return markdown_table([header, *rows], left={0, *range(6, len(header))})


def facts(recipes: Sequence[Recipe], note: str = "") -> str:
    """The conditions that all runs share, in one line: hardware, precision, images, versions; ``note`` is last."""
    differing = conditions_that_differ(recipes)
    shared = [values[0] for name, values in recipes[0].conditions.items() if name not in differing]
    train = sorted({n for recipe in recipes for n in recipe.train_images})
    counts = f"{_numbers(train)} training images" if train else ""
    versions = " or ".join(unique(version for recipe in recipes for version in recipe.versions))
    return "; ".join(filter(None, [*shared, counts, versions, note]))


def _numbers(values: Sequence[int]) -> str:
    return " or ".join(f"{value:,}" for value in values)


def _spread(values: list[float], form: str) -> str:
    mean = format(statistics.mean(values), form)
    return f"{mean} ± {format(statistics.stdev(values), form)}" if len(values) > 1 else mean


def picture(recipes: Sequence[Recipe], peers: Sequence[Peer], note: str = "") -> "PlainFigure":
    """Draw test accuracy over training time: a point for each recipe and peer, the validation curves, :func:`facts`."""
    from matplotlib.ticker import PercentFormatter

    from cifar_cnn.analysis.compare.plots import hex_color

    with charts.chart(9, 5.2) as (figure, (axes,)):
        lines, differing = {}, conditions_that_differ(recipes)
        for index, recipe in enumerate(recipes):
            label = _label(recipe, differing)
            lines[label] = _draw_recipe(axes, recipe, hex_color(index, len(recipes) + len(peers)))
        for index, peer in enumerate(peers, start=len(recipes)):
            color = hex_color(index, len(recipes) + len(peers))
            (point,) = axes.plot(peer.seconds, peer.accuracy, "D", color=color, markersize=7, markerfacecolor="none")
            lines[f"{peer.name}: {100 * peer.accuracy:.2f} %, n = {peer.n} ({peer.hardware})"] = point
        _scale(axes, recipes, peers)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        drawn = "test accuracy (points: mean and standard deviation over n runs)"
        has_curves = any(times for recipe in recipes for times, _ in recipe.curves)
        axes.set_title(f"{drawn}; validation accuracy of each run (lines)" if has_curves else drawn, fontsize=9)
        axes.set_xlabel("\n".join(["training time, validation included", *textwrap.wrap(facts(recipes, note), 105)]))
        charts.legend_below(figure, lines)
        return figure


def _label(recipe: Recipe, differing: Iterable[str]) -> str:
    own = [" or ".join(recipe.conditions[name]) for name in differing]
    accuracy = _spread([100 * value for value in recipe.accuracies], ".2f")
    return f"{recipe.name}: {accuracy} %, n = {recipe.n}" + (f" ({', '.join(own)})" if own else "")


def _draw_recipe(axes: "Axes", recipe: Recipe, color: str) -> Any:
    for times, values in recipe.curves:
        axes.plot(times, values, color=color, alpha=0.45, linewidth=0.8)
    deviations = [statistics.stdev(each) if recipe.n > 1 else None for each in (recipe.seconds, recipe.accuracies)]
    x, y = statistics.mean(recipe.seconds), statistics.mean(recipe.accuracies)
    return axes.errorbar(x, y, deviations[1], deviations[0], fmt="o", color=color, capsize=3, markersize=6)


def _scale(axes: "Axes", recipes: Sequence[Recipe], peers: Sequence[Peer]) -> None:
    """Make the time axis logarithmic in seconds, minutes and hours; the lowest points stay well above the bottom."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.margins(x=0.08)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator(time_ticks(low, high)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: tick_label(seconds)))
    axes.xaxis.set_minor_locator(NullLocator())
    points = [*(min(recipe.accuracies) for recipe in recipes), *(peer.accuracy for peer in peers)]
    top = max(axes.get_ylim()[1], max(points))
    axes.set_ylim(max(min(points) - max(0.05, (top - min(points)) / 2), 0), min(top, 1))


def time_ticks(low: float, high: float) -> list[float]:
    """Round times in seconds between ``low`` and ``high``, about evenly spaced on a logarithmic axis."""
    steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000]
    steps += [86400 * days for days in (1, 2, 5, 10, 20, 50, 100)]
    return [float(step) for step in steps if low <= step <= high]


def tick_label(seconds: float) -> str:
    """A round time, such as ``30 s``, ``10 min`` or ``2 h``."""
    unit = next(unit for unit, size in reversed(UNITS.items()) if seconds >= size or unit == "s")
    return f"{seconds / UNITS[unit]:g} {unit}"


def main(args: list[str]) -> None:
    """Read the runs, draw the picture and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ladder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_OR_FOLDER", help="a run, or a folder with runs")
    parser.add_argument("--output", type=Path, default=Path("accuracy_over_time.png"), help="default: %(default)s")
    parser.add_argument("--peers", type=Path, help="CSV file with the results of other projects")
    parser.add_argument("--note", default="", help="added to the conditions, such as 'official images'")
    parser.add_argument("--mixed", action="store_true", help="allow different machines, precisions and test images")
    options = parser.parse_args(args)
    peers: list[Peer] = read_peers(options.peers) if options.peers else []
    recipes, notes, left_out = read_ladder(options.runs)
    for run_folder in left_out:
        print(f"left out, because it is not finished or not tested: {run_folder}", file=sys.stderr)
    check_conditions(recipes, options.mixed)
    with writing_into(options.output.parent):
        write(options.output, charts.png(picture(recipes, peers, options.note)))
    reading = "Mean ± standard deviation over n runs. The training time includes validation."
    print("\n".join([table(recipes, peers), "", reading, f"{facts(recipes, options.note)}.", *notes]))
    print(f"\nWritten to {options.output}")


if __name__ == "__main__":
    run(main)
