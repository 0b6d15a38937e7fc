import os
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from cifar_cnn import distributed
from cifar_cnn.base.process import STARTED_BY
from cifar_cnn.resume.rng_state import RNGState


def test_the_mps_generator_is_saved_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = torch.arange(5, dtype=torch.uint8)
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: on_gpu)
    monkeypatch.setattr(torch.mps, "set_rng_state", restored.append)
    state = RNGState().state_dict()
    trainer = cast(Any, SimpleNamespace(world_size=1, global_rank=0))
    resumed = RNGState()
    resumed.load_state_dict(state)
    resumed.on_train_start(trainer, cast(Any, None))
    assert [each.tolist() for each in restored] == [on_gpu.tolist()]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)  # resumed on another machine
    resumed.load_state_dict(state)
    resumed.on_train_start(trainer, cast(Any, None))
    assert len(restored) == 1


@pytest.mark.parametrize("tells", [True, False])
def test_on_windows_the_id_of_the_parent_is_not_used(tells: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(STARTED_BY, str(os.getppid() + 1))  # python.exe of a virtual environment is in between
    monkeypatch.setattr(distributed, "_PARENT_ID_IS_RELIABLE", tells)
    assert distributed.prints_messages() is tells  # rank 1 prints if the first process has ended
