"""Run the finders among a fit's callbacks, and remove them."""

import io
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities.seed import isolate_rng

from cifar_cnn.base.errors import InputError
from cifar_cnn.trust import names as trust
from cifar_cnn.tuning.batch_size import find_batch_size
from cifar_cnn.tuning.learning_rate import find_learning_rate
from cifar_cnn.tuning.pictures import SavePictures
from cifar_cnn.tuning.search import Instantiate, Search

_SEARCHES: dict[Any, tuple[str, Callable[..., Any]]] = {  # with the name of its picture
    BatchSizeFinder: ("batch_size_finder", find_batch_size),
    LearningRateFinder: ("learning_rate_finder", find_learning_rate),
}


def tune(config: Namespace, instantiate: Instantiate) -> Callback | None:
    """Run the finders among the callbacks of a fit, store their results in its options, and remove the finders.

    Args:
        config: the options of the command; changed in place.
        instantiate: creates the network, the data module and the callbacks named in the options.

    Returns:
        A callback that writes pictures of the searches into the run's folder; None if there was no search.

    Raises:
        InputError: the search does not fit this run, or found nothing.
    """
    callbacks = _callbacks(config)
    finders = {_class(each): dict(each["init_args"]) for each in callbacks if _class(each) in _SEARCHES}
    if not finders:
        return None
    config["trainer"]["callbacks"] = [each for each in callbacks if _class(each) not in _SEARCHES]
    if config["trainer"]["fast_dev_run"]:
        return None
    figures = {}
    for finder, (name, search) in _SEARCHES.items():  # the learning rate is last, since it depends on the batch size
        if finder in finders:
            with TemporaryDirectory() as folder, isolate_rng(), _quiet_unless_in_a_terminal():
                figures[name] = search(config, Search(config, instantiate, folder, finder.__name__), **finders[finder])
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return SavePictures(figures)


def check_resumed(config: Namespace) -> None:
    """Check that the options of a resumed fit name no finder, because it keeps the values found before.

    Raises:
        InputError: the options name a finder.
    """
    finders = [_class(each).__name__ for each in _callbacks(config) if _class(each) in _SEARCHES]
    if finders:
        raise InputError(f"a resumed run does not search again: resume without --config, or without {finders[0]}")


def _callbacks(config: Namespace) -> list[Any]:
    given = config["trainer"]["callbacks"] or []
    return given if isinstance(given, list) else [given]


def _class(callback: Any) -> Any:
    return trust.imported(callback["class_path"]) if isinstance(callback, Namespace) else type(callback)


def _quiet_unless_in_a_terminal() -> Any:
    # In a log, Lightning's progress bar would be one long line; logging handlers still use the original stream.
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
