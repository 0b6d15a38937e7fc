"""Run Lightning's LearningRateFinder and BatchSizeFinder before a fit, and use their results in it.

The search uses its own network, Trainer and random numbers. Its result becomes an option of the run, so the fit is
bit-identical to a run with this option, and its config.yaml reproduces it without another search.
"""

import io
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.defaults import DEFAULTS
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.trainer import Trainer
from cifar_cnn.trust import names as trust

log = logging.getLogger("cifar_cnn")

Instantiate = Callable[[Namespace], Namespace]  # from a command's options to its objects

# Trainer arguments of a search: no limit on the length, no evaluation, and no files.
_SEARCH = {
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    **dict.fromkeys(("min_epochs", "min_steps", "max_time", "val_check_interval", "profiler"), None),
    **dict.fromkeys(("max_epochs", "max_steps"), -1),
    "check_val_every_n_epoch": sys.maxsize,  # the searches set limit_val_batches
    "num_sanity_val_steps": 0,
}


def tune(config: Namespace, instantiate: Instantiate) -> bool:
    """Run the finders among the callbacks of a fit, store their results in its options, and remove the finders.

    Args:
        config: the options of the command; changed in place.
        instantiate: creates the network, the data module and the callbacks named in the options.

    Returns:
        Whether there was a search.

    Raises:
        InputError: the search does not fit this run, or found nothing.
    """
    callbacks = _callbacks(config)
    finders = {_class(each): dict(each["init_args"]) for each in callbacks if _class(each) in _SEARCHES}
    if not finders:
        return False
    config["trainer"]["callbacks"] = [each for each in callbacks if _class(each) not in _SEARCHES]
    if config["trainer"]["fast_dev_run"]:
        return False
    for finder, search in _SEARCHES.items():  # the learning rate comes last, since it depends on the batch size
        if finder in finders:
            with TemporaryDirectory() as folder, isolate_rng(), _quiet_unless_in_a_terminal():
                search(config, _Search(config, instantiate, folder, finder.__name__), **finders[finder])
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return True


def check_resumed(config: Namespace) -> None:
    """Check that the options of a resumed fit name no finder, because it keeps the values found before.

    Raises:
        InputError: the options name a finder.
    """
    finders = [_class(each).__name__ for each in _callbacks(config) if _class(each) in _SEARCHES]
    if finders:
        raise InputError(f"a resumed run does not search again: resume without --config, or without {finders[0]}")


class _Search:
    """A Trainer, a network and a data module that only a search uses."""

    def __init__(self, config: Namespace, instantiate: Instantiate, folder: str, name: str) -> None:
        config = config.clone()
        config["model"]["schedule"] = None  # it needs the length of the run
        config["data"]["image_sizes"] = None  # full-size images need the most memory
        config["trainer"]["logger"] = False
        made = instantiate(config)
        self.model, self.datamodule = made["model"], made["data"]
        self.trainer = Trainer(**{**made["trainer"], **_SEARCH, "without": DEFAULTS, "default_root_dir": folder})
        if self.trainer.world_size > 1:
            raise InputError(f"{name} needs a single process: search with --trainer.devices 1")
        self.tuner = Tuner(self.trainer)


def _find_batch_size(
    config: Namespace, search: _Search, batch_arg_name: str = "batch_size", max_val: int = 8192, **options: Any
) -> None:
    if batch_arg_name != "batch_size":
        raise InputError(f"BatchSizeFinder finds data.batch_size, not {batch_arg_name!r}: remove batch_arg_name")
    search.datamodule.prepare_data()
    search.datamodule.setup("fit")
    most = len(search.datamodule.train_images)

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


def _find_learning_rate(config: Namespace, search: _Search, update_attr: bool = True, **options: Any) -> None:
    options.pop("attr_name", None)  # here the learning rate is an option of the optimizer
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
    if rate is None:
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


_SEARCHES: dict[Any, Callable[..., None]] = {
    BatchSizeFinder: _find_batch_size,
    LearningRateFinder: _find_learning_rate,
}


def _callbacks(config: Namespace) -> list[Any]:
    given = config["trainer"]["callbacks"] or []
    return given if isinstance(given, list) else [given]


def _class(callback: Any) -> Any:
    return trust.imported(callback["class_path"]) if isinstance(callback, Namespace) else type(callback)


def _has_rate(part: Any) -> bool:
    return part is not None and any(name in part["init_args"] for name in ("lr", "max_lr"))


def _quiet_unless_in_a_terminal() -> Any:
    # In a log, Lightning's progress bar would be one long line; logging handlers still use the original stream.
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
