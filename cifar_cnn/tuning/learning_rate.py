"""Search for a learning rate by a range test (Smith, https://arxiv.org/abs/1506.01186)."""

import logging
from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import Namespace
from torch import nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.tuning.search import Search

if TYPE_CHECKING:
    from cifar_cnn.base.figures import PlainFigure

log = logging.getLogger("cifar_cnn")

SMOOTHING = 0.98  # of the loss, by Lightning


def find_learning_rate(config: Namespace, search: Search, update_attr: bool = True, **options: Any) -> "PlainFigure":
    """Store the learning rate that Lightning suggests in the options of the run.

    Args:
        config: the options of the run; changed in place.
        search: the network, data and Trainer of the search.
        update_attr: False reports the learning rate without using it.
        options: further arguments of LearningRateFinder.

    Returns:
        The loss by learning rate, with the result marked.

    Raises:
        InputError: the search does not fit this run, or found nothing.
    """
    options.pop("attr_name", None)  # here the learning rate is an option of the optimizer
    low, high = options.get("min_lr", 1e-8), options.get("max_lr", 1.0)
    if not 0 < low < high:
        raise InputError(f"LearningRateFinder: min_lr must be above 0 and below max_lr; they are {low} and {high}")
    _check_that_one_rate_is_all(search.model)
    steps = options.get("num_training_steps", 100)
    log.info("LearningRateFinder: trying learning rates in %d steps of training.", steps)
    found = search.tuner.lr_find(
        search.model,
        datamodule=search.datamodule,
        num_training=steps,
        update_attr=False,
        **{name: value for name, value in options.items() if name != "num_training_steps"},
    )
    rate = found.suggestion() if found is not None else None
    if found is None or rate is None:
        raise InputError(
            f"LearningRateFinder found no learning rate in {steps} steps: the loss became NaN, or there are too few "
            "steps; set a lower max_lr or more num_training_steps"
        )
    rate = float(f"{rate:.3g}")
    parts = (config["model"]["schedule"], config["model"]["optimizer"])  # OneCycleLR has its own learning rate, max_lr
    part = next(part for part in parts if _has_rate(part))
    name = "max_lr" if "max_lr" in part["init_args"] else "lr"
    option = f"model.{'schedule' if name == 'max_lr' else 'optimizer'}.{name}"
    if update_attr:
        part["init_args"][name] = rate
    result = f"is {rate:g}; config.yaml keeps it" if update_attr else f"could be {rate:g}"
    log.info("LearningRateFinder: %s %s.", option, result)
    return _draw(found.results, rate)


def without_bias(losses: list[float]) -> list[float]:
    """Correct the moving averages of a search, which Lightning divides by the weight of one step too many.

    The first value would be half the loss, and the loss would seem to rise for a hundred steps.
    """
    return [
        loss * (1 - SMOOTHING ** (steps + 1)) / (1 - SMOOTHING**steps) for steps, loss in enumerate(losses, start=1)
    ]


def _draw(results: dict[str, list[float]], rate: float) -> "PlainFigure":
    from cifar_cnn.analysis import charts

    with charts.chart(6, 3.6) as (figure, (axes,)):
        axes.plot(results["lr"], without_bias(results["loss"]))
        charts.logarithmic(axes)
        axes.axvline(rate, color=charts.SERIES[1], linestyle="--", label=f"suggestion: {rate:g}")
        axes.set(title="Learning rate range test", xlabel="learning rate", ylabel="smoothed training loss")
        axes.legend()
    return figure


def _check_that_one_rate_is_all(model: ImageClassifier) -> None:
    parameters, rate = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, 1, 1, 1))], 0.5
    try:
        optimizer = model.make_optimizer(parameters, lr=rate)  # type: ignore[call-arg]
    except TypeError as error:
        raise InputError(f"LearningRateFinder needs an optimizer with an option lr: {error}") from error
    own = any("lr" in group for group in model.parameter_groups.values())
    if own or any(group["lr"] != rate for group in optimizer.param_groups):
        raise InputError(
            "LearningRateFinder finds one learning rate for all parameters, but "
            f"{'model.parameter_groups' if own else type(optimizer).__name__} sets different ones"
        )


def _has_rate(part: Any) -> bool:
    return part is not None and any(name in part["init_args"] for name in ("lr", "max_lr"))
