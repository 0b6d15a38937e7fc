"""Loggers of tracking services (Weights & Biases, MLflow, Comet, Aim): pictures, and ids that a resumed run reuses."""

import importlib
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

# For each class of logger, the argument that names the record of an earlier run.
_IDS = {"WandbLogger": "id", "MLFlowLogger": "run_id", "CometLogger": "experiment_key", "AimLogger": "run_hash"}


def recorded_as(logger: Logger) -> tuple[str, str] | None:
    """The argument with which a logger of the same class continues the same record, and its value.

    Args:
        logger: a logger of rank 0, whose experiment is created if it does not exist yet.

    Returns:
        For example ``("run_id", "3f2a")`` for MLflow; None for other loggers.
    """
    argument = next((_IDS[cls.__name__] for cls in type(logger).__mro__ if cls.__name__ in _IDS), None)
    if argument is None:
        return None
    _ = logger.experiment  # type: ignore[attr-defined]  # of all four
    return (argument, str(logger.version)) if logger.version else None


def add_ids(section: Any, loggers: list[Logger]) -> None:
    """Add to the ``logger`` section of a config what its loggers need to continue the same records.

    Args:
        section: one logger or a list of them, each with ``class_path`` and ``init_args``; changed in place.
        loggers: the loggers of the run; those of the section are the last ones, in the same order.
    """
    entries = section if isinstance(section, list) else [section]
    entries = [each for each in entries if hasattr(each, "class_path")]
    for entry, logger in zip(entries, loggers[len(loggers) - len(entries) :], strict=False):
        found = recorded_as(logger)
        if found is not None and entry.get("init_args") is not None:
            entry.init_args[found[0]] = found[1]


def log_picture(logger: Logger, name: str, pixels: np.ndarray, step: int) -> None:
    """Log a picture, if the logger takes pictures.

    Args:
        logger: any logger.
        name: such as ``filters/first``.
        pixels: uint8, (H, W, 3).
        step: the global step.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, pixels, step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [pixels], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, pixels, f"{name}_{step:06d}.png")
    elif isinstance(logger, CometLogger):
        logger.experiment.log_image(pixels, name, step=step)
    elif type(logger).__name__ == "AimLogger":  # part of Aim, not of Lightning
        picture = importlib.import_module("aim").Image(Image.fromarray(pixels))
        logger.experiment.track(picture, name=name, step=step)  # type: ignore[attr-defined]
