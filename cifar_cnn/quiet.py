"""Hide library messages that a user cannot act on during a run."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from cifar_cnn import distributed as processes
from cifar_cnn.base.tables import printable

_WARNINGS = (
    r".*tensorboardX.*",
    r".*LeafSpec.*",
    r".*does not have many workers.*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Experiment logs directory .* exists and is not empty.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*is not of type `DataLoader`.*",
    r".*Total length of `list` across ranks is zero.*",
    r".*is already saved during checkpointing.*",
    r".*callbacks used to create the checkpoint need to be provided.*",
    r".*args parameter is intended to run from within Python.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True\)`.*",  # logged values already cover all ranks
)
# Loggers of Lightning whose messages below WARNING (tips, available GPUs, the seed, max_epochs reached) are hidden.
_NOTES = (
    *("pytorch", "pytorch.utilities.rank_zero", "pytorch.trainer.connectors.signal_connector"),
    *("pytorch.accelerators.cuda", "fabric.utilities.rank_zero", "fabric.utilities.seed", "fabric.utilities.cloud_io"),
    "pytorch.trainer.connectors.checkpoint_connector",
)
# Loggers of Lightning's tuner. This project reports the tuner's failures itself.
_TUNER = ("pytorch.tuner.batch_size_scaling", "pytorch.tuner.lr_finder")


class _Handler(logging.StreamHandler):
    """Print this project's messages; only the outermost context installs a handler."""

    def __init__(self) -> None:
        super().__init__()
        self._warnings: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, but each warning only once: a command may read the same checkpoint several times."""
        message = record.getMessage()
        if record.levelno < logging.WARNING or message not in self._warnings:
            self._warnings.add(message)
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


@contextmanager
def plain_output() -> Iterator[None]:
    """Print this project's messages and the libraries' warnings, but not the libraries' other messages.

    Contexts may be nested: the command line and the Trainer each open one.
    """
    ours = logging.getLogger("cifar_cnn")
    if any(isinstance(each, _Handler) for each in ours.handlers):
        yield
        return
    handler, level = _Handler(), ours.level
    filters = {logging.getLogger(f"lightning.{name}"): _is_warning for name in _NOTES}
    filters |= {logging.getLogger(f"lightning.{name}"): _is_nothing for name in _TUNER}
    filters[logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")] = (
        processes.replace_launcher_message
    )
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    for logger, wanted in filters.items():
        logger.addFilter(wanted)
    excepthook = threading.excepthook
    threading.excepthook = _in_thread(excepthook)
    try:
        with warnings.catch_warnings():
            for message in _WARNINGS:
                warnings.filterwarnings("ignore", message)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such images are rejected
            yield
    finally:
        threading.excepthook = excepthook
        ours.removeHandler(handler)
        ours.setLevel(level)
        for logger, wanted in filters.items():
            logger.removeFilter(wanted)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _is_nothing(record: logging.LogRecord) -> bool:
    return False


def _in_thread(usual: Callable[[Any], Any]) -> Callable[[Any], None]:
    def hook(args: Any) -> None:
        # TensorBoard's writer raises its OSError again in the main thread, where it becomes a single warning.
        if not (type(args.thread).__module__.startswith("tensorboard.") and isinstance(args.exc_value, OSError)):
            usual(args)

    return hook
