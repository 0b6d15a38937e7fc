import ast
import shutil
from pathlib import Path

import nbformat
import pytest
from torch import nn

from cifar_cnn import InputError, lab
from cifar_cnn.lab.exercises import EXERCISES
from cifar_cnn.lab.loading import check_file
from cifar_cnn.lab.texts import LANGUAGES, texts
from tests.conftest import RunCommand
from tests.lab import _answers as answers


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_file_has_every_question_and_nothing_is_done_yet(
    language: str, in_empty_folder: Path, forgotten: None
) -> None:
    module, _ = lab.start("new/folder", language)
    source = module.read_text(encoding="utf-8")
    assert f'LANGUAGE = "{language}"' in source
    assert max(map(len, source.splitlines())) <= 110
    words = " ".join(source.replace("#", "").split())
    for each in EXERCISES:
        text = texts(language)["exercises"][each.number]
        assert " ".join(text["question"].split()) in words
        assert " ".join(text["observe"].split()) in words
        assert text["output"] in words
        assert check_file(module, each).status == "todo"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_notebook_has_the_same_questions(language: str, in_empty_folder: Path) -> None:
    _, path = lab.start(".", language)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    sources = [cell.source for cell in notebook.cells]
    for each in EXERCISES:
        text = texts(language)["exercises"][each.number]
        at = next(n for n, source in enumerate(sources) if source.startswith(f"## {each.number}. "))
        assert " ".join(text["question"].split()) in sources[at]
        (answer,) = ast.parse(sources[at + 1]).body
        assert isinstance(answer, (ast.ClassDef, ast.FunctionDef))
        assert answer.name == each.name
        assert sources[at + 2].endswith(f'lab.check({each.name}, "{each.number}")')
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")


def run_cells(notebook: nbformat.NotebookNode, names: dict) -> dict[str, object]:
    """Execute the check cells with the answers filled in; return their results."""
    shown = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and "lab.check(" in cell.source:
            call = cell.source.splitlines()[-1]
            shown[call] = eval(call, names)
    return shown


def test_the_cells_of_the_notebook_check_what_is_filled_in(
    in_empty_folder: Path, untrained: None, forgotten: None
) -> None:
    _, path = lab.start(".", "ro")
    notebook = nbformat.read(path, as_version=4)
    answer = next(cell for cell in notebook.cells if cell.source.startswith("class Net1a"))
    names = {**vars(answers), "lab": lab}
    exec(answer.source, names)
    empty = names["Net1a"]
    assert issubclass(empty, nn.Module)
    shown = run_cells(notebook, names)
    assert len(shown) == len(EXERCISES)
    assert not shown.pop('lab.check(Net1a, "1a")').passed  # type: ignore[attr-defined]
    assert all(results.passed for results in shown.values())  # type: ignore[attr-defined]


def test_no_file_of_a_student_is_overwritten(run_command: RunCommand) -> None:
    finished = run_command("lab", "start", "mine", "--language", "ro")
    assert finished.status == 0
    assert finished.out.splitlines()[-1] == "  cifar-cnn lab check mine/lab.py"
    shutil.copyfile(answers.__file__, "mine/lab.py")
    Path("mine/lab.ipynb").unlink()
    message = "mine/lab.py already exists: choose another folder"
    assert run_command.refused("lab", "start", "mine") == message
    assert Path("mine/lab.py").read_text() == Path(answers.__file__).read_text()
    assert not Path("mine/lab.ipynb").exists()
    Path("file").touch()
    assert run_command.refused("lab", "start", "file") == "cannot write into file: File exists"
    with pytest.raises(InputError, match="no texts in the language 'fr'"):
        lab.start("other", "fr")
    assert not Path("other").exists()
