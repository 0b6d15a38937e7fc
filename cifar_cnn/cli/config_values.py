"""Config values that depend on the checkpoint or on this machine."""

import logging
import os
from typing import Any

from jsonargparse import Namespace

from cifar_cnn.base.errors import InputError
from cifar_cnn.cli.configs import option_values
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.distributed import prints_messages
from cifar_cnn.hardware import best_precision
from cifar_cnn.runs.checkpoints import Checkpoint

log = logging.getLogger("cifar_cnn")


def check_seed(seed: int | bool | None) -> None:
    """Check the value of ``seed_everything``.

    Raises:
        InputError: the seed is out of range.
    """
    if seed is not None and seed is not False and not 0 <= int(seed) < 2**32:
        raise InputError(f"seed_everything must be from 0 to {2**32 - 1:,}, not {seed}")


def complete(config: Namespace, command_line: list[str], evaluated: Checkpoint | None) -> None:
    """Fill in the values that depend on the checkpoint or on this machine; remove ``ckpt_path``.

    Args:
        config: the command's config; changed in place.
        command_line: the whole command line.
        evaluated: the checkpoint that ``validate`` or ``test`` uses; None for ``fit``.

    Raises:
        InputError: a config file sets ``ckpt_path``.
    """
    if config["ckpt_path"] is not None and not option_values(command_line, "--ckpt_path"):
        raise InputError("ckpt_path is not allowed in a config: use the option --ckpt_path")
    config["ckpt_path"] = None
    arguments = config["data"]["source"].get("init_args") if evaluated else None
    if evaluated and arguments is not None and "class_names" in arguments and arguments["class_names"] is None:
        # The order of the network's outputs; it also makes training images unnecessary.
        arguments["class_names"] = evaluated.content[CIFAR10DataModule.__qualname__]["class_names"]
    if evaluated:
        config["trainer"]["logger"] = config["trainer"]["logger"] or False  # only fit logs curves
    if config["seed_everything"] is False:
        os.environ.pop("PL_GLOBAL_SEED", None)  # would otherwise be used as the seed of the run
    config["trainer"]["strategy"] = _with_results(config["trainer"]["strategy"])
    # Chosen for this machine and then recorded, so that the config reproduces the run on another machine.
    if config["trainer"]["precision"] is None and not config["trainer"]["plugins"]:
        config["trainer"]["precision"] = best_precision(str(config["trainer"]["accelerator"]))


def _with_results(strategy: Any) -> Any:
    """Replace ddp_spawn and ddp_fork, whose processes do not return test results and epoch times."""
    lost = next((name for name in ("ddp_spawn", "ddp_fork") if str(strategy).startswith(name)), None)
    if lost is None:
        return strategy
    if prints_messages():
        log.warning("trainer.strategy %s returns no results from its processes: using ddp instead.", lost)
    return str(strategy).replace(lost, "ddp")
