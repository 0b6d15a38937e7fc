"""The options of the Trainer that this project sets or rejects before Lightning sees them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cifar_cnn.callbacks.defaults import with_defaults
from cifar_cnn.hardware import best_precision

# Lightning's values of ``precision``. Its own annotation is private; without one, the command line checks nothing.
Precision = (
    Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]
    | Literal["transformer-engine", "transformer-engine-float16"]
    | Literal["32", "bf16", "16", "64"]
    | Literal[32, 16, 64]
)


class NoProfiler(PassThroughProfiler):
    """A profiler that does nothing and, unlike Lightning's, creates no context for each of about 100 calls per step."""

    _NOTHING = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]
        """Return the same empty context each time."""
        return self._NOTHING


def check_not_zero(options: Mapping[str, Any]) -> None:
    """Reject zeros that Lightning would divide by.

    Raises:
        MisconfigurationException: the message names the option.
    """
    for option in ("accumulate_grad_batches", "check_val_every_n_epoch", "max_steps", "val_check_interval"):
        if options.get(option) == 0:
            raise MisconfigurationException(f"{option} must not be 0")


def set_defaults(options: dict[str, Any], has_folder: bool) -> None:
    """Add this project's defaults to options for Lightning's Trainer, in place.

    Args:
        options: the given options.
        has_folder: whether a fit writes a run folder.
    """
    if not has_folder:
        # Without a run folder, checkpoints would overwrite each other in the current folder.
        options["enable_checkpointing"] = False
    options.setdefault("num_sanity_val_steps", 0)
    if not {"max_epochs", "max_steps", "max_time"} & {*options}:
        options["max_epochs"] = 10


def default_precision(options: Mapping[str, Any]) -> Any:
    """The fastest precision that trains as well as float32; None with plugins, which may set the precision."""
    return None if options.get("plugins") else best_precision(str(options.get("accelerator", "auto")))


def chosen_callbacks(
    given: list[Callback] | Callback | None, without: Sequence[type[Callback]], options: Mapping[str, Any]
) -> list[Callback]:
    """The user's callbacks and the default ones; without checkpoint callbacks if checkpoints are disabled."""
    given = [given] if isinstance(given, Callback) else list(given or [])
    chosen = with_defaults(given, without, options.get("enable_progress_bar") is not False)
    if options.get("enable_checkpointing") is False:
        chosen = [each for each in chosen if not isinstance(each, Checkpoint)]
    return chosen


def as_list(loggers: Logger | list[Logger] | bool | None) -> list[Logger]:
    """The given loggers as a list; empty if the option only switches logging on or off."""
    if loggers is None or isinstance(loggers, bool):
        return []
    return list(loggers) if isinstance(loggers, (list, tuple)) else [loggers]
