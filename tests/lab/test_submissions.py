import csv
import shutil
from pathlib import Path

import pytest

from cifar_cnn import lab
from cifar_cnn.base.errors import InputError
from cifar_cnn.lab import submissions
from cifar_cnn.lab.findings import Outcome
from cifar_cnn.lab.submissions import Submission, write_results
from tests.conftest import RunCommand
from tests.lab import _answers as answers
from tests.lab._mistakes import MISTAKES

SUM = """
def cross_entropy(prediction, target):
    return -prediction.log_softmax(1).gather(1, target[:, None]).sum()
"""


@pytest.fixture
def folder(in_empty_folder: Path) -> Path:
    root = in_empty_folder / "submissions"
    (root / "ana").mkdir(parents=True)
    shutil.copyfile(answers.__file__, root / "ana" / "lab.py")
    (root / "bogdan.py").write_text(SUM)
    (root / "=cmd()<b>.py").write_text("import os\nos._exit(1)\n")
    (root / "dan").mkdir()
    (root / "notes.txt").write_text("not a submission")
    return root


def test_a_folder_of_submissions_is_one_table(folder: Path, run_command: RunCommand) -> None:
    finished = run_command("lab", "check", "--all", folder, "5", "4a", "--output", "out")
    assert finished.status == 1
    lines = finished.out.splitlines()
    assert lines[-1] == "Results: out/results.csv, out/results.html"
    assert sorted(lines[:-1]) == [
        "=cmd()<b>: 0 of 2 passed; not passed: 4a 5",
        "ana: 2 of 2 passed",
        "bogdan: 0 of 2 passed; not passed: 4a 5",
        "dan: 0 of 2 passed; not passed: 4a 5",
    ]
    with open("out/results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["submission", "passed", "4a", "5"],
        ["'=cmd()<b>", "0", *["the check was ended by your code: exit status 1"] * 2],
        ["ana", "2", "passed", "passed"],
        [
            *("bogdan", "0", "the file has no ResidualBlock"),
            "the value is 64 times too large for 64 images: sum or mean?",
        ],
        ["dan", "0", "lab.py is missing", "lab.py is missing"],
    ]
    page = Path("out/results.html").read_text(encoding="utf-8")
    assert page.count("<tr>") == 5
    assert "=cmd()&lt;b&gt;" in page
    assert "<b>" not in page


def test_names_that_occur_twice_and_links_have_a_row_each(
    in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        submissions, "check_files", lambda tasks: ((each, Outcome(each.exercise, "todo")) for each in tasks)
    )
    root = in_empty_folder / "all of them"
    (root / "ana").mkdir(parents=True)
    (root / "ana" / "lab.py").write_text(SUM)
    (root / "ana.py").write_text(SUM)
    (root / "link.py").symlink_to("ana.py")
    (root / "broken.py").symlink_to("nowhere")
    (root / "dan").mkdir()
    (root / "dan" / "lab.ipynb").touch()
    found = list(submissions.check_all(root, ["5"]))
    write_results(found, root)
    table = dict(line.split(",0,") for line in (root / "results.csv").read_text().splitlines()[1:])
    assert list(table) == ["ana", "ana.py", "broken", "dan", "link"]
    assert all(table[name] == "not done yet" for name in ("ana", "ana.py", "link"))
    assert table["broken"] == "broken.py is missing"
    assert "there is a notebook, but no lab.py" in table["dan"]


def test_a_folder_that_cannot_be_written_is_a_mistake_before_the_check(
    folder: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    refused = run_command.refused("lab", "check", "--all", folder, "--output", "file")
    assert refused == "cannot write into file: file is not a folder"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    refused = run_command.refused("lab", "check", "--all", folder, "--output", "new/results")
    assert refused.startswith("cannot write into new/results: no permission; give another folder")
    assert not Path("new").exists()
    assert run_command.refused("lab", "check", "--all", "file").startswith("file is not a folder: give the folder that")


def test_results_are_sorted_and_in_the_chosen_language(in_empty_folder: Path) -> None:
    mistake = next(each for each in MISTAKES if each.name == "sum")
    found = [Submission(name, lab.check(mistake.answer, "5", "ro")) for name in ("zoe", "ana")]
    assert found[0].line == "zoe: 0 din 1 corecte; greșit: 5"
    table, page = write_results(found, Path("new"), "ro")
    assert [line.partition(",")[0] for line in table.read_text(encoding="utf-8").splitlines()[1:]] == ["ana", "zoe"]
    assert '<html lang="ro">' in page.read_text(encoding="utf-8")
    Path("file").touch()
    with pytest.raises(InputError, match="cannot write into file: File exists"):
        write_results(found, Path("file"))


def test_a_folder_without_submissions_is_a_mistake(folder: Path) -> None:
    with pytest.raises(InputError, match="is not a folder: give the folder that contains the submissions"):
        next(submissions.check_all(folder / "bogdan.py"))
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").touch()
    with pytest.raises(
        InputError, match=r"has no submissions: give a folder with files NAME.py or folders NAME/lab.py"
    ):
        next(submissions.check_all(folder / "empty"))
