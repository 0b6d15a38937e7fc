"""Values of a parsed config that the checkpoint or this machine decides."""

import logging
import os
from typing import Any

from jsonargparse import Namespace

from cifar_cnn.cli.configs import option_values
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.distributed import prints_messages
from cifar_cnn.errors import InputError
from cifar_cnn.hardware import best_precision
from cifar_cnn.runs.checkpoints import Checkpoint

log = logging.getLogger("cifar_cnn")


def check_seed(seed: int | bool | None) -> None:
    """Check the value of ``seed_everything``.

    Raises:
        InputError: it is outside of the range of seeds.
    """
    if seed is not None and seed is not False and not 0 <= int(seed) < 2**32:
        raise InputError(f"seed_everything must be from 0 to {2**32 - 1:,}, not {seed}")


def complete(config: Namespace, command_line: list[str], evaluated: Checkpoint | None) -> None:
    """Put the checkpoint out of a config, which says how to train and not what from, and the precision into it.

    Args:
        config: of the command; changed in place.
        command_line: all words of it.
        evaluated: the checkpoint of a command that does not train.

    Raises:
        InputError: a config file names a checkpoint.
    """
    if config["ckpt_path"] is not None and not option_values(command_line, "--ckpt_path"):
        raise InputError("ckpt_path is not allowed in a config: use the option --ckpt_path")
    config["ckpt_path"] = None
    arguments = config["data"]["source"].get("init_args") if evaluated else None
    if evaluated and arguments is not None and "class_names" in arguments and arguments["class_names"] is None:
        # In the order of the network's outputs, and without training images to read them from.
        arguments["class_names"] = evaluated.content[CIFAR10DataModule.__qualname__]["class_names"]
    if evaluated:
        config["trainer"]["logger"] = config["trainer"]["logger"] or False  # only a fit has curves
    if config["seed_everything"] is False:
        os.environ.pop("PL_GLOBAL_SEED", None)  # which would be taken for the seed of the run
    config["trainer"]["strategy"] = _with_results(config["trainer"]["strategy"])
    # Chosen here for this machine; on another one the config repeats the run all the same.
    if config["trainer"]["precision"] is None and not config["trainer"]["plugins"]:
        config["trainer"]["precision"] = best_precision(str(config["trainer"]["accelerator"]))


def _with_results(strategy: Any) -> Any:
    """Replace a strategy whose processes train, but return neither test results nor the times of epochs."""
    lost = next((name for name in ("ddp_spawn", "ddp_fork") if str(strategy).startswith(name)), None)
    if lost is None:
        return strategy
    if prints_messages():
        log.warning("trainer.strategy %s returns no results from its processes: using ddp instead.", lost)
    return str(strategy).replace(lost, "ddp")
