"""The default callbacks of every run; some of them rely on this order."""

from collections.abc import Iterable

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar

from cifar_cnn.callbacks.checkpoint_contents import CheckpointContents
from cifar_cnn.callbacks.class_counts import ClassCounts
from cifar_cnn.callbacks.eager_fallback import EagerFallback
from cifar_cnn.callbacks.epoch_lines import EpochLines
from cifar_cnn.callbacks.filter_images import FilterImages
from cifar_cnn.callbacks.fused_step import FusedStep
from cifar_cnn.callbacks.optimizer_modes import OptimizerModes
from cifar_cnn.callbacks.output_checks import OutputChecks
from cifar_cnn.callbacks.plateau import PlateauSchedule
from cifar_cnn.callbacks.predictions import StorePredictions
from cifar_cnn.callbacks.progress import TimedProgressBar
from cifar_cnn.callbacks.run_record import RunRecord
from cifar_cnn.callbacks.summary import RunSummary
from cifar_cnn.callbacks.tensorboard import TensorBoardPages
from cifar_cnn.callbacks.validate_at_end import ValidateAtEnd
from cifar_cnn.resume.checkpoints import BestCheckpoint, LastCheckpoint
from cifar_cnn.resume.mid_epoch import MidEpoch
from cifar_cnn.resume.not_finite import NotFinite
from cifar_cnn.resume.resumed import Resumed
from cifar_cnn.resume.rng_state import RNGState
from cifar_cnn.resume.signals import StopOnSignal

BEFORE_GIVEN: tuple[type[Callback], ...] = (
    OptimizerModes,  # the other callbacks see, and save, the weights that are evaluated
    PlateauSchedule,  # the other callbacks see the new learning rate
    EpochLines,  # before callbacks that may stop the fit when an epoch is logged
)
AFTER_GIVEN: tuple[type[Callback], ...] = (
    *(ClassCounts, CheckpointContents, EagerFallback, OutputChecks, FusedStep),
    *(RunSummary, ValidateAtEnd, StorePredictions, RunRecord, StopOnSignal),
    *(RNGState, MidEpoch),  # after the given callbacks, whose state they restore
    *(Resumed, TensorBoardPages, TimedProgressBar),
    *(BestCheckpoint, LastCheckpoint),  # last.ckpt contains the score of best.ckpt
    *(NotFinite, FilterImages),
)
DEFAULTS = (*BEFORE_GIVEN, *AFTER_GIVEN)


def with_defaults(
    given: Iterable[Callback], without: Iterable[type[Callback]] = (), progress: bool = True
) -> list[Callback]:
    """Combine the given callbacks with the default ones.

    Args:
        given: the user's callbacks. An instance of a default's class, or of a subclass, replaces that default.
        without: classes of defaults to leave out.
        progress: whether to print a line per epoch and, unless one is given, show a progress bar.
    """
    given, left_out = list(given), tuple(without)
    if not progress:
        left_out = (*left_out, EpochLines, TimedProgressBar)
    elif any(isinstance(each, ProgressBar) for each in given):
        left_out = (*left_out, TimedProgressBar)

    def ours(kinds: tuple[type[Callback], ...]) -> list[Callback]:
        found: list[Callback] = []
        for kind in kinds:
            replaced = [each for each in given if isinstance(each, kind)]
            found += replaced or ([] if issubclass(kind, left_out) else [kind()])
        return found

    rest = [each for each in given if not isinstance(each, DEFAULTS)]
    return [*ours(BEFORE_GIVEN), *rest, *ours(AFTER_GIVEN)]
