from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD

from cifar_cnn.backbones import SimpleCNN
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, Shapes
from cifar_cnn.trainer import Trainer


class Doubling(SGD):
    """Doubles the weights for evaluation, and records its calls."""

    def __init__(self, params: Any, lr: float = 0.01) -> None:
        super().__init__(params, lr=lr)
        self.calls: list[str] = []
        for group in self.param_groups:
            group["train_mode"] = False

    def train(self) -> None:
        self._switch(True, 0.5)

    def eval(self) -> None:
        self._switch(False, 2.0)

    @torch.no_grad()
    def _switch(self, mode: bool, factor: float) -> None:
        for group in self.param_groups:
            if group["train_mode"] is not mode:
                group["train_mode"] = mode
                self.calls.append("train" if mode else "eval")
                for parameter in group["params"]:
                    parameter.mul_(factor)

    def step(self, closure: Any = None) -> Any:
        self.calls.append("step")
        return super().step(closure)


class Recording(ImageClassifier):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.optimizers[0].calls.append("validation")  # type: ignore[attr-defined]
        super().validation_step(batch, batch_idx)


def fit(val_size: int) -> tuple[list[str], dict[str, Any]]:
    model = Recording(SimpleCNN((4, 4, 8)), optimizer=Doubling)
    trainer = Trainer(max_epochs=2, enable_progress_bar=False, report=False)
    trainer.fit(model, CIFAR10DataModule(Shapes(80, 20), batch_size=32, val_size=val_size))
    calls = trainer.optimizers[0].calls  # type: ignore[attr-defined]
    return calls, torch.load(trainer.run.folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_steps_are_made_in_training_mode_and_the_rest_in_evaluation_mode(tmp_path: Path) -> None:
    calls, checkpoint = fit(val_size=16)
    assert calls == ["train", "step", "step", "eval", "validation"] * 2
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["train_mode"] is False


def test_without_validation_the_checkpoint_has_the_weights_of_evaluation(tmp_path: Path) -> None:
    calls, checkpoint = fit(val_size=0)
    assert [call for call in calls if call != "validation"] == ["train", "step", "step", "eval"] * 2
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["train_mode"] is False
