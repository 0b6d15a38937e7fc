from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from cifar_cnn import CIFAR10DataModule, CrossEntropyLoss, ImageClassifier, Shapes, SimpleCNN, Trainer, load_run
from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.class_counts import ClassCounts
from cifar_cnn.parts.class_weights import balanced_weights


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    # compute_class_weight("balanced", classes=[0, 1, 2], y=[0] * 6 + [1] * 3 + [2]) == [10 / 18, 10 / 9, 10 / 3]
    torch.testing.assert_close(balanced_weights(torch.tensor([6, 3, 1])), torch.tensor([10 / 18, 10 / 9, 10 / 3]))
    torch.testing.assert_close(balanced_weights(torch.tensor([6, 0, 2])), torch.tensor([8 / 12, 1.0, 8 / 4]))


def test_each_class_has_the_same_share_of_a_balanced_loss() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    loss = CrossEntropyLoss("balanced", reduction="none")
    loss.set_class_counts(labels.bincount())
    losses = loss(torch.zeros(10, 3), labels)
    of_classes = torch.stack([losses[labels == label].sum() for label in range(3)])
    torch.testing.assert_close(of_classes, losses.sum().expand(3) / 3)


def test_a_balanced_loss_is_trained_recorded_and_stored_in_checkpoints(tmp_path: Path) -> None:
    data = CIFAR10DataModule(Shapes(100, 20), 32, val_size=20, label_noise=0.5)
    model = ImageClassifier(SimpleCNN((2, 2, 2)), loss=CrossEntropyLoss("balanced"))
    quiet: dict[str, Any] = {"enable_progress_bar": False, "report": False, "default_root_dir": tmp_path}
    trainer = Trainer(max_epochs=1, **quiet)
    trainer.fit(model, data)
    counts = data.image_set("train").labels.bincount(minlength=10)
    assert counts.unique().numel() > 1
    loss = load_run(trainer.run.folder).model.loss
    assert isinstance(loss, CrossEntropyLoss)
    assert loss.weight is not None
    assert torch.equal(loss.weight, balanced_weights(counts))
    assert trainer.run.model_config["loss"]["init_args"] == {"weight": "balanced"}


def test_other_weights_are_as_before() -> None:
    assert CrossEntropyLoss([1.0, 2.0]).state_dict() == {}
    with pytest.raises(InputError, match="weight must be a number for each class, or \"balanced\"; it is 'even'"):
        CrossEntropyLoss("even")  # type: ignore[arg-type]


def test_other_data_has_no_counts() -> None:
    class Loaded(LightningModule):
        loss = CrossEntropyLoss("balanced")

    trainer = Trainer(logger=False)
    with pytest.raises(InputError, match="CrossEntropyLoss takes the class counts from a CIFAR10DataModule"):
        ClassCounts().setup(trainer, Loaded(), "fit")
