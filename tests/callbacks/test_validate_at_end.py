from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from cifar_cnn.backbones import SimpleCNN
from cifar_cnn.callbacks.validate_at_end import ValidateAtEnd
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, Shapes
from tests.core.test_classifier import quiet_trainer


class Validations(Callback):
    """Records the steps after which a fit validates."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.append(trainer.global_step)


def steps_validated(**options: Any) -> list[int]:
    """Run a fit with 5 steps per epoch; return the steps after which it validates."""
    found = Validations()
    callbacks = [ValidateAtEnd(), found, *options.pop("callbacks", [])]
    trainer = quiet_trainer(callbacks=callbacks, num_sanity_val_steps=0, **options)
    before = (trainer.check_val_every_n_epoch, options.get("val_check_interval"))
    trainer.fit(ImageClassifier(SimpleCNN((2, 2, 2))), CIFAR10DataModule(Shapes(70, 20), batch_size=10, val_size=20))
    assert (trainer.check_val_every_n_epoch, options.get("val_check_interval")) == before
    return found.steps


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 3, "check_val_every_n_epoch": 5}, [15]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, [10, 15]),
        ({"max_epochs": 2, "check_val_every_n_epoch": None, "val_check_interval": 100}, [10]),
        ({"max_epochs": 3, "check_val_every_n_epoch": None, "val_check_interval": 6}, [6, 12, 15]),
        ({"max_epochs": 2, "val_check_interval": 2}, [2, 4, 7, 9, 10]),
        ({"max_epochs": -1, "max_steps": 3}, [3]),
        ({"max_epochs": -1, "max_steps": 7, "check_val_every_n_epoch": 5}, [7]),
        ({"max_epochs": 9, "max_time": {"milliseconds": 1}, "check_val_every_n_epoch": 5}, [1]),
        ({"max_epochs": 2, "limit_val_batches": 0}, []),
    ],
    ids=str,
)
def test_each_run_validates_after_its_last_step_and_at_its_interval(options: dict[str, Any], steps: list[int]) -> None:
    assert steps_validated(**options) == steps


def test_a_users_checkpoint_callback_sees_the_last_validation(tmp_path: Path) -> None:
    own = ModelCheckpoint(tmp_path, monitor="val/loss", filename="own")
    steps_validated(max_epochs=3, check_val_every_n_epoch=5, callbacks=[own], enable_checkpointing=True)
    assert torch.load(tmp_path / "own.ckpt", weights_only=True)["global_step"] == 15
