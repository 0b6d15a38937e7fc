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
from cifar_cnn.data import folders
from cifar_cnn.data.decoding import decode_image
from cifar_cnn.errors import InputError
from cifar_cnn.runs.checkpoints import load_trained

Capture = pytest.CaptureFixture[str]


def test_csv_json_and_terminal_say_the_same(trained_run: Path, image_folder: Path, capsys: Capture) -> None:
    arguments = [str(image_folder / "test"), "--ckpt_path", str(trained_run)]
    arguments += ["--batch_size", "3"]
    assert predict.main([*arguments, "--output", "classes.csv"]) == 0
    assert capsys.readouterr().out == "20 images classified: classes.csv\n"
    assert predict.main([*arguments, "--output", "classes.json"]) == 0
    capsys.readouterr()
    assert predict.main([*arguments, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
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


def test_any_format_and_size(trained_run: Path, capsys: Capture) -> None:
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
    shutil.copy("images/tiny.png", "no_ending")  # named itself, a file needs no known ending
    assert predict.main(["images", "no_ending", "--ckpt_path", str(trained_run), "--top", "1"]) == 0
    listed = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert listed == [*(f"images/{name}" for name in sorted(images)), "no_ending"]


def test_what_cannot_be_read_is_listed_and_the_rest_is_done(trained_run: Path, capsys: Capture) -> None:
    folder = Path("images")
    folder.mkdir()
    good = folder / os.fsdecode(b"b\xff.png")  # a name that is no UTF-8
    Image.new("RGB", (9, 9)).save(good)
    Image.new("RGB", (9, 9)).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:40])
    (folder / "text.jpg").write_text("no image")
    (folder / "dangling.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")  # would be waited for
    for name in ("classes.csv", "classes.json"):
        assert predict.main(["images", "--ckpt_path", str(trained_run), "--output", name, "--batch_size", "1"]) == 1
        captured = capsys.readouterr()
        assert captured.out == f"1 image classified: {name}\n"
        complaints = [line for line in captured.err.splitlines() if line.startswith("cifar-cnn: ")]
        wanted = ("cut.png", "dangling.png", "pipe.png", "text.jpg")
        assert complaints == [f"cifar-cnn: not an image that can be read: images/{name}" for name in wanted]
        assert "b\\xff.png" in Path(name).read_text(encoding="utf-8").replace("\\\\", "\\")
    good.unlink()
    assert predict.main(["images", "--ckpt_path", str(trained_run), "--output", "none.json"]) == 1
    assert json.loads(Path("none.json").read_text()) == []


def test_names_cannot_rule_the_terminal_and_are_whole_in_a_table(trained_run: Path, capsys: Capture) -> None:
    names = ["ä ö 日本.webp", "b\nc\x1b[2J.png"]
    Path("images").mkdir()
    for name in names:
        Image.new("RGB", (9, 9)).save(Path("images", name))
    Path("images", "d\x07.png").touch()
    arguments = ["images", "--ckpt_path", str(trained_run)]
    assert predict.main([*arguments, "--top", "1"]) == 1
    output, errors = capsys.readouterr()
    assert [line.split("   ")[-1] for line in output.splitlines()] == [
        "images/b\\nc\\x1b[2J.png",
        "images/ä ö 日本.webp",
    ]
    assert errors == "cifar-cnn: not an image that can be read: images/d\\x07.png\n"
    assert predict.main([*arguments, "--output", "classes.csv"]) == 1
    with Path("classes.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(row["path"]).name for row in csv.DictReader(file)} == set(names)


def test_linked_folders_are_read_and_skipped_files_are_told(trained_run: Path, capsys: Capture) -> None:
    for name in ("images", "elsewhere"):
        Path(name).mkdir()
        Image.new("RGB", (9, 9)).save(Path(name, "a.png"))
    Path("images", "linked").symlink_to(Path("elsewhere").absolute())
    Path("elsewhere", "back").symlink_to(Path("images").absolute())
    Path("elsewhere", "self").symlink_to(Path("elsewhere").absolute())
    for name in ("b.heic", "c.HEIC", "notes"):
        Path("images", name).touch()
    assert predict.main(["images", "--ckpt_path", str(trained_run), "--top", "1"]) == 0
    output, errors = capsys.readouterr()
    assert [line.split()[-1] for line in output.splitlines()] == ["images/a.png", "images/linked/a.png"]
    skipped = "skipped 5 files: ending .heic (2), link that leads back (2), no ending (1)"
    assert errors == f"cifar-cnn: {skipped}\n"
    Path("images", "a.png").unlink()
    Path("images", "linked").unlink()
    with pytest.raises(InputError, match=r"no images in images: skipped 3 files: ending .heic \(2\)"):
        predict.main(["images", "--ckpt_path", str(trained_run)])


def test_memory_does_not_grow_with_the_number_of_images(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    monkeypatch.setattr(predict, "decode_image", lambda path, size: picture)
    monkeypatch.setattr(folders, "is_image_name", lambda name: True)

    def peak(n: int) -> int:
        monkeypatch.setattr(os, "walk", lambda path, onerror, followlinks: (("d", [], [f"{i}.png"]) for i in range(n)))
        gc.freeze()  # garbage is collected the later, the more objects other tests have left
        tracemalloc.start()
        assert predict.main([".", "--ckpt_path", str(trained_run), "--output", "c.csv", "--batch_size", "100"]) == 0
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.unfreeze()
        return result

    peak(200)  # what is imported and cached on first use
    # pathlib interns names: once in a long while Python's table of all interned strings grows, by megabytes.
    few, many = peak(200), min(peak(4000), peak(4000))
    assert "4,000 images classified" in capsys.readouterr().out
    assert many < few + 500_000  # bytes; the names alone would take more


def test_mistakes_are_one_line(trained_run: Path) -> None:
    checkpoint = ["--ckpt_path", str(trained_run)]
    Path("empty").mkdir()
    for arguments, message in (
        (["nowhere.png", *checkpoint], "no file or folder nowhere.png"),
        (["empty", *checkpoint], "no images in empty"),
        (["empty", "--top", "0"], "--top and --batch_size are 1 or more"),
        (["empty", "--top", "three"], "invalid int value: 'three'"),
        (["empty", "--outptu", "x.csv"], "unknown option --outptu; nearest: --output"),
        ([], "the following arguments are required: IMAGE_OR_FOLDER"),
        (["empty", "--ckpt_path", "nope"], "no checkpoint nope"),
    ):
        with pytest.raises(InputError, match=message):
            predict.main(arguments)
