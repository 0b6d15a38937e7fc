import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks import predictions
from cifar_cnn.callbacks.predictions import StorePredictions
from cifar_cnn.data import ImageSet
from cifar_cnn.data.batches import EvalBatches
from cifar_cnn.runs.predictions import Predictions, mean_of

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


def test_an_ensemble_predicts_the_mean_of_the_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 2, 1, 1])
    two = [Predictions(9 * torch.randn(4, 3, generator=generator), labels, None, 1, "a", "b") for _ in range(2)]
    mean = mean_of(two)
    torch.testing.assert_close(mean.probabilities, (two[0].probabilities + two[1].probabilities) / 2)
    assert (mean.images_sha256, mean.step, mean.checkpoint_checksum) == ("a", None, "")
    torch.testing.assert_close(mean_of(two[:1]).probabilities, two[0].probabilities)
    # A probability of 0 in float32 does not become NaN.
    certain = Predictions(torch.tensor([[0.0, 500.0]]), torch.tensor([0]))
    assert mean_of([certain, certain]).logits.tolist() == [[-500.0, 0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(4, 2)}, "2 and 3 classes"),
        ({"labels": torch.tensor([1, 1, 0, 2])}, "different images"),
        ({"images_sha256": "b"}, "different images"),
        ({"indices": torch.arange(4)}, "different images"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_networks_tested_on_other_images_or_classes_are_no_ensemble(change: dict[str, Any], message: str) -> None:
    one = Predictions(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), None, 1, "a", "b")
    with pytest.raises(InputError, match=message):
        mean_of([one, replace(one, **change)])
