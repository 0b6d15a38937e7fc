"""Search for the largest batch that fits in memory."""

import logging
import time
from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import Namespace

from cifar_cnn.base.errors import InputError
from cifar_cnn.tuning.search import Search

if TYPE_CHECKING:
    from cifar_cnn.base.figures import PlainFigure

log = logging.getLogger("cifar_cnn")
_COUNTS = ("init_val", "steps_per_trial", "max_trials")


def find_batch_size(
    config: Namespace, search: Search, batch_arg_name: str = "batch_size", max_val: int = 8192, **options: Any
) -> "PlainFigure":
    """Store the largest batch size that fits in memory in the options of the run.

    Args:
        config: the options of the run; changed in place.
        search: the network, data and Trainer of the search.
        batch_arg_name: only ``batch_size`` is possible here.
        max_val: largest size to try.
        options: further arguments of BatchSizeFinder.

    Returns:
        The training speed by batch size, of each size that was tried and fits.

    Raises:
        InputError: ``batch_arg_name`` has another value, or a number is below 1.
    """
    if batch_arg_name != "batch_size":
        raise InputError(f"BatchSizeFinder finds data.batch_size, not {batch_arg_name!r}: remove batch_arg_name")
    numbers = {"max_val": max_val, **{name: options[name] for name in _COUNTS if name in options}}
    if wrong := {name: value for name, value in numbers.items() if value < 1}:
        raise InputError(f"BatchSizeFinder: {next(iter(wrong))} must be 1 or more; it is {next(iter(wrong.values()))}")
    search.datamodule.prepare_data()
    search.datamodule.setup("fit")
    most = len(search.datamodule.train_images)
    speeds = _Speeds(search)

    def largest(**options: Any) -> int:
        size = search.tuner.scale_batch_size(search.model, datamodule=search.datamodule, **options)
        assert size is not None  # it is None only with fast_dev_run
        return size

    # Lightning's search may end at max_val without having tried it.
    size = min(largest(max_val=min(max_val, 2 * most), **options), max_val, most)
    size = largest(**{**options, "mode": "power", "init_val": size, "max_trials": 1, "max_val": size + 1})
    config["data"]["batch_size"] = size
    whole = " (all training images)" if size == most else ""
    log.info("BatchSizeFinder: data.batch_size is %d%s; config.yaml keeps it.", size, whole)
    return _draw(speeds.fastest, size)


class _Speeds:
    """Measures the steps of a search with hooks of the network, because Lightning removes callbacks during a search.

    Attributes:
        fastest: images per second in the fastest step with each batch size.
    """

    def __init__(self, search: Search) -> None:
        self.fastest: dict[int, float] = {}
        self._datamodule, self._model, self._start = search.datamodule, search.model, 0.0
        search.model.on_train_batch_start = self._on_start
        search.model.on_train_batch_end = self._on_end

    def _on_start(self, *arguments: Any) -> None:
        self._start = time.perf_counter()

    def _on_end(self, *arguments: Any) -> None:
        if self._model.device.type == "cuda":  # the step may not have finished
            torch.cuda.synchronize(self._model.device)
        size = self._datamodule.batch_size
        speed = size / (time.perf_counter() - self._start)
        self.fastest[size] = max(speed, self.fastest.get(size, 0.0))


def _draw(speeds: dict[int, float], size: int) -> "PlainFigure":
    from cifar_cnn.analysis import charts

    sizes = sorted(speeds)
    with charts.chart(6, 3.6) as (figure, (axes,)):
        axes.plot(sizes, [speeds[each] for each in sizes], marker="o")
        axes.axvline(size, color=charts.SERIES[1], linestyle="--", label=f"largest that fits: {size}")
        axes.set(title="Training speed by batch size", xlabel="batch size", ylabel="images per second")
        charts.logarithmic(axes, base=2)
        axes.set_ylim(bottom=0)
        axes.legend()
    return figure
