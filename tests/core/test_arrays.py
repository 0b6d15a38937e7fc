import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.data.sources import Arrays
from tests.conftest import RunCommand

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


def saved(name: str = "own.npz", **arrays: Any) -> str:
    np.savez(name, **{"images": IMAGES, "labels": LABELS, **arrays})
    return name


def message(**arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        Arrays(**arguments).load("train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("images", [IMAGES, IMAGES.transpose(0, 3, 1, 2), np.asfortranarray(IMAGES)])
@pytest.mark.parametrize("compressed", [False, True])
def test_both_layouts_give_the_same_images(images: np.ndarray, compressed: bool) -> None:
    (np.savez_compressed if compressed else np.savez)("own.npz", images=images, labels=LABELS.astype(np.uint8))
    found = Arrays("own.npz").load("train")
    assert torch.equal(found.images, torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    assert found.images.is_contiguous()
    assert found.labels.tolist() == LABELS.tolist()
    assert found.class_names == ("0", "1", "2", "3")


def test_images_and_labels_of_their_own_files_and_some_rows() -> None:
    np.save("fog.npy", IMAGES)
    np.save("labels.npy", LABELS)
    found = Arrays(test="fog.npy", test_labels="labels.npy", test_rows=(5, 10)).load("test")
    assert torch.equal(found.images, torch.from_numpy(IMAGES[5:10]).permute(0, 3, 1, 2))
    assert found.labels.tolist() == LABELS[5:10].tolist()
    with pytest.raises(InputError, match=r"fog.npy has the rows 0 to 20; 5 to 21 were requested"):
        Arrays(test="fog.npy", test_labels="labels.npy", test_rows=(5, 21)).load("test")


def test_class_names_come_from_the_arguments_the_file_or_the_labels() -> None:
    names = ["cat", "dog", "eel", "fox"]
    named = saved("named.npz", class_names=np.array(names))
    assert Arrays(named).class_names == Arrays(test=named).class_names == tuple(names)
    assert Arrays(saved(), class_names=names).load("train").class_names == tuple(names)
    assert Arrays(named, class_names=names).load("train").class_names == tuple(names)
    assert message(train=named, class_names=names[::-1]) == (
        "named.npz has the classes cat, dog, eel, fox, not fox, eel, dog, cat"
    )
    assert "labels go from 0 to 3, but there are 3 classes, 0 to 2" in message(train=saved(), class_names=names[:3])
    assert "class_names must be text" in message(train=saved(class_names=np.arange(4)))


@pytest.mark.parametrize("images", [IMAGES[..., 0], IMAGES[..., :1], IMAGES[..., :1].transpose(0, 3, 1, 2)])
def test_gray_images_have_one_channel(images: np.ndarray) -> None:
    assert torch.equal(Arrays(saved(images=images)).load("train").images, torch.from_numpy(IMAGES[:, None, ..., 0]))


def test_images_may_have_four_channels() -> None:
    images = np.concatenate([IMAGES, IMAGES[..., :1]], 3)
    found = Arrays(saved(images=images)).load("train").images
    assert torch.equal(found, torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES / 255}, "images are float64 of shape (20, 8, 8, 3): save them as (images * 255).round()"),
        ({"images": IMAGES.astype(int)}, "images are int64 of shape (20, 8, 8, 3): save them as uint8"),
        ({"images": IMAGES[:, :, :6, 0]}, "images are uint8 of shape (20, 1, 8, 6): crop or scale them to squares"),
        ({"images": LABELS.astype(np.uint8)}, "(20,): save them as (N, H, W, C), (N, C, H, W) or, for gray ones, (N"),
        ({"images": np.repeat(IMAGES, 2, 3)}, "save them as (N, H, W, C) or (N, C, H, W), with up to 4 channels"),
        ({"images": IMAGES[:, :3]}, "which could be (N, C, H, W) or (N, H, W, C): use images of over 4 pixels a side"),
        ({"images": IMAGES[:, :5]}, "images are uint8 of shape (20, 5, 8, 3): crop or scale them to squares"),
        ({"images": np.array([IMAGES, None], object)}, "images cannot be read: Python objects are not loaded"),
        ({"labels": LABELS[:-1]}, "has 20 images, but there are 19 labels"),
        ({"labels": LABELS - 1}, "labels are class indices from 0; the smallest is -1"),
        ({"labels": np.eye(4)[LABELS]}, "labels are float64 of shape (20, 4): save labels.argmax(1)"),
        ({"labels": LABELS * 1.0}, "labels are float64 of shape (20,): save integers of shape (N,)"),
        ({"labels": LABELS[:0]}, "labels are int64 of shape (0,): save integers of shape (N,)"),
    ],
)
def test_arrays_that_cannot_be_used_are_one_line(arrays: dict[str, Any], words: str) -> None:
    assert words in message(train=saved(**arrays))


def test_files_that_cannot_be_used_are_one_line() -> None:
    assert message() == "Arrays has no training images: give train, an .npz or .npy file"
    assert message(test=saved()) == "Arrays has no training images: give train, an .npz or .npy file"
    np.savez("keys.npz", x_train=IMAGES, y_train=LABELS)
    assert message(train="keys.npz").startswith("keys.npz has no array 'labels'; it has x_train, y_train: write it")
    np.save("images.npy", IMAGES)
    assert message(train="images.npy") == "images.npy holds no labels: give them as a separate .npy file"
    Path("cut.npy").write_bytes(Path("images.npy").read_bytes()[:500])
    assert "cut.npy: images cannot be read: " in message(train="cut.npy", train_labels=saved(), class_names=["a"])
    Path("page.npz").write_text("<html>")
    assert "page.npz is not an .npz or .npy file: write it with np.savez" in message(train="page.npz")
    assert "none.npz cannot be read: No such file" in message(train="none.npz")
    assert "cannot be read: it is not a file" in message(train=".")


def test_a_file_takes_no_more_memory_than_it_says_and_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    header = io.BytesIO()
    shape = (10**12, 8, 8, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    labels = io.BytesIO()
    np.save(labels, LABELS)
    with zipfile.ZipFile("huge.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(1000))
        archive.writestr("labels.npy", labels.getvalue())
    assert "its header declares 192.0 TB; 1.0 kB follow" in message(train="huge.npz")
    monkeypatch.setattr("cifar_cnn.base.image_files.arrays.available_memory", lambda: 1000)
    assert "own.npz needs 3.8 kB of memory; 1.0 kB are available" in message(train=saved(), class_names=list("abcd"))
    monkeypatch.setattr("cifar_cnn.base.image_files.memory.available_memory", lambda: 1000)
    np.save("images.npy", IMAGES)
    np.save("labels.npy", LABELS)
    words = message(train="images.npy", train_labels="labels.npy")
    assert words == "20 images of 8x8 pixels need 7.7 kB of memory; 1.0 kB are available: use fewer images"


def test_a_test_needs_no_training_images_and_no_class_names(trained_run: Path, run_command: RunCommand) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    file = saved(images=images, labels=np.arange(30) % 10)
    arguments = ["--data.source", "Arrays", "--data.source.test", file, "--name", "own"]
    shutil.copytree(trained_run, "run")
    finished = run_command("test", "--ckpt_path", "run", *arguments, "--report", "false")
    assert finished.status == 0, finished.err
    assert "disc" in finished.out
    assert "of 30" in finished.out
    assert json.loads(Path("run/test_own.json").read_text())["tested_on"]["root"] == str(Path(file).absolute())
    refused = run_command.refused("fit", "--config", "quickstart", *arguments[:4])
    assert refused == "Arrays has no training images: give train, an .npz or .npy file"
    assert not Path("lightning_logs").exists()
