import json
import runpy
from pathlib import Path
from unittest import mock

import pytest

from cifar_cnn.base import packaged_configs
from cifar_cnn.runs.run import RunFolder, find_run
from tests.conftest import CONFIGS, SMALL, RunCommand

FEW = ["--trainer.max_epochs", "1"]


def test_the_repository_is_the_source_of_the_configs() -> None:
    assert packaged_configs.folder() == CONFIGS.resolve()
    assert packaged_configs.names() == sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def test_a_wheel_holds_every_config(tmp_path: Path) -> None:
    setuptools = pytest.importorskip("setuptools")
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(CONFIGS.parent / "setup.py"))
    build = setup.call_args.kwargs["cmdclass"]["build_py"](setuptools.Distribution({"packages": []}))
    build.build_lib = str(tmp_path)
    build.ensure_finalized()
    for editable, expected in ((True, []), (False, packaged_configs.names())):
        build.editable_mode = editable
        build.run()
        assert sorted(path.stem for path in tmp_path.rglob("*.yaml")) == expected
    assert all(path.read_bytes() == (CONFIGS / path.name).read_bytes() for path in tmp_path.rglob("*.yaml"))
    with mock.patch.object(packaged_configs, "__file__", str(tmp_path / "cifar_cnn" / "base" / "packaged_configs.py")):
        assert packaged_configs.folder() == tmp_path / "cifar_cnn" / "configs"


def test_a_config_is_found_by_name_and_recorded_by_name(run_command: RunCommand) -> None:
    assert run_command("fit", "--config", "quickstart", *SMALL, *FEW).status == 0
    run = RunFolder(*find_run("lightning_logs/version_0"))
    assert run.config_name == "quickstart"
    assert " --config quickstart --data.source Shapes" in json.loads((run.folder / "fit.json").read_text())["command"]


def test_a_file_with_that_name_takes_precedence(run_command: RunCommand) -> None:
    Path("quickstart").write_text("own: 1")
    assert "unknown option own in quickstart;" in run_command.refused("fit", "--config", "quickstart", *SMALL)


def test_words_of_a_command_line() -> None:
    path = str(CONFIGS.resolve() / "quickstart.yaml")
    words = ["fit", "-c", "quickstart", "--config=quickstart.yaml", "--name", "quickstart", "--config", "mine.yaml"]
    found = packaged_configs.with_paths(words)
    assert found == ["fit", "-c", path, f"--config={path}", "--name", "quickstart", "--config", "mine.yaml"]
    assert packaged_configs.with_paths(["fit", "--config"]) == ["fit", "--config"]


def test_the_name_stands_for_the_path_of_a_packaged_config_alone() -> None:
    path = CONFIGS.resolve() / "quickstart.yaml"
    assert packaged_configs.with_name(path) == "quickstart"
    assert packaged_configs.with_name(Path("mine.yaml")) == "mine.yaml"
    Path("quickstart").touch()
    assert packaged_configs.with_name(path) == str(path)


def test_a_misspelled_name_lists_the_nearest(run_command: RunCommand) -> None:
    assert run_command.refused("fit", "--config", "quikstart") == "no config file quikstart; nearest: quickstart"
    refused = run_command.refused("show", "--config", "resnet", "--output", "a.png")
    assert refused == "no config file resnet; nearest: resnet18, resnet18_lab, resnet18_200"
    refused = run_command.refused("fit", "--config", "xyzzy")
    assert refused == "no config file xyzzy; `cifar-cnn configs` lists the configs"
    Path("configs").mkdir()
    Path("configs", "quickstart.yaml").touch()
    refused = run_command.refused("fit", "--config", "configs/quikstart.yaml")
    assert refused == f"no config file configs/quikstart.yaml; nearest: {Path('configs', 'quickstart.yaml')}"


def test_configs_are_listed_and_copied(run_command: RunCommand) -> None:
    lines = run_command("configs").out.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == packaged_configs.names()
    assert lines[0].endswith("A first run: a small CNN on synthetic shapes, without a network connection.")
    assert run_command("configs", "new/mine").status == 0
    copies = Path("new/mine").iterdir()
    assert {path.name: path.read_text() for path in copies} == {p.name: p.read_text() for p in CONFIGS.glob("*.yaml")}
    assert "quickstart.yaml already exists" in run_command.refused("configs", "new/mine")


def test_compare_takes_names(run_command: RunCommand) -> None:
    refused = run_command.refused("compare", "quickstart", "--trainer.max_epoch", "1")
    assert refused.startswith(str(CONFIGS.resolve() / "quickstart.yaml") + " with these options: unknown option")
    assert "`cifar-cnn configs`" in run_command.refused("compare", "quikstart")
