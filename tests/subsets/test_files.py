import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.subsets.files import read_indices, read_labels


def test_indices_are_read_from_each_format(tmp_path: Path) -> None:
    indices = [7, 0, 3]
    np.save(tmp_path / "a.npy", indices)
    np.savez(tmp_path / "b.npz", indices=np.array(indices, dtype=np.uint8))
    (tmp_path / "c.json").write_text(json.dumps(indices))
    (tmp_path / "d.txt").write_text("7\n0\n3\n")
    for name in ("a.npy", "b.npz", "c.json", "d.txt"):
        assert read_indices(tmp_path / name, 8).tolist() == [0, 3, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 10", "indices go from 1 to 10; those of the 10 training images go from 0 to 9"),
        ("-1", "indices go from -1 to -1"),
        ("3 4 3", "holds an index twice: 3"),
        ("", "holds no indices"),
        ("1.5", "cannot be read as integers"),
    ],
)
def test_unusable_indices_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "val.txt").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_indices(tmp_path / "val.txt", 10)
    assert "val.txt" in str(caught.value)


def test_other_files_of_indices_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    (tmp_path / "b.json").write_text('{"a": 1}')
    np.savez(tmp_path / "c.npz", labels=[1])
    for name, message in (
        ("a.npy", "indices are float64 of shape"),
        ("b.json", "indices are object of shape"),
        ("c.npz", "has no array 'indices'; it has labels$"),
        ("d.txt", "is not a file"),
        ("d.npy", "cannot be read: No such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_indices(tmp_path / name, 10)


NAMES = ("cat", "dog", "truck")
LABELS = np.array([0, 2, 1, 1])


def test_labels_are_read_from_each_format(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LABELS)
    np.savez(tmp_path / "b.npz", labels=LABELS, worse_label=1 - LABELS // 2)
    torch.save({"clean_label": LABELS, "worse_label": 1 - LABELS // 2}, tmp_path / "c.pt")  # as in CIFAR-10N
    torch.save(torch.tensor(LABELS, dtype=torch.int32), tmp_path / "d.pt")
    for name, array in (("a.npy", None), ("b.npz", None), ("c.pt", "clean_label"), ("d.pt", None)):
        assert read_labels(tmp_path / name, array, 4, NAMES).tolist() == [0, 2, 1, 1]
    for name in ("b.npz", "c.pt"):
        assert read_labels(tmp_path / name, "worse_label", 4, NAMES).tolist() == [1, 0, 1, 1]


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harm"),))


def test_unusable_labels_are_refused(tmp_path: Path) -> None:
    torch.save({"a": LABELS, "b": LABELS}, tmp_path / "two.pt")
    np.savez(tmp_path / "two.npz", a=LABELS, b=LABELS)
    torch.save({"a": Harmful()}, tmp_path / "code.pt")
    torch.save(torch.zeros(4), tmp_path / "floats.pt")
    np.save(tmp_path / "long.npy", np.zeros(5, int))
    np.save(tmp_path / "high.npy", np.full(4, 3))
    for name, array, message in (
        ("two.pt", None, "holds a, b: name one with label_noise_array"),
        ("two.npz", None, "has no array 'labels'; it has a, b; name one with label_noise_array"),
        ("long.npy", "a", "holds a single array without a name: leave out label_noise_array a"),
        ("floats.pt", "a", "holds a single array without a name: leave out label_noise_array a"),
        ("two.pt", "c", "holds no 'c'; it holds a, b"),
        ("code.pt", None, "other Python objects are not loaded"),
        ("floats.pt", None, "labels are float32 of shape"),
        ("long.npy", None, "holds 5 labels; there are 4 training images"),
        ("40%", None, "label_noise is a fraction from 0 to 1 or a file; there is no file .*40%"),
        ("high.npy", None, "labels go from 3 to 3, but there are 3 classes, 0 to 2"),
    ):
        with pytest.raises(InputError, match=message):
            read_labels(tmp_path / name, array, 4, NAMES)
    assert not Path("harm").exists()
