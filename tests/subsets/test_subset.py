from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.data import Arrays, CIFAR10DataModule, ImageFolder, ImageSet, Shapes, Source
from cifar_cnn.data.batches import EvalBatches, TrainBatches
from cifar_cnn.subsets.subset import Subset

LABELS = torch.arange(300) % 3
NAMES = ("cat", "dog", "truck")


def split(labels: torch.Tensor = LABELS, own_val: str | None = None, **options: Any) -> Any:
    return Subset(**options).split(labels, NAMES, own_val)


def test_a_fraction_of_the_training_images_keeps_each_class_and_leaves_validation() -> None:
    whole, tenth = split(val_size=60), split(val_size=60, train_fraction=0.1)
    assert torch.equal(tenth.val, whole.val)
    assert tenth.labels.bincount().tolist() == [8, 8, 8]
    assert set(tenth.train.tolist()) <= set(whole.train.tolist())
    assert tenth.facts == {"train_of": 240}
    assert whole.facts == {}


def test_a_number_of_images_per_class() -> None:
    few = split(val_size=0, train_per_class=7)
    assert few.labels.bincount().tolist() == [7, 7, 7]
    assert not torch.equal(few.train, split(val_size=0, train_per_class=7, seed=1).train)
    with pytest.raises(InputError, match="train_per_class 101 is too many: class cat has 100 training images"):
        split(val_size=0, train_per_class=101)


def test_folds_share_no_validation_image_and_together_validate_on_all() -> None:
    parts = [split(fold=fold, folds=4) for fold in range(4)]
    assert torch.cat([part.val for part in parts]).sort()[0].tolist() == list(range(300))
    assert [part.facts["fold"] for part in parts] == ["0 of 4", "1 of 4", "2 of 4", "3 of 4"]


def test_noise_changes_training_labels_alone_and_is_counted(tmp_path: Path) -> None:
    noisy = split(val_size=60, label_noise=0.25)
    assert torch.equal(noisy.val, split(val_size=60).val)
    assert noisy.facts == {"labels_changed": 60}
    assert int((noisy.labels != LABELS[noisy.train]).sum()) == 60
    wrong = LABELS.clone()
    wrong[::2] = 0
    np.save(tmp_path / "labels.npy", wrong.numpy())
    given = split(val_size=60, label_noise=tmp_path / "labels.npy")
    assert torch.equal(given.labels, wrong[given.train])
    assert given.facts == {"labels_changed": int((wrong != LABELS)[given.train].sum())}
    assert given.digest != noisy.digest != split(val_size=60).digest == split(val_size=60).digest


def test_a_file_names_the_validation_images(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("5 1 299")
    chosen = split(val_indices=tmp_path / "val.txt")
    assert chosen.val.tolist() == [1, 5, 299]
    assert len(chosen.train) == 297


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_size": -1}, "val_size must be a number of images or a fraction below 1; it is -1"),
        ({"val_size": 2.5}, "val_size must be a number of images or a fraction below 1; it is 2.5"),
        ({"val_size": 1.0}, "val_size must be a number of images or a fraction below 1; it is 1.0"),
        ({"val_size": 0, "fold": 0, "folds": 2}, "val_size 0 and folds 2 both choose .*: set val_size to null"),
        ({"val_size": 50, "fold": 0, "folds": 2}, "val_size 50 and folds 2 both choose .*: set val_size to null"),
        ({"val_indices": "a.txt", "fold": 0, "folds": 2}, "folds 2 and val_indices a.txt both choose"),
        ({"fold": 0}, "fold and folds belong together"),
        ({"fold": 2, "folds": 2}, "folds must be 2 or more, and fold from 0 to folds - 1; they are 2 and 2"),
        ({"train_fraction": 0}, "train_fraction must be above 0 and at most 1; it is 0"),
        ({"train_per_class": 0}, "train_per_class must be 1 or more"),
        ({"train_per_class": 3, "train_fraction": 0.5}, "give one of them"),
        ({"label_noise": 1.5}, "label_noise must be a fraction from 0 to 1 or a file; it is 1.5"),
        ({"label_noise_pairs": {"cat": "dog"}}, "label_noise_pairs needs label_noise, the fraction"),
        ({"label_noise": 0.1, "label_noise_array": "a"}, "give the file as label_noise"),
        ({"val_size": 5, "own_val": "ImageFolder"}, "ImageFolder has validation images of its own: val_size cannot"),
        ({"val_size": 0, "train_fraction": 0.004}, "val_size 0 with train_fraction 0.004 of 300 images leaves no"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        split(**options)
    assert "\n" not in str(caught.value)


class WithValidation(Shapes):
    """Shapes whose test images also validate."""

    has_val = True

    def load(self, split: Any) -> ImageSet:
        return super().load("test" if split == "val" else split)


def test_validation_images_of_the_source_are_used_and_stay_clean() -> None:
    data = CIFAR10DataModule(WithValidation(200, 50), label_noise=0.5)
    source = Shapes(200, 50)
    assert data.image_set("val").sha256() == source.load("test").sha256()
    train = data.image_set("train")
    assert torch.equal(train.images, source.load("train").images)
    assert int((train.labels != source.load("train").labels).sum()) == 100


def test_validation_images_of_another_shape_are_refused() -> None:
    class Odd(WithValidation):
        def load(self, split: Any) -> ImageSet:
            return Shapes(200, 50, image_size=16).load("test") if split == "val" else super().load(split)

    with pytest.raises(InputError, match=r"shape \(3, 16, 16\), the training images \(3, 32, 32\)"):
        CIFAR10DataModule(Odd(200, 50)).setup("fit")


@pytest.mark.parametrize("has_val", [True, False])
def test_folders_and_arrays_bring_their_validation_images(
    make_images: Callable[..., ImageSet], image_folder: Path, tmp_path: Path, has_val: bool
) -> None:
    sets = {"train": make_images(40), "val": make_images(20)}
    for name, image_set in sets.items():
        np.savez(tmp_path / f"{name}.npz", images=image_set.images.numpy(), labels=image_set.labels.numpy())
    if has_val:
        (image_folder / "test").rename(image_folder / "val")
    sources: list[Source] = [
        Arrays(tmp_path / "train.npz", val=tmp_path / "val.npz" if has_val else None),
        ImageFolder(image_folder, image_size=8),
    ]
    for source, own in zip(sources, (20, 20), strict=True):
        assert source.has_val == has_val
        data = CIFAR10DataModule(source, val_size=None if has_val else 8)
        data.prepare_data()
        assert len(data.image_set("val")) == (own if has_val else 8)


def test_batches_tell_the_positions_of_their_images_in_the_source() -> None:
    source = Shapes(200, 50)
    whole = source.load("train")
    data = CIFAR10DataModule(source, batch_size=32, val_size=40, train_fraction=0.5)
    train = TrainBatches(data.image_set("train"), 32, 0, lambda: 0, drop_last=False)
    val = EvalBatches(data.image_set("val"), 32)
    seen: list[int] = []
    for batch in (*train, *val):
        assert batch.indices is not None
        assert torch.equal(whole.images[batch.indices], batch.images)
        assert torch.equal(whole.labels[batch.indices], batch.labels)
        seen += batch.indices.tolist()
    assert len(set(seen)) == len(seen) == 80 + 40
