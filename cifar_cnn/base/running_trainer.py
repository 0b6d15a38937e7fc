"""The state of a Trainer, as far as the data module depends on it."""

import os

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus


def running(trainer: Trainer | None) -> Trainer | None:
    """The Trainer if it is running, and therefore calls the hooks of the data module; otherwise None."""
    return trainer if trainer is not None and trainer.state.status == TrainerStatus.RUNNING else None


def is_testing(trainer: Trainer | None) -> bool:
    """Whether the Trainer runs or prepares ``test``."""
    return trainer is not None and trainer.state.fn == TrainerFn.TESTING


def is_fitting(trainer: Trainer | None) -> bool:
    """Whether the Trainer runs ``fit``."""
    return trainer is not None and trainer.state.fn == TrainerFn.FITTING


def overfits(trainer: Trainer | None) -> bool:
    """Whether a running Trainer fits with ``overfit_batches``."""
    return is_fitting(trainer) and trainer.overfit_batches > 0  # type: ignore[union-attr]


def share_of(trainer: Trainer | None) -> dict[str, int]:
    """The arguments ``rank`` and ``world_size`` of a loader; empty without a running Trainer."""
    return {} if trainer is None else {"rank": trainer.global_rank, "world_size": trainer.world_size}


def seed_of_run() -> int | None:
    """The seed set by Lightning's ``seed_everything``; None if there is none."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return int(seed) if seed is not None else None


def drawn_seed(trainer: Trainer | None) -> int:
    """torch's seed, which is random unless the program has set it; with a running Trainer, that of rank 0."""
    seed = torch.initial_seed() % 2**32
    return seed if trainer is None else trainer.strategy.broadcast(seed)
