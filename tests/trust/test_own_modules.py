"""The current folder is searched only for the user's own modules and the modules that they import."""

import gc
import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cifar_cnn.__main__
import cifar_cnn.cli
from cifar_cnn.runs import trained_as
from cifar_cnn.trust import names as trust
from cifar_cnn.trust import own_modules, user_code

FILES = {
    "own_net.py": "import own_sibling, importlib\ndef later():\n    import own_lazy\n    return own_lazy.__name__\n"
    "def by_name(name): return importlib.import_module(name).__name__\n",
    "own_sibling.py": "import own_deeper",
    "own_deeper.py": "",
    "own_lazy.py": "",
    "own_plugin.py": "",
    "own_package/__init__.py": "from own_package import part",
    "own_package/part.py": "import own_plugin",
    "optional.py": "raise SystemExit('was run')",
    "json5.py": "raise SystemExit('was run')",
}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with modules of the user and of a stranger."""
    for name, text in FILES.items():
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(Path.cwd()))])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in FILES:  # other tests import modules of these names
        monkeypatch.delitem(sys.modules, name.split("/")[0].removesuffix(".py"), raising=False)
    before = set(sys.modules)
    yield Path.cwd()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_only_named_modules_are_found_in_the_folder(folder: Path) -> None:
    own_modules.search(str(folder))
    for name in ("own_net", "optional", "json5"):
        assert importlib.util.find_spec(name) is None, name
    own_modules.allow(["own_net.Net", "own_package.part.Net"])
    own_net = importlib.import_module("own_net")
    assert {"own_sibling", "own_deeper"} <= set(sys.modules)
    assert "own_plugin" not in sys.modules
    importlib.import_module("own_package.part")
    assert "own_plugin" in sys.modules
    assert own_net.later() == "own_lazy"
    assert Path(str(own_net.__file__)) == folder / "own_net.py"
    for name in ("optional", "json5"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_the_users_modules_may_import_each_other(folder: Path) -> None:
    own_modules.search(str(folder), ["own_net"])
    assert importlib.import_module("own_net").by_name("own_plugin") == "own_plugin"


def test_the_folder_of_the_newest_command_is_searched(folder: Path, tmp_path: Path) -> None:
    before = len(sys.meta_path)
    own_modules.search(str(tmp_path), ["own_net"])
    entry = own_modules.search(str(folder), ["own_plugin"])
    assert own_modules.folders()[-1] == str(folder)
    assert [each for each in sys.path if each == entry] == [entry]
    assert len(sys.meta_path) <= before + 1
    assert importlib.util.find_spec("own_plugin")
    assert importlib.util.find_spec("own_net") is None


def test_a_named_library_may_not_import_from_the_folder(folder: Path) -> None:
    own_modules.search(str(folder))
    own_modules.allow(["timm.create_model", "tests.trust.test_own_modules"])  # this file is the importer
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("optional")


def test_installed_packages_take_precedence(folder: Path) -> None:
    (folder / "yaml.py").write_text("raise SystemExit('was run')")
    own_modules.search(str(folder), ["yaml"])
    sys.modules.pop("yaml")
    assert importlib.import_module("yaml").__file__ != str(folder / "yaml.py")


def test_the_names_of_a_command_and_of_a_checkpoint_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_modules.search(str(folder))
    with trust.import_policy({"own_plugin"}):
        assert importlib.util.find_spec("own_plugin")
        assert importlib.util.find_spec("own_lazy") is None
        monkeypatch.setenv(trust.VARIABLE, "own_lazy")
        trust.restrict_to({})
        assert importlib.util.find_spec("own_lazy")
        assert importlib.util.find_spec("optional") is None
        monkeypatch.setenv(trust.VARIABLE, "own_deeper")
        content = {"model": "own_deeper.Net", "hyper_parameters": {}}
        assert trained_as.classifier_class(content).__name__ == "ImageClassifier"
        assert "own_deeper" in sys.modules


def test_the_file_of_an_own_module_is_found(folder: Path) -> None:
    assert user_code.current("own_net.py") is None
    own_modules.search(str(folder))
    assert user_code.current("own_net.py") == folder / "own_net.py"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["fit", "--model.backbone", "own.Net"], {"own"}),
        (["fit", "--model.backbone=own.Net", "--trainer.callbacks", "other.Cb"], {"own", "other"}),
        (["fit", "--model", "mine.Mixup", "--data.source.class_path=own.S"], {"mine", "own"}),
        (["fit", "--config", "a.yaml", "--model.loss", "{class_path: own.f}"], {"own", "listed"}),
        (["compare", "a.yaml"], {"listed"}),
        (["predict", "optional.jpg", "--output", "json5.csv"], set()),
        (["export", "optional.run", "--ckpt_path=json5.ckpt"], set()),
        (["fit", "--name", "optional.v2", "--ckpt_path", "json5.ckpt"], set()),
    ],
)
def test_only_class_paths_on_a_command_line_are_names(words: list[str], names: set[str]) -> None:
    Path("a.yaml").write_text("model: {backbone: listed.Net}")
    assert trust.packages_of_options(words) == names


def test_the_command_keeps_the_current_folder_off_sys_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def run(args: list[str]) -> int:
        seen["program"] = sys.argv[0]
        seen["path"] = {Path(each).resolve() for each in sys.path}
        seen["optional"] = importlib.util.find_spec("optional")
        seen["garbage is collected"] = gc.isenabled()  # but not during the imports
        own_modules.allow(["own_net"])
        seen["own"] = importlib.util.find_spec("own_net")
        return 0

    monkeypatch.setattr(cifar_cnn.cli, "run", run, raising=False)
    monkeypatch.setattr(sys, "argv", ["cifar-cnn", "runs"])
    monkeypatch.setattr("signal.signal", lambda *args: None)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    with pytest.raises(SystemExit) as ended:
        cifar_cnn.__main__.main()
    assert ended.value.code == 0
    assert folder.resolve() not in seen["path"]
    assert seen["optional"] is None
    assert seen["garbage is collected"]
    assert seen["own"]
    assert os.environ["PYTHONSAFEPATH"]
    assert seen["program"] == cifar_cnn.__main__.__file__  # as on Windows, argv[0] was not a file


def test_python_m_imports_nothing_from_the_current_folder() -> None:
    for name in ("typing", "random", "difflib", "shlex", "filelock"):  # imported by the first lines of a command
        Path(f"{name}.py").write_text("raise SystemExit('was run')")
    program = Path(cifar_cnn.__main__.__file__)
    for start in (["-m", "cifar_cnn"], [str(program)]):
        ended = subprocess.run([sys.executable, *start, "ft"], capture_output=True, text=True)
        assert ended.stderr == "cifar-cnn: error: unknown command 'ft'; nearest: fit\n"


SPAWNS = """
import multiprocessing, os, sys
from cifar_cnn.trust import own_modules

if __name__ == "__main__":
    sys.path[:] = [each for each in sys.path if each not in ("", os.getcwd(), os.path.dirname(__file__))]
    own_modules.search(os.getcwd(), ["own_net"])
    import own_net
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(own_net.later).result())
        print(pool.submit(own_net.by_name, "own_plugin").result())
        print(type(pool.submit(__import__, "optional").exception()).__name__)
"""


@pytest.mark.usefixtures("folder")
def test_spawned_processes_find_the_same_modules() -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/program.py").write_text(SPAWNS)
    ended = subprocess.run([sys.executable, "elsewhere/program.py"], capture_output=True, text=True)
    assert ended.stdout.split() == ["own_lazy", "own_plugin", "ModuleNotFoundError"], ended
