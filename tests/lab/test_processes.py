import shutil
from pathlib import Path

import pytest

from cifar_cnn.lab.exercises import EXERCISES
from cifar_cnn.lab.findings import Outcome
from cifar_cnn.lab.loading import check_file
from cifar_cnn.lab.processes import Task, check_files
from cifar_cnn.lab.results import Results
from cifar_cnn.lab.texts import sentences
from tests.conftest import RunCommand
from tests.lab import _answers as answers

# Each of these would take a whole check down if it ran in the same process.
DANGEROUS = """
import os
import signal

import torch
from torch import nn


class Net1a(nn.Module):
    def __init__(self):
        while True:
            try:
                print("still here")
            except Exception:
                pass


def Net1b():
    os._exit(0)


def Net1c():
    os.kill(os.getpid(), signal.SIGSEGV)


def Net2():
    return Net2()


def Net3():
    input("a number? ")


def Net6():
    raise KeyboardInterrupt


def first_and_last_filters(model):
    import matplotlib.pyplot as plt

    plt.show()  # would wait for its window to be closed
    return plt.get_backend()


def cross_entropy(prediction, target):
    return -prediction.log_softmax(1)[torch.arange(len(target)), target].mean()
"""


def checked(path: Path, *exercises: str, seconds: float = 60) -> dict[str, Outcome]:
    tasks = [Task(str(path), exercise) for exercise in exercises]
    return {task.exercise: outcome for task, outcome in check_files(tasks, seconds)}


def hint(outcome: Outcome) -> str:
    (line,) = sentences(outcome.findings, "en")
    return line


def test_code_that_loops_exits_or_crashes_ends_only_its_own_check(in_empty_folder: Path) -> None:
    path = in_empty_folder / "lab.py"
    path.write_text(DANGEROUS)
    outcomes = checked(path, "1a", "1b", "1c", "2", "3", "4a", "5", "6", "7", seconds=2)
    assert hint(outcomes["1a"]).startswith("Net1a() does not end: look for a loop without an end [lab.py, line 1")
    assert hint(outcomes["1b"]) == "the check was ended by your code: exit status 0"
    assert hint(outcomes["1c"]) == "the check was ended by your code: SIGSEGV"
    assert hint(outcomes["2"]).startswith("Net2() stops with RecursionError: maximum recursion depth exceeded")
    assert hint(outcomes["3"]).startswith("Net3() stops with EOFError: EOF when reading a line [lab.py, line 3")
    assert hint(outcomes["4a"]) == "the file has no ResidualBlock"
    assert outcomes["5"].status == "passed"
    assert hint(outcomes["6"]).startswith("Net6 stops with KeyboardInterrupt [lab.py, line 3")
    assert hint(outcomes["7"]).endswith("you return str")


def test_a_file_that_cannot_be_imported_is_one_row(in_empty_folder: Path) -> None:
    path = in_empty_folder / "lab.py"
    for content, said in (
        (
            "import torch\n\nclass Net1a(nn.Module):\n    pass",
            "NameError: name 'nn' is not defined [lab.py, line 3: class",
        ),
        ("def f(:", "SyntaxError: invalid syntax [lab.py, line 1: def f(:]"),
        ("raise KeyboardInterrupt", "cannot be imported: KeyboardInterrupt [lab.py, line 1: raise KeyboardInterrupt]"),
        ("exit()", "importing the file ends Python: remove exit() [lab.py, line 1: exit()]"),
        ("while True: pass", "[lab.py, line 1: while True: pass]"),
    ):
        path.write_text(content)
        outcomes = [check_file(path, each, seconds=0.5) for each in EXERCISES[:2]]
        table = str(Results(outcomes))
        assert said in " ".join(table.split())
        assert table.splitlines()[1].startswith("all       not passed  ")
        assert table.splitlines()[-1] == "0 of 2 passed"


def test_a_file_in_another_encoding_says_how_to_save_it(in_empty_folder: Path) -> None:
    path = in_empty_folder / "lab.py"
    path.write_text("answer = 42", encoding="utf-16")
    assert hint(check_file(path, EXERCISES[0])).startswith("the file is not saved as UTF-8 text: choose UTF-8")


def test_chosen_exercises_of_a_file(run_command: RunCommand) -> None:
    Path("torch.py").write_text("raise SystemExit('imported')")  # beside the file, named like a library
    Path("helper.py").write_text("answer = 42")
    shutil.copyfile(answers.__file__, "lab.py")
    with open("lab.py", "a") as file:
        file.write("\n\nfrom helper import answer\n\nLANGUAGE = 'ro'\n")
    finished = run_command("lab", "check", "lab.py", "5", "7")
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.splitlines()[-1] == "2 din 2 corecte"
    assert not Path("__pycache__").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "no.py"], "no.py cannot be read: No such file or directory"),
        (["check", "lab.py", "9"], "there is no exercise '9'; the exercises are 1a, 1b, 1c, 2, 3, 4a, 4b, 5, 6, 7"),
        (["check", "lab.ipynb"], "lab.ipynb is a notebook: run its check cells, or copy the answers into a file"),
        (["check", "lab.txt"], "lab.txt is not a Python file: its name must end in .py"),
        (["check"], "give a student's file, such as lab.py, or --all and a folder of submissions"),
        (["check", "lab.py", "--output", "out"], "--output requires --all"),
        (["check", "lab.py", "--language", "de"], "argument --language: invalid choice: 'de' (choose from "),
    ],
)
def test_a_mistake_in_the_command_is_one_line(words: list[str], message: str, run_command: RunCommand) -> None:
    assert run_command.refused("lab", *words).startswith(message)
