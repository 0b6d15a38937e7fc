"""Untrusted files take no more memory than their size, and cannot send commands to the terminal."""

import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cifar_cnn import quiet
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files import cache
from cifar_cnn.base.tables import printable, printable_values
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.distributed import stop_with_message
from cifar_cnn.runs.checkpoints import check_network, load_trained, read_checkpoint
from cifar_cnn.runs.schemas import read_record
from cifar_cnn.trust import names as trust
from tests.conftest import RunCommand, checkpoint_content

ESCAPE = "\x1b]0;owned\x07\x9b31mcat\n"
ESCAPED = r"\x1b]0;owned\x07\x9b31mcat\n"


def saved(**changes: Any) -> Path:
    torch.save({**checkpoint_content(), **changes}, "a.ckpt")
    return Path("a.ckpt")


def repacked(path: Path, pickle: bytes | None = None, compressed: bool = False) -> None:
    """Rewrite a checkpoint's archive, with another pickle or with compression."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            part = pickle if pickle is not None and info.filename.endswith("data.pkl") else old.read(info)
            kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            new.writestr(info.filename, part, kind)


def test_control_characters_are_escaped() -> None:
    assert printable(ESCAPE) == ESCAPED
    assert printable("a\nb\tc\r", keep="\n\t") == "a\nb\tc\\r"
    for text in ("ship", "猫", "👨‍👩‍👧", "كلب", "it's a \\x1b"):
        assert printable(text) == text
    assert printable("\udcff") == r"\udcff"
    tensor = torch.zeros(2)
    values = printable_values({ESCAPE: [ESCAPE, (ESCAPE, 1)], "tensor": tensor})
    assert values == {ESCAPED: [ESCAPED, (ESCAPED, 1)], "tensor": tensor}
    assert values["tensor"] is tensor


def test_strings_of_a_checkpoint_and_a_run_are_printable(run_command: RunCommand, image_folder: Path) -> None:
    names = [f"{ESCAPE}{i}" for i in range(10)]
    path = saved(
        CIFAR10DataModule={**checkpoint_content()["CIFAR10DataModule"], "class_names": names}, model=f"evil.{ESCAPE}"
    )
    read = read_checkpoint(path)
    assert read["CIFAR10DataModule"]["class_names"][3] == f"{ESCAPED}3"
    image = next((image_folder / "test").rglob("*.png"))
    finished = run_command("predict", image, "--ckpt_path", path)
    assert finished.status == 0
    assert ESCAPED in finished.out
    assert run_command("predict", image, "--ckpt_path", path, "--output", "classes.csv").status == 0
    for text in (finished.out, finished.err, Path("classes.csv").read_text()):
        assert not set(text) & set("\x1b\x07\x9b")
    Path("fit.json").write_text(json.dumps({"name": ESCAPE}))
    assert read_record(Path()) == {"name": ESCAPED}


def test_messages_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    stop_with_message(f"\ncifar-cnn: {ESCAPE}")
    with quiet.plain_output():
        logging.getLogger("cifar_cnn").warning("%s has changed", ESCAPE)
    error = capsys.readouterr().err
    assert error.startswith("\ncifar-cnn: ")
    assert error.count(ESCAPED[:-2]) == 2
    assert "\x1b" not in error


BOMBS: dict[str, Any] = {
    "state_dict": {"backbone.weight": torch.zeros(1).expand(10**9)},
    "callbacks": {"x": [torch.zeros(1, 1).expand(10**6, 10**6)]},
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_tensor_larger_than_its_file_is_rejected(name: str) -> None:
    with pytest.raises(InputError, match="is not a checkpoint of this project, or is damaged"):
        read_checkpoint(saved(**{name: BOMBS[name]}))


def test_a_compressed_checkpoint_is_rejected() -> None:
    path = saved(zeros=torch.zeros(10**6))
    read_checkpoint(path)
    repacked(path)
    read_checkpoint(path)
    repacked(path, compressed=True)
    assert path.stat().st_size < 10**5
    with pytest.raises(InputError, match="BadZipFile"):
        read_checkpoint(path)


def test_a_pickle_that_allocates_much_memory_is_rejected() -> None:
    path = saved()
    repacked(path, b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R.")  # 64 GB
    with pytest.raises(InputError, match="UnpicklingError"):
        read_checkpoint(path)


def test_a_network_larger_than_its_weights_is_not_created(run_command: RunCommand, image_folder: Path) -> None:
    backbone = {"class_path": "cifar_cnn.backbones.SimpleCNN", "init_args": {"channels": [60_000, 60_000, 2]}}
    path = saved(hyper_parameters={"backbone": backbone})  # 130 GB
    with pytest.raises(InputError, match="weights do not fit this SimpleCNN"):
        load_trained(path)
    assert "weights do not fit this SimpleCNN" in run_command.refused("test", "--ckpt_path", path)
    check_network(ImageClassifier, read_checkpoint(saved()))


def test_a_compressed_cache_of_images_is_not_read() -> None:
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    path = Path("images.npz")
    np.savez_compressed(path, fingerprint=np.array("key"), images=images.numpy() + 1)
    assert not cache.read_or_make([path], "key", 3, lambda: images).any()
    np.savez(path, fingerprint=np.array("key"), images=images.numpy() + 1)
    assert cache.read_or_make([path], "key", 3, lambda: images).all()


def test_yaml_aliases_are_not_expanded() -> None:
    lines = ["a0: &a0 [own.Net, own.Net]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    Path("a.yaml").write_text("\n".join(lines))
    assert trust.packages_of_options(["compare", "a.yaml"]) == {"own"}
