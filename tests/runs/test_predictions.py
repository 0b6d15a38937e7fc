import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cifar_cnn.callbacks import predictions
from cifar_cnn.callbacks.predictions import StorePredictions
from cifar_cnn.data import ImageSet
from cifar_cnn.data.batches import EvalBatches

MakeImages = Callable[..., ImageSet]


def stored(
    image_set: ImageSet, folder: Path, monkeypatch: pytest.MonkeyPatch, world_size: int = 1, steps: int | None = None
) -> dict[str, Any]:
    """The file of a test whose logits are the first two pixels of each image."""
    shares: list[list[Tensor]] = []  # logits, labels and indices of the other ranks
    for rank in reversed(range(world_size)):
        loader = EvalBatches(image_set, 6, rank, world_size)
        callback = StorePredictions()
        for batch in islice(loader, steps):
            logits = batch.images.flatten(1)[:, :2].float() if len(batch.labels) else None
            callback.on_test_batch_end(None, None, logits, batch, 0)  # type: ignore[arg-type]
        shares.append([])
        others = zip(*shares[:-1], strict=True)

        def gather(part: Tensor, rank: int = rank, others: Iterator[Any] = others) -> list[Tensor]:
            shares[-1].append(part)
            return [part] if rank else [part, *next(others)]

        monkeypatch.setattr(predictions, "gather_all_tensors", gather)
        trainer = SimpleNamespace(
            world_size=world_size,
            ckpt_path=str(folder / "checkpoints" / "best.ckpt"),
            is_global_zero=rank == 0,
            test_dataloaders=loader,
        )
        module = SimpleNamespace(num_classes=2, device=torch.device("cpu"))
        callback.on_test_end(trainer, module)  # type: ignore[arg-type]
    (path,) = folder.glob("test*_predictions.npz")
    assert path.name == ("test_predictions.npz" if steps is None else "test_partial_predictions.npz")
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "config.yaml").touch()
    return tmp_path


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_predictions_are_in_the_order_of_the_test_images(
    make_images: MakeImages, run: Path, monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    image_set = make_images(37, classes=2)
    found = stored(image_set, run, monkeypatch, world_size)
    np.testing.assert_array_equal(found["logits"], image_set.images.flatten(1)[:, :2])
    np.testing.assert_array_equal(found["labels"], image_set.labels)
    assert found["images_sha256"] == hashlib.sha256(image_set.images.numpy().tobytes()).hexdigest()
    assert "indices" not in found


@pytest.mark.parametrize("world_size", [1, 2])
def test_predictions_of_a_limited_test_list_their_images(
    make_images: MakeImages, run: Path, monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    image_set = make_images(37, classes=2)
    found = stored(image_set, run, monkeypatch, world_size, steps=2)
    indices = found["indices"]
    assert indices.tolist() == sorted(set(indices.tolist()))
    assert len(indices) == 12 * world_size
    np.testing.assert_array_equal(found["logits"], image_set.images.flatten(1)[indices, :2])
    np.testing.assert_array_equal(found["labels"], image_set.labels[indices])
    assert found["images_sha256"] == hashlib.sha256(image_set.images[indices].numpy().tobytes()).hexdigest()
