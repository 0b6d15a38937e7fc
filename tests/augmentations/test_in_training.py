"""Transforms and mixing in the batches of a run: resumed, divided among processes, and in the training step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from cifar_cnn import Augment, CIFAR10DataModule, ImageClassifier, ImageSet, Shapes, SimpleCNN, Trainer
from cifar_cnn.data.batches import Batch, TrainBatches
from cifar_cnn.data.preparation import Preparation

AUGMENT = Augment(
    crop=1,
    flip=True,
    transforms=[v2.RandAugment()],
    normalized_transforms=v2.RandomErasing(),
    mix=[v2.CutMix(), v2.MixUp()],
)


def prepared(image_set: ImageSet, **arguments: Any) -> TrainBatches:
    return TrainBatches(image_set, seed=3, epoch=lambda: 1, **arguments)


def seen(batches: TrainBatches) -> list[Batch]:
    prepare = Preparation(AUGMENT, ((0.5,) * 3, (0.25,) * 3), 10)
    return [prepare(batch) for batch in batches]


def test_a_resumed_epoch_goes_on_with_the_same_images_and_targets(make_images: Callable[..., ImageSet]) -> None:
    whole = seen(prepared(make_images(48), batch_size=16))
    torch.manual_seed(7)  # the resuming process has another random state
    resumed = prepared(make_images(48), batch_size=16)
    resumed.load_state_dict({"epoch": 1, "step": 1})
    rest = seen(resumed)
    assert len(rest) == 2
    for one, other in zip(rest, whole[1:], strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert not torch.equal(whole[0].images, whole[1].images)


def test_two_processes_see_the_images_of_one(make_images: Callable[..., ImageSet]) -> None:
    whole = seen(prepared(make_images(48), batch_size=16))
    for rank in (0, 1):
        share = seen(prepared(make_images(48), batch_size=8, rank=rank, world_size=2))
        for one, all_ in zip(share, whole, strict=True):
            assert torch.equal(one.images, all_.images[rank::2])
            assert torch.equal(one.labels, all_.labels[rank::2])


def test_the_training_step_sees_mixed_images_and_counts_the_larger_class() -> None:
    batches: list[Batch] = []
    correct: list[Tensor] = []
    losses: list[float] = []

    class Watched(ImageClassifier):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            with torch.no_grad():
                predicted = self(batch.images).argmax(1)
            batches.append(batch)
            correct.append(predicted == batch.labels.argmax(1))
            loss = super().training_step(batch, batch_idx)
            losses.append(loss.item())
            return loss

    def of_indices(logits: Tensor, target: Tensor) -> Tensor:
        return -logits.log_softmax(1)[torch.arange(len(target)), target].mean()

    data = CIFAR10DataModule(Shapes(200, 10), val_size=40, batch_size=40, augment=AUGMENT)
    quiet: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(Watched(SimpleCNN((4, 8, 16)), loss=of_indices), data)
    assert [tuple(batch.labels.shape) for batch in batches] == [(40, 10)] * 4
    assert all(batch.draws is None and batch.images.is_floating_point() for batch in batches)
    torch.testing.assert_close(trainer.callback_metrics["train/accuracy"], torch.cat(correct).float().mean())
    torch.testing.assert_close(trainer.callback_metrics["train/loss"], torch.tensor(losses).mean())
    assert trainer.callback_metrics["val/accuracy"].isfinite()
