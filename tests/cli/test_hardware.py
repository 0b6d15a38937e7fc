import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import lightning.pytorch
import pytest
import torch

from cifar_cnn import hardware
from cifar_cnn.compat import cpu_multiplies_bfloat16
from cifar_cnn.hardware import available_cores, best_precision, keep_freed_memory
from cifar_cnn.trainer import Trainer
from cifar_cnn.trainer.options import Precision


@pytest.mark.parametrize(
    ("cuda", "bf16", "in_hardware", "accelerator", "precision"),
    [
        (True, True, False, "auto", "bf16-mixed"),
        (True, False, True, "auto", "32-true"),
        (True, True, False, "cpu", "32-true"),
        (False, False, True, "auto", "bf16-mixed"),
        (False, False, False, "auto", "32-true"),
        (False, False, True, "mps", "32-true"),
    ],
)
def test_bfloat16_is_used_if_the_device_supports_it(
    cuda: bool, bf16: bool, in_hardware: bool, accelerator: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(hardware, "cpu_multiplies_bfloat16", lambda: in_hardware)
    assert best_precision(accelerator) == precision


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"avx512_f": True, "amx_bf16": False, "avx512_bf16": False}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_cpus_that_multiply_bfloat16(
    capabilities: dict[str, object], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert cpu_multiplies_bfloat16() is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not cpu_multiplies_bfloat16()


def test_every_precision_of_lightning_is_a_value() -> None:
    known = inspect.signature(lightning.pytorch.Trainer).parameters["precision"].annotation
    lightnings, ours = ({each for part in get_args(kind) for each in get_args(part)} for kind in (known, Precision))
    assert lightnings == ours


@pytest.mark.parametrize(("given", "used"), [(None, "bf16-mixed"), ("32", "32-true"), ("64", "64-true")])
def test_a_precision_that_is_given_is_used(given: str | None, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_multiplies_bfloat16", lambda: True)
    trainer = Trainer(accelerator="cpu", precision=given, logger=False)  # type: ignore[arg-type]
    assert trainer.precision == used


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1), ("nonsense", None), (None, None)],
)
def test_a_containers_quota_limits_the_cores(quota: str | None, cores: int | None, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert available_cores(file) == (cores or allowed)


PAGES_FAULTED = """
import resource, torch
from cifar_cnn.hardware import keep_freed_memory
for keep in (False, True):
    assert not keep or keep_freed_memory()
    for round in range(30):  # glibc finds no room for an aligned block at first
        if round == 20:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(9 * 2**20)  # 36 MiB; glibc keeps blocks of up to 32 MiB in any case
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_reused_without_being_cleared() -> None:
    if not keep_freed_memory():
        pytest.skip("the allocator is not glibc's")
    printed = subprocess.run([sys.executable, "-c", PAGES_FAULTED], capture_output=True, check=True).stdout
    plain, kept = map(int, printed.split())
    assert plain > 10 * 9 * 2**8  # ten times 36 MiB in pages of at most 16 KiB
    assert kept < 100
