from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.runs import checkpoints
from cifar_cnn.runs.folders import find_checkpoint, new_run_folder, run_folders, run_of


def make_run(number: int, *names: str) -> Path:
    run = Path("lightning_logs", f"version_{number}")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    for name in names:
        (run / "checkpoints" / name).touch()
    return run


def test_runs_are_numbered_whatever_else_the_folder_contains() -> None:
    assert new_run_folder() == Path("lightning_logs/version_0")
    for name in ("version_9", "version_10", "version_x", "other"):
        Path("lightning_logs", name).mkdir()
    Path("lightning_logs/version_99").touch()
    assert [path.name for path in run_folders()] == ["version_0", "version_9", "version_10"]
    assert new_run_folder().name == "version_11"


def test_runs_started_at_once_get_a_folder_each() -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_folder(), range(40)))
    assert len(set(folders)) == 40


def test_best_and_last_are_those_of_the_newest_run_that_has_them() -> None:
    make_run(2, "best.ckpt")
    newer = make_run(10, "best.ckpt", "last.ckpt")
    make_run(11)
    assert find_checkpoint("best") == newer / "checkpoints/best.ckpt"
    assert find_checkpoint("last") == newer / "checkpoints/last.ckpt"
    assert find_checkpoint("lightning_logs/version_2") == Path("lightning_logs/version_2/checkpoints/best.ckpt")


def test_a_missing_checkpoint_is_rejected_with_a_list_of_others() -> None:
    with pytest.raises(InputError, match=r"train one with `cifar-cnn fit` first"):
        find_checkpoint("best")
    make_run(0, "best.ckpt")
    with pytest.raises(InputError, match=r"no checkpoint nope.ckpt; .*lightning_logs/version_0/checkpoints/best.ckpt"):
        find_checkpoint("nope.ckpt")


def test_the_run_of_a_checkpoint_is_found_unless_it_was_copied() -> None:
    run = make_run(0, "best.ckpt")
    assert run_of(run / "checkpoints/best.ckpt") == run.resolve()
    Path("copy.ckpt").touch()
    assert run_of("copy.ckpt") is None


@pytest.mark.parametrize("maps", [True, False])
def test_on_windows_checkpoints_are_not_memory_mapped(
    maps: bool, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped: list[bool] = []
    load = torch.load

    def recorded(*args: Any, mmap: bool, **options: Any) -> Any:
        mapped.append(mmap)
        return load(*args, mmap=mmap, **options)

    monkeypatch.setattr(checkpoints, "_MAP", maps)
    monkeypatch.setattr(torch, "load", recorded)
    assert checkpoints.read_checkpoint(trained_run / "checkpoints/last.ckpt")["global_step"] > 0
    assert mapped == [maps]
