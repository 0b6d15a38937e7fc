import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import ladder
from benchmarks._ladder import Recipe, conditions_that_differ, read_ladder, read_peers
from benchmarks._measure import run
from cifar_cnn.base.errors import InputError

HARDWARE = {"hardware": ["AMD EPYC, 1 thread"], "precision": ["32-true"], "test images": ["50 test images (aa)"]}


def recipe(name: str, accuracies: list[float], seconds: list[float], **conditions: str) -> Recipe:
    found = HARDWARE | {key: [value] for key, value in conditions.items()}
    curves = [([time / 2, time], [0.2, 0.3]) for time in seconds]
    return Recipe(name, accuracies, seconds, curves, 2, [300], found, ["torch 2.14.1"], False)


@pytest.fixture
def runs(trained_run: Path, tmp_path: Path) -> Path:
    """A folder with a run of seed 0 and one of seed 1, which differ in accuracy and time."""
    for seed, accuracy, seconds in ((0, 0.5, 10), (1, 0.6, 14)):
        copy = tmp_path / "compare_0" / f"seed_{seed}" / "lightning_logs" / "version_0"
        shutil.copytree(trained_run, copy)
        change(copy / "config.yaml", r"(?m)^seed_everything: .*", f"seed_everything: {seed}")
        change(copy / "test.json", r'"accuracy": [\d.]+', f'"accuracy": {accuracy}')
        header, *rows = (copy / "metrics.csv").read_text().splitlines()
        column = header.split(",").index("epoch_seconds")
        cells = [row.split(",") for row in rows]
        timed = [[*row[:column], str(seconds) if row[column] else "", *row[column + 1 :]] for row in cells]
        (copy / "metrics.csv").write_text("\n".join([header, *map(",".join, timed)]) + "\n")
    return tmp_path / "compare_0"


def change(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


def test_runs_that_differ_in_their_seed_are_one_recipe(runs: Path) -> None:
    (found,), notes, left_out = read_ladder([runs])
    assert (found.accuracies, found.seconds, found.epochs) == ([0.5, 0.6], [20, 28], 2)
    assert found.name == "quickstart"
    assert [times for times, _ in found.curves] == [[10, 20], [14, 28]]
    assert found.train_images == [260]
    assert found.conditions["precision"] == ["32-true"]
    assert found.conditions["test images"][0].startswith("50 test images")
    assert (notes, left_out) == ([], [])


def test_only_finished_and_tested_runs_count(runs: Path) -> None:
    first, second = sorted(runs.glob("*/*/*"))
    (second / "test.json").unlink()
    (found,), _, left_out = read_ladder([runs])
    assert found.n == 1
    assert [path.resolve() for path in left_out] == [second]
    with pytest.raises(InputError, match="has not been tested: run"):
        read_ladder([second])
    record = json.loads((first / "fit.json").read_text())
    (first / "fit.json").write_text(json.dumps(record | {"earlier": [{**record, "status": "interrupted"}]}))
    assert "quickstart: a run was interrupted" in read_ladder([first]).notes[0]
    with pytest.raises(InputError, match="neither a run nor a folder with runs"):
        read_ladder([runs / "elsewhere"])


def test_the_command_writes_picture_and_table(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder.main([str(runs), "--output", str(tmp_path / "new" / "ladder.png"), "--note", "drawn images"])
    header, _, row, _, _, facts, *_ = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.split("|")][1:4] == ["recipe", "n", "test accuracy"]
    assert row.split("|")[1].strip() == "quickstart"
    assert "55.00 ± 7.07 %" in row
    assert "24 ± 6 s" in row
    assert facts.startswith(read_ladder([runs]).recipes[0].conditions["hardware"][0])
    assert facts.endswith("; drawn images.")
    with Image.open(tmp_path / "new" / "ladder.png") as picture:
        assert picture.width == 1440

    change(next(runs.glob("seed_1/*/*/fit.json")), r'"precision": "[^"]+"', '"precision": "bf16-mixed"')
    monkeypatch.setattr(sys, "argv", ["ladder", str(runs), "--output", str(tmp_path / "mixed.png")])
    with pytest.raises(SystemExit):
        run(ladder.main)
    assert "the runs differ in precision (32-true; bf16-mixed)" in capsys.readouterr().err
    assert not (tmp_path / "mixed.png").exists()
    ladder.main([str(runs), "--output", str(tmp_path / "mixed.png"), "--mixed"])
    assert "32-true or bf16-mixed" in capsys.readouterr().out


def test_mixed_recipes_are_labeled_with_what_differs() -> None:
    recipes = [recipe("a", [0.9], [60]), recipe("b", [0.8, 0.7], [30, 40], hardware="Xeon, 2 threads")]
    assert conditions_that_differ(recipes) == {"hardware": ["AMD EPYC, 1 thread", "Xeon, 2 threads"]}
    header, _, first, second = ladder.table(recipes, []).splitlines()
    assert "hardware" in header
    assert "precision" not in header
    assert "AMD EPYC, 1 thread" in first
    assert "Xeon, 2 threads" in second
    assert ladder.facts(recipes) == "32-true; 50 test images (aa); 300 training images; torch 2.14.1"
    labels = [text.get_text() for text in ladder.picture(recipes, []).legends[0].get_texts()]
    assert labels == ["a: 90.00 %, n = 1 (AMD EPYC, 1 thread)", "b: 75.00 ± 7.07 %, n = 2 (Xeon, 2 threads)"]


def test_peers_have_their_own_markers_and_name_their_hardware(tmp_path: Path) -> None:
    path = tmp_path / "peers.csv"
    path.write_text("name,seconds,accuracy,n,hardware\nairbench,2.59,0.9401,200,NVIDIA A100\n")
    (peer,) = peers = read_peers(path)
    assert peer == ("airbench", 2.59, 0.9401, 200, "NVIDIA A100")
    row = ladder.table([recipe("a", [0.9], [60])], peers).splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")][1:-1] == ["airbench", "200", "94.01 %", "2.59 s", "", "", peer[-1]]
    texts = ladder.picture([recipe("a", [0.9], [60])], peers).legends[0].get_texts()
    assert texts[1].get_text() == "airbench: 94.01 %, n = 200 (NVIDIA A100)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,seconds\na,1\n", "needs rows with the columns name, seconds, accuracy, n, hardware"),
        ("name,seconds,accuracy,n,hardware\n", "needs rows with the columns"),
        (
            "name,seconds,accuracy,n,hardware\na,1,94.01,1,A100\n",
            "row 1: seconds must be above 0, accuracy from 0 to 1",
        ),
        ("name,seconds,accuracy,n,hardware\na,1,0.9,1,\n", "row 1: name and hardware must not be empty"),
        ("name,seconds,accuracy,n,hardware\na,1,0.9\n", "row 1: name and hardware must not be empty"),
        ("name,seconds,accuracy,n,hardware\na,1,0.9,1,A100,x\n", "row 1: 5 values are needed"),
    ],
)
def test_a_wrong_file_of_peers_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "peers.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_peers(tmp_path / "peers.csv")


def test_ticks_are_seconds_minutes_and_hours() -> None:
    assert [ladder.tick_label(seconds) for seconds in ladder.time_ticks(4, 8000)] == [
        *("5 s", "10 s", "30 s", "1 min", "2 min", "5 min", "10 min", "30 min", "1 h", "2 h")
    ]
    assert ladder.tick_label(0.5) == "0.5 s"
    assert ladder.tick_label(172800) == "2 d"
