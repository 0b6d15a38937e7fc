import os
import sysconfig
from pathlib import Path

import pytest

import cifar_cnn
from benchmarks._commands import process_environment
from cifar_cnn.base import process

ROOT = str(Path(cifar_cnn.__file__).parents[1])


def test_new_processes_find_this_package_before_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "other")
    for environment in (process.environment(), process_environment()):
        assert environment["PYTHONPATH"] == f"{ROOT}{os.pathsep}other"
    monkeypatch.delenv("PYTHONPATH")
    assert process.environment()["PYTHONPATH"] == ROOT


def test_an_installed_package_does_not_come_before_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: ROOT)
    monkeypatch.setenv("PYTHONPATH", "other")
    assert process.environment()["PYTHONPATH"] == "other"
