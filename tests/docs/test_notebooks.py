import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import CONFIGS

NOTEBOOKS = sorted((CONFIGS.parent / "docs" / "notebooks").glob("*.ipynb"))

# Smaller sizes; each cell still does all of its work.
SMALLER = {
    "train_size=5000, test_size=1000": "train_size=100, test_size=20",
    "train_size=3000, test_size=1000": "train_size=100, test_size=20",
    "val_size=500": "val_size=20",
    "val_size=300": "val_size=20",
    "EPOCHS = 3": "EPOCHS = 1",
    "SEEDS = 3": "SEEDS = 2",
    "max_epochs=3": "max_epochs=1",
    "Trainer(max_epochs=EPOCHS, name=name)": "Trainer(max_epochs=EPOCHS, name=name, report=False)",
}


Run = Callable[[str], list[Any]]


@pytest.fixture
def run_notebook(in_empty_folder: Path, warm_python: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Executes a notebook with less data, and returns its code cells with their outputs."""
    monkeypatch.setattr(sys, "executable", warm_python)  # starts the kernel

    def run(name: str) -> list[Any]:
        text = (CONFIGS.parent / "docs/notebooks" / name).read_text(encoding="utf-8")
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        notebook = nbformat.reads(text, as_version=4)
        resources = {"metadata": {"path": str(in_empty_folder)}}
        NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()
        return [cell for cell in notebook.cells if cell.cell_type == "code"]

    return run


def texts(cells: list[Any]) -> str:
    outputs = [output for cell in cells for output in cell.outputs]
    found = (output.get("text") or f"{output.get('data', {}).get('text/plain', '')}\n" for output in outputs)
    return "".join(map(str, found))  # nbclient 0.10 may split the lines of a cell into several texts


def kinds(cells: list[Any]) -> list[str]:
    return [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert "pip" in "".join(code[0]["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_installs_the_clone_or_asks_for_a_source(
    path: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "check_call", calls.append)
    exec(first, {})
    assert calls == []  # already installed
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="not installed and not on PyPI: set SOURCE in this cell"):
        exec(first, {})
    exec(first.replace('SOURCE = ""', 'SOURCE = "git+https://example.com/it.git"'), {})
    monkeypatch.chdir(path.parent)
    exec(first, {})
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    assert calls == [[*install, "git+https://example.com/it.git"], [*install, str(CONFIGS.parent.resolve())]]


def test_the_lab_can_be_done_in_a_notebook(run_notebook: Run) -> None:
    cells = run_notebook("lab.ipynb")
    found = texts(cells)
    assert "315,722 parameters, equal outputs" in found
    assert "1,261,194 parameters, equal outputs" in found
    assert "equal to the package's ResidualBlock" in found
    assert "conv1.weight (32, 3, 3, 3)\nconv2.weight (64, 32, 3, 3)" in found
    assert kinds(cells).count("image/png") >= 5
    assert "iframe" in str(cells[-1].outputs[0]["data"]["text/html"])
    assert len(list(Path("lightning_logs").glob("version_*/checkpoints/best.ckpt"))) == 8


def test_pictures_of_your_own_can_be_classified_in_a_notebook(run_notebook: Run) -> None:
    cells = run_notebook("your_images.ipynb")
    assert "torch.Size([8, 10])" in texts(cells)
    assert "image/png" in kinds(cells)


def test_variants_can_be_compared_in_a_notebook(run_notebook: Run) -> None:
    cells = run_notebook("research.ipynb")
    found = texts(cells)
    assert "B - A" in found
    assert "SmallNet" in found
    assert len(list(Path("lightning_logs").glob("version_*/test.json"))) == 6
