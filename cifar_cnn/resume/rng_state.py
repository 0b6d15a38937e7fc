"""Save the state of the random number generators, which Lightning's checkpoints lack."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed


class RNGState(Callback):
    """Saves and restores the generators of each rank: torch, CUDA, numpy and Python.

    Dropout, for example, then draws the same numbers as in an uninterrupted run. The states are restored when training
    starts, after all code that may draw random numbers before it. If the number of ranks has changed, each rank gets
    its own seed, as in a new run, so that the ranks do not all drop the same units.
    """

    def __init__(self) -> None:
        super().__init__()
        self._to_restore: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states of all ranks, in order, as tensors and plain data."""
        states: list[Any] = [_get()]
        if distributed.is_available() and distributed.is_initialized():
            states = [None] * distributed.get_world_size()
            distributed.all_gather_object(states, _get())
        return {"ranks": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._to_restore = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        states, self._to_restore = self._to_restore, None
        if states and len(states["ranks"]) == trainer.world_size:
            _set(states["ranks"][trainer.global_rank])
        elif trainer.global_rank > 0:
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)


def _get() -> dict[str, Any]:
    numpy: Any = np.random.get_state()
    version, python, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        # Lists: a checkpoint read with weights_only must not hold NumPy arrays.
        "numpy": [numpy[0], numpy[1].tolist(), *numpy[2:]],
        "python": [version, list(python), gauss],
    }


def _set(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())
    name, keys, *position = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *position))
    version, python, gauss = state["python"]
    random.setstate((version, tuple(python), gauss))
