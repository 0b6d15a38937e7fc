import csv
import gc
import json
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifar_cnn.analysis import predict
from cifar_cnn.base.image_files import folders
from cifar_cnn.base.image_files.decoding import decode_image
from cifar_cnn.runs.checkpoints import load_trained
from tests.conftest import RunCommand


def test_csv_json_and_terminal_agree(trained_run: Path, image_folder: Path, run_command: RunCommand) -> None:
    arguments = ["predict", str(image_folder / "test"), "--ckpt_path", str(trained_run)]
    arguments += ["--batch_size", "3"]
    finished = run_command(*arguments, "--output", "classes.csv")
    assert (finished.status, finished.out) == (0, "20 images classified: classes.csv\n")
    assert run_command(*arguments, "--output", "classes.json").status == 0
    finished = run_command(*arguments, "--top", "2")
    assert finished.status == 0
    lines = finished.out.splitlines()
    with Path("classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    objects = json.loads(Path("classes.json").read_text(encoding="utf-8"))

    trained = load_trained(trained_run / "checkpoints/best.ckpt")
    assert len(rows) == len(objects) == len(lines) == 20
    for row, content, line in zip(rows, objects, lines, strict=True):
        pixels = decode_image(Path(row["path"]), 32)
        expected = trained.probabilities(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])[0]
        first, second = expected.argsort(descending=True)[:2].tolist()
        assert row["path"] == content["path"]
        assert row["class"] == content["class"] == trained.class_names[first]
        np.testing.assert_allclose([float(row[name]) for name in trained.class_names], expected, atol=2e-6)
        assert content["probabilities"] == {name: float(row[name]) for name in trained.class_names}
        assert line.split()[:4:2] == [trained.class_names[first], trained.class_names[second]]
        assert line.endswith(row["path"])


def test_any_format_and_size(trained_run: Path, run_command: RunCommand) -> None:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (40, 700, 3), dtype=np.uint8))
    images = {
        "tiny.png": rgb.resize((1, 1)),
        "wide.jfif": rgb,
        "palette.gif": rgb.convert("P"),
        "alpha.png": rgb.convert("RGBA"),
        "bilevel.tif": rgb.convert("1"),
        "sixteen.png": Image.fromarray(rng.integers(0, 65536, (50, 50), dtype=np.uint16)),
        "print.jpg": rgb.convert("CMYK"),
    }
    Path("images").mkdir()
    for name, image in images.items():
        image.save(Path("images", name), format="JPEG" if name.endswith("jfif") else None)
    shutil.copy("images/tiny.png", "no_ending")  # a file that is given by its path needs no known extension
    finished = run_command("predict", "images", "no_ending", "--ckpt_path", trained_run, "--top", "1")
    assert finished.status == 0
    listed = [line.split()[-1] for line in finished.out.splitlines()]
    assert listed == [*(f"images/{name}" for name in sorted(images)), "no_ending"]


def test_unreadable_files_are_listed_and_the_rest_is_classified(trained_run: Path, run_command: RunCommand) -> None:
    folder = Path("images")
    folder.mkdir()
    good = folder / os.fsdecode(b"b\xff.png")  # a name that is not UTF-8
    Image.new("RGB", (9, 9)).save(good)
    Image.new("RGB", (9, 9)).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:40])
    (folder / "text.jpg").write_text("no image")
    (folder / "dangling.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")  # opening it would block
    for name in ("classes.csv", "classes.json"):
        finished = run_command("predict", "images", "--ckpt_path", trained_run, "--output", name, "--batch_size", "1")
        assert (finished.status, finished.out) == (1, f"1 image classified: {name}\n")
        complaints = [line for line in finished.err.splitlines() if line.startswith("cifar-cnn: ")]
        wanted = ("cut.png", "dangling.png", "pipe.png", "text.jpg")
        assert complaints == [f"cifar-cnn: unreadable image: images/{name}" for name in wanted]
        assert "b\\xff.png" in Path(name).read_text(encoding="utf-8").replace("\\\\", "\\")
    good.unlink()
    assert run_command("predict", "images", "--ckpt_path", trained_run, "--output", "none.json").status == 1
    assert json.loads(Path("none.json").read_text()) == []


def test_names_are_escaped_for_the_terminal_and_complete_in_files(trained_run: Path, run_command: RunCommand) -> None:
    names = ["ä ö 日本.webp", "b\nc\x1b[2J.png"]
    Path("images").mkdir()
    for name in names:
        Image.new("RGB", (9, 9)).save(Path("images", name))
    Path("images", "d\x07.png").touch()
    arguments = ["predict", "images", "--ckpt_path", str(trained_run)]
    finished = run_command(*arguments, "--top", "1")
    assert finished.status == 1
    assert [line.split("   ")[-1] for line in finished.out.splitlines()] == [
        "images/b\\nc\\x1b[2J.png",
        "images/ä ö 日本.webp",
    ]
    assert finished.err == "cifar-cnn: unreadable image: images/d\\x07.png\n"
    assert run_command(*arguments, "--output", "classes.csv").status == 1
    with Path("classes.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(row["path"]).name for row in csv.DictReader(file)} == set(names)


def test_linked_folders_are_read_and_skipped_files_are_reported(trained_run: Path, run_command: RunCommand) -> None:
    for name in ("images", "elsewhere"):
        Path(name).mkdir()
        Image.new("RGB", (9, 9)).save(Path(name, "a.png"))
    Path("images", "linked").symlink_to(Path("elsewhere").absolute())
    Path("elsewhere", "back").symlink_to(Path("images").absolute())
    Path("elsewhere", "self").symlink_to(Path("elsewhere").absolute())
    for name in ("b.heic", "c.HEIC", "notes"):
        Path("images", name).touch()
    finished = run_command("predict", "images", "--ckpt_path", trained_run, "--top", "1")
    assert finished.status == 0
    assert [line.split()[-1] for line in finished.out.splitlines()] == ["images/a.png", "images/linked/a.png"]
    skipped = "skipped 5 files: circular link (2), extension .heic (2), no extension (1)"
    assert finished.err == f"cifar-cnn: {skipped}\n"
    Path("images", "a.png").unlink()
    Path("images", "linked").unlink()
    refused = run_command.refused("predict", "images", "--ckpt_path", trained_run)
    assert refused.startswith("no images in images: skipped 3 files: extension .heic (2)")


def test_memory_does_not_grow_with_the_number_of_images(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = load_trained(trained_run / "checkpoints/best.ckpt")
    picture = np.zeros((32, 32, 3), np.uint8)
    monkeypatch.setattr(predict, "decode_image", lambda *arguments: picture)
    monkeypatch.setattr(folders, "is_image_name", lambda name: True)

    def peak(n: int) -> int:
        monkeypatch.setattr(os, "walk", lambda path, onerror, followlinks: (("d", [], [f"{i}.png"]) for i in range(n)))
        gc.freeze()  # objects that other tests have left would delay garbage collection
        tracemalloc.start()
        assert predict.classify_files(trained, ["."], Path("c.csv"), batch_size=100).count == n
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.unfreeze()
        return result

    peak(200)  # imports and fills caches
    # pathlib interns names, and occasionally Python's table of interned strings grows by megabytes.
    few, many = peak(200), min(peak(4000), peak(4000))
    assert many < few + 500_000  # bytes; the names alone would take more


def test_mistakes_are_one_line(trained_run: Path, run_command: RunCommand) -> None:
    checkpoint = ["--ckpt_path", str(trained_run)]
    Path("empty").mkdir()
    for arguments, message in (
        (["nowhere.png", *checkpoint], "no file or folder nowhere.png"),
        (["empty", *checkpoint], "no images in empty"),
        (["empty", "--top", "0"], "--top and --batch_size must be 1 or more"),
        (["empty", "--top", "three"], "invalid int value: 'three'"),
        (["empty", "--outptu", "x.csv"], "unknown option --outptu; nearest: --output"),
        ([], "the following arguments are required: IMAGE_OR_FOLDER"),
        (["empty", "--ckpt_path", "nope"], "no checkpoint nope"),
    ):
        assert message in run_command.refused("predict", *arguments)
