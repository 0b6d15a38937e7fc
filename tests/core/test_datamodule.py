from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from cifar_cnn.backbones import SimpleCNN
from cifar_cnn.base.channel_statistics import channel_mean_std
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import Augment, Batch, CIFAR10DataModule, ImageSet, Shapes
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.preparation import Preparation
from cifar_cnn.data.sources import Source, Split

QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


class Watched(Shapes):
    """Shapes that remember which splits were loaded."""

    def __init__(self) -> None:
        super().__init__(200, 50)
        self.loaded: list[Split] = []
        self.prepared: list[Split] = []

    def load(self, split: Split) -> ImageSet:
        self.loaded.append(split)
        return super().load(split)

    def prepare(self, split: Split = "train") -> None:
        self.prepared.append(split)


class Seen(ImageClassifier):
    """A classifier that keeps its batches."""

    def __init__(self) -> None:
        super().__init__(SimpleCNN((2, 2, 2)))
        self.batches: list[Batch] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.batches.append(batch)
        return super().training_step(batch, batch_idx)


def fit(data: CIFAR10DataModule, precision: str = "32", epochs: int = 1) -> Seen:
    model = Seen()
    trainer = Trainer(
        max_epochs=epochs,
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model


def test_the_test_images_are_loaded_only_for_test() -> None:
    source = Watched()
    data = CIFAR10DataModule(source, val_size=50)
    data.prepare_data()
    data.setup("fit")
    data.setup("validate")
    assert source.loaded == ["train"]
    data.setup("test")
    assert source.loaded == ["train", "test"]


def test_loaded_images_are_not_prepared_again() -> None:
    source = Watched()
    data = CIFAR10DataModule(source, val_size=50)
    model = fit(data)
    assert model.trainer.datamodule is data  # type: ignore[attr-defined]
    model.trainer.validate(model, data, verbose=False)
    assert source.prepared == ["train"]
    for _ in range(2):
        model.trainer.test(model, data, verbose=False)
    assert source.prepared == ["train", "test"]


def test_normalization_is_measured_on_the_training_images() -> None:
    data = CIFAR10DataModule(Shapes(200, 50), val_size=50)
    data.setup("fit")
    assert data.mean_std == channel_mean_std(data.train_images)


def test_batches_arrive_normalized() -> None:
    model = fit(CIFAR10DataModule(Shapes(1000, 50), val_size=100, drop_last=False))
    images = torch.cat([batch.images for batch in model.batches])
    assert images.dtype == torch.float32
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-true", torch.bfloat16), ("64-true", torch.float64), ("bf16-mixed", torch.float32)]
)
def test_batches_come_in_the_precision_of_the_weights(precision: str, dtype: torch.dtype) -> None:
    model = fit(CIFAR10DataModule(Shapes(100, 50), val_size=20), precision)
    assert {batch.images.dtype for batch in model.batches} == {dtype}


def test_augmentation_differs_between_epochs_and_not_between_runs() -> None:
    def images(seed: int) -> list[torch.Tensor]:
        data = CIFAR10DataModule(Shapes(64, 50), 64, val_size=0, seed=seed, augment=Augment(4, flip=True, cutout=4))
        return [batch.images for batch in fit(data, epochs=2).batches]

    first, again, other = images(0), images(0), images(1)
    assert len(first) == 2
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0].sort(0)[0], first[1].sort(0)[0])


@pytest.mark.parametrize(("overfit", "steps"), [(1, 1), (2, 2), (0.5, 3)])
def test_overfit_batches_trains_and_validates_on_the_same_plain_batches(overfit: int | float, steps: int) -> None:
    class Validated(Seen):
        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            validated.append(batch)
            super().validation_step(batch, batch_idx)

    validated: list[Batch] = []
    model = Validated()
    data = CIFAR10DataModule(Shapes(60, 10), 10, val_size=0, augment=Augment(4, flip="alternating", cutout=4))
    Trainer(max_epochs=3, overfit_batches=overfit, num_sanity_val_steps=0, **QUIET).fit(model, data)
    assert len(model.batches) == len(validated) == 3 * steps
    train = data.image_set("train")
    mean, std = map(torch.tensor, data.mean_std)
    for step, (batch, seen) in enumerate(zip(model.batches, validated, strict=True)):
        assert batch.indices is not None
        assert torch.equal(batch.images, normalize(train.images[batch.indices], mean, std))
        assert torch.equal(batch.images, model.batches[step % steps].images)
        assert torch.equal(batch.images, seen.images)
        assert torch.equal(batch.labels, seen.labels)


def test_a_network_memorizes_one_batch() -> None:
    torch.manual_seed(0)
    model = ImageClassifier(SimpleCNN((8, 16, 16)), optimizer=partial(torch.optim.Adam, lr=0.01))
    trainer = Trainer(max_epochs=60, overfit_batches=1, num_sanity_val_steps=0, **QUIET)
    trainer.fit(model, CIFAR10DataModule(Shapes(100, 20), 20, val_size=20))
    assert trainer.callback_metrics["train/loss"] < 0.002
    assert trainer.callback_metrics["val/loss"] < 0.002


def test_all_splits_are_available_by_name() -> None:
    data = CIFAR10DataModule(Shapes(200, 50), val_size=40)
    assert [len(data.image_set(split)) for split in ("train", "val", "test")] == [160, 40, 50]
    assert data.image_set("train").images is data.train_images
    with pytest.raises(InputError, match="'train', 'val' or 'test', not 'training'"):
        data.image_set("training")  # type: ignore[arg-type]


def test_batches_without_a_trainer_equal_those_of_a_trainer() -> None:
    def data() -> CIFAR10DataModule:
        return CIFAR10DataModule(Shapes(64, 30), 16, val_size=20, seed=3, augment=Augment(2, flip=True, cutout=4))

    expected = fit(data(), epochs=2).batches
    alone = data()
    alone.setup("fit")
    found = [batch for _ in range(2) for batch in alone.train_dataloader()]
    assert len(found) == len(expected) == 4
    for batch, other in zip(found, expected, strict=True):
        assert torch.equal(batch.images, other.images)
        assert torch.equal(batch.labels, other.labels)
    mean, std = map(torch.tensor, alone.mean_std)
    for split, loader in {"val": alone.val_dataloader(), "test": alone.test_dataloader()}.items():
        image_set = alone.image_set(split)  # type: ignore[arg-type]
        source = alone.source.load("test" if split == "test" else "train")
        only = next(iter(loader))
        assert isinstance(only, Batch)
        assert only.indices is not None
        positions = range(len(source)) if image_set.positions is None else image_set.positions.tolist()
        assert sorted(only.indices.tolist()) == list(positions)
        assert torch.equal(only.images, normalize(source.images[only.indices], mean, std))


def small_source(make_images: Callable[..., ImageSet], labels: list[int], classes: int = 10) -> Source:
    class Small(Source):
        class_names = tuple(f"class {i}" for i in range(classes))

        def load(self, split: Split) -> ImageSet:
            return ImageSet(make_images(len(labels)).images, torch.tensor(labels), self.class_names)

    return Small()


def test_a_class_without_training_images_after_the_split_is_named(make_images: Callable[..., ImageSet]) -> None:
    data = CIFAR10DataModule(small_source(make_images, list(range(10))), val_size=5)
    with pytest.raises(InputError, match=r"val_size 5 of 10 images leaves no training image of class \d, .*: leave"):
        data.setup("fit")
    data = CIFAR10DataModule(small_source(make_images, [0] * 9 + [1], 2), val_size=5)
    assert set(data.image_set("train").labels.tolist()) == {0, 1}


def test_a_class_without_images_is_named(
    make_images: Callable[..., ImageSet], caplog: pytest.LogCaptureFixture
) -> None:
    CIFAR10DataModule(small_source(make_images, [0, 1, 0, 1], 3), val_size=0).setup("fit")
    assert "no training image of class 2" in caplog.text


def test_a_wrong_return_value_of_a_source_is_explained() -> None:
    class Wrong(Shapes):
        def load(self, split: Split) -> ImageSet:
            found = super().load(split)
            return found.images, found.labels  # type: ignore[return-value]

    with pytest.raises(InputError, match=r"Wrong.load must return an ImageSet; it returned tuple"):
        CIFAR10DataModule(Wrong(10, 10)).setup("fit")


def test_a_checkpoint_restores_its_normalization() -> None:
    trained = CIFAR10DataModule(Shapes(200, 50), val_size=50)
    trained.setup("fit")
    other = CIFAR10DataModule(Shapes(200, 50, seed=5, noise=99), val_size=50)
    other.load_state_dict(trained.state_dict())
    assert other.mean_std == trained.mean_std
    assert trained.state_dict()["class_names"] == list(Shapes().class_names)
    assert trained.state_dict()["image_size"] == 32


def test_a_checkpoint_of_other_classes_is_refused(make_images: Callable[..., ImageSet]) -> None:
    class Other(Source):
        @property
        def class_names(self) -> tuple[str, ...]:
            return make_images(1).class_names

        def load(self, split: Split) -> ImageSet:
            return make_images(20)

    data = CIFAR10DataModule(Shapes(200, 50), val_size=50)
    data.setup("fit")
    with pytest.raises(InputError, match=r"was trained on the classes disc, .*; these images have class 0"):
        CIFAR10DataModule(Other()).load_state_dict(data.state_dict())


@pytest.mark.parametrize("sizes", [{"batch_size": 0}, {"eval_batch_size": -1}])
def test_batch_sizes_below_one_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="1 or more"):
        CIFAR10DataModule(Shapes(), **sizes)


def test_training_images_grow_and_validation_images_have_full_size() -> None:
    class Validated(Seen):
        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            sizes.add(batch.images.shape[-1])
            super().validation_step(batch, batch_idx)

    sizes: set[int] = set()
    small = SimpleCNN((2, 2, 2), head="max_pool")
    model = Validated()
    model.backbone = small
    data = CIFAR10DataModule(Shapes(200, 10), 32, val_size=40, image_sizes=[(0.0, 16), (0.3, 24), (0.5, 32)])
    Trainer(max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(model, data)
    # 160 images are 5 steps per epoch, 10 in total.
    assert [batch.images.shape[-1] for batch in model.batches] == [16] * 3 + [24] * 2 + [32] * 5
    assert sizes == {32}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([(0.1, 16)], "must increase from 0"),
        ([(0.0, 16), (0.0, 32)], "must increase from 0 and stay below 1"),
        ([(0.0, 16), (1.0, 32)], "must increase from 0 and stay below 1"),
        ([(0.0, 0)], "1 or more"),
        ([(0.0, 40)], "must not exceed the 32 pixels of the images"),
    ],
)
def test_invalid_image_sizes_are_rejected(sizes: list[tuple[float, int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(CIFAR10DataModule(Shapes(200, 10), 32, val_size=0, image_sizes=sizes))


def test_a_constant_channel_is_normalized_to_zero() -> None:
    images = Shapes(40, 10).load("train")
    images.images[:, 2] = 0
    mean, std = channel_mean_std(images.images)
    assert (mean[2], std[2]) == (0, 1)
    assert not normalize(images.images, mean, std)[:, 2].any()
    with pytest.raises(InputError, match="mean_std of the source has a standard deviation of 0: use 1 for a constant"):
        Preparation(Augment(), (mean, (0.2, 0.2, 0.0)), 10)
