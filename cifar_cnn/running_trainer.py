"""What the data module asks of the Trainer that uses it."""

import os

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus


def running(trainer: Trainer | None) -> Trainer | None:
    """The Trainer while it runs: it then calls the hooks of the data module."""
    return trainer if trainer is not None and trainer.state.status == TrainerStatus.RUNNING else None


def is_testing(trainer: Trainer | None) -> bool:
    """Whether the Trainer runs ``test``, or prepares it."""
    return trainer is not None and trainer.state.fn == TrainerFn.TESTING


def overfits(trainer: Trainer | None) -> bool:
    """Whether a running Trainer fits with ``overfit_batches``."""
    return trainer is not None and trainer.state.fn == TrainerFn.FITTING and trainer.overfit_batches > 0  # type: ignore[attr-defined]


def share_of(trainer: Trainer | None) -> dict[str, int]:
    """This process among those of a running Trainer, as the arguments ``rank`` and ``world_size`` of a loader."""
    return {} if trainer is None else {"rank": trainer.global_rank, "world_size": trainer.world_size}


def seed_of_run() -> int | None:
    """The seed of Lightning's ``seed_everything``; None without one."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return int(seed) if seed is not None else None


def drawn_seed(trainer: Trainer | None) -> int:
    """torch's seed, drawn unless the program has set it; that of process 0 in all processes of a running Trainer."""
    seed = torch.initial_seed() % 2**32
    return seed if trainer is None else trainer.strategy.broadcast(seed)
