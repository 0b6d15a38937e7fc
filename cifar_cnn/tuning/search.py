"""The network, data and Trainer of a search."""

import sys
from collections.abc import Callable

from jsonargparse import Namespace
from lightning.pytorch.tuner import Tuner

from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.defaults import DEFAULTS
from cifar_cnn.trainer import Trainer

Instantiate = Callable[[Namespace], Namespace]  # from a command's options to its objects

# Trainer arguments of a search: no limit on the length, no evaluation, and no files.
_SEARCH = {
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    **dict.fromkeys(("min_epochs", "min_steps", "max_time", "val_check_interval", "profiler"), None),
    **dict.fromkeys(("max_epochs", "max_steps"), -1),
    "check_val_every_n_epoch": sys.maxsize,  # the searches set limit_val_batches
    "num_sanity_val_steps": 0,
}


class Search:
    """A Trainer, a network and a data module that only a search uses.

    Raises:
        InputError: the run has several processes.
    """

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
