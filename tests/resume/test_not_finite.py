"""A loss that becomes NaN or infinite, and steps without a loss."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from cifar_cnn.base.errors import Stopped
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, Shapes
from cifar_cnn.data.batches import Batch
from cifar_cnn.optim import Muon
from cifar_cnn.resume.checkpoints import LastCheckpoint
from cifar_cnn.resume.first_not_finite import first_not_finite
from cifar_cnn.resume.not_finite import NotFinite
from cifar_cnn.trainer import Trainer

STEPS = 4  # per epoch


class Network(nn.Module):
    """A convolution and a linear layer, with a function applied to the logits."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda x: x, scale: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(256, 10)
        self.change = change
        with torch.no_grad():
            self.fc.weight *= scale

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.fc(self.drop(self.norm(self.conv(x)).flatten(1))))


class Divides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / (x - x)


class Loss(nn.Module):
    """A loss that returns the value of a function."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.function(logits, target)


def own_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """A common mistake: the logarithm of values that are not probabilities."""
    return -logits.log().gather(1, target[:, None]).mean()


def with_exp(logits: Tensor, target: Tensor) -> Tensor:
    exp = logits.exp()
    return -(exp / exp.sum(1, keepdim=True)).log().gather(1, target[:, None]).mean()


def root_of_zero(logits: Tensor, target: Tensor) -> Tensor:
    """A finite loss with a gradient of 0 * inf."""
    return nn.functional.cross_entropy(logits, target) + (logits * 0).sum().sqrt()


def sharp_softmax(logits: Tensor) -> Tensor:
    return (logits * 1e4).softmax(1)


def batch(**changes: Any) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(6, 3, 32, 32, generator=generator), torch.arange(6))._replace(**changes)


def find(backbone: nn.Module, loss: Any = None, **changes: Any) -> tuple[str, str] | None:
    torch.manual_seed(0)
    return first_not_finite(ImageClassifier(backbone, loss), batch(**changes), nullcontext())


def test_images_that_are_not_finite_are_named_by_channel() -> None:
    images = batch().images
    images[:, 1] = float("nan")
    assert (found := find(Network(), images=images)) is not None
    assert found[0] == "images"
    assert "in channel 1" in found[1]
    assert "a standard deviation of 0" in found[1]


def test_the_first_layer_that_outputs_nan_is_named() -> None:
    network = Network(nn.Sequential(Divides(), nn.ReLU()))
    assert (found := find(network)) is not None
    assert found[0] == "logits"
    assert "images and weights are finite, but the output of change.0 (Divides) is not" in found[1]


def test_a_float16_overflow_is_distinguished_from_a_division() -> None:
    assert (found := find(Network(lambda x: x.half() * 60_000 * 60_000))) is not None
    assert "the output of its forward (Network) is not: float16 overflows at 65,504" in found[1]


@pytest.mark.parametrize(
    ("change", "loss", "words"),
    [
        (lambda x: x, own_cross_entropy, "but the loss (Loss) is not: look for 0 / 0, or the logarithm of 0"),
        (
            sharp_softmax,
            own_cross_entropy,
            "but the loss (Loss) is not: the network ends in a softmax, and the loss takes the log",
        ),
        (lambda x: 1000 + 500 * x, with_exp, "is infinite or 0; use torch.log_softmax"),
    ],
    ids=["log", "softmax", "exp"],
)
def test_the_message_names_the_cause_of_a_loss_that_is_not_finite(change: Any, loss: Any, words: str) -> None:
    assert (found := find(Network(change), Loss(loss))) is not None
    assert found[0] == "loss"
    assert words in found[1]


def test_a_gradient_that_is_not_finite_is_named_by_its_parameter() -> None:
    assert (found := find(Network(), Loss(root_of_zero))) is not None
    assert found[0] == "gradients"
    assert "the loss is finite, but the gradient of conv.weight is not: look for a root" in found[1]


@pytest.mark.parametrize("scale", [1e37, float("inf")])
def test_weights_that_have_grown_point_to_the_learning_rate(scale: float) -> None:
    assert (found := find(Network(lambda x: x * 1e10, scale))) is not None
    assert found[0] == "weights"
    assert "lower --model.optimizer.lr" in found[1]


def test_a_diagnosis_of_finite_values_is_empty_and_changes_nothing() -> None:
    torch.manual_seed(0)
    model = ImageClassifier(Network())
    state, before = torch.get_rng_state(), {name: value.clone() for name, value in model.state_dict().items()}
    assert first_not_finite(model, batch(), nullcontext()) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())


def fit(model: ImageClassifier, *callbacks: Callback, checkpoints: bool = False, **options: Any) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(
        **{"max_epochs": 1, "precision": "32-true", **options},
        callbacks=[NotFinite(), *([LastCheckpoint()] if checkpoints else []), *callbacks],
        logger=checkpoints,
        enable_checkpointing=checkpoints,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=Path.cwd(),
    )
    trainer.fit(model, CIFAR10DataModule(Shapes(20 * STEPS, 10), batch_size=16, val_size=16))
    return trainer


def test_a_nan_loss_ends_the_first_step_before_the_weights_change() -> None:
    model = ImageClassifier(Network(), Loss(own_cross_entropy))
    with pytest.raises(Stopped, match=r"at step 1, epoch 0, learning rate 0\.1: stopped; .* The logits are fin"):
        fit(model)
    assert all(each.isfinite().all() for each in model.parameters())


def test_a_bad_gradient_is_found_with_the_weights_of_the_last_checkpoint() -> None:
    with pytest.raises(
        Stopped, match=r"last\.ckpt \(step 0\)\. The loss is finite, but the gradient of conv\.weight is n"
    ):
        fit(ImageClassifier(Network(), Loss(root_of_zero)), checkpoints=True)


def test_a_loss_that_is_checked_later_is_explained_by_its_own_batch_and_the_last_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nan_without_class_0(logits: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, target) + 0 * (target == 3).sum().log()

    # As on a GPU, where no step waits for the loss.
    monkeypatch.setattr("cifar_cnn.resume.not_finite._is_alone_on_cpu", lambda trainer, loss: False)
    with pytest.raises(Stopped, match=r"became nan at step \d, .* \(step 0\)\. The logits are finite, but the loss \("):
        fit(ImageClassifier(Network(), Loss(nan_without_class_0)), checkpoints=True)


def test_a_learning_rate_that_is_too_high_is_reported() -> None:
    sgd = {"optimizer": lambda p: torch.optim.SGD(p, lr=1e30)}
    with pytest.raises(Stopped, match=r"at step 2, .* The weights have grown to \S+, usually because the learning"):
        fit(ImageClassifier(Network(), **sgd))  # type: ignore[arg-type]


def test_a_mistake_in_an_overridden_training_step_is_reported() -> None:
    class Own(ImageClassifier):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * torch.tensor(-1.0).log()

    with pytest.raises(Stopped, match=r"The network and the loss are finite on this batch: check Own\.trai"):
        fit(Own(Network()))


class SkipsOdd(ImageClassifier):
    """Skips every other batch."""

    seen: list[float]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:  # type: ignore[override]
        if batch_idx % 2:
            return None
        loss = super().training_step(batch, batch_idx)
        self.seen.append(loss.item())
        return loss


class SAM(ImageClassifier):
    """Sharpness-aware minimization (Foret et al. 2021) with manual optimization."""

    seen: list[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        self.seen.append(loss.item())
        self.manual_backward(loss)
        with torch.no_grad():
            steps = [0.05 * p.grad for p in self.backbone.parameters() if p.grad is not None]
            torch._foreach_add_(list(self.backbone.parameters()), steps)
        optimizer.zero_grad()
        self.manual_backward(self._loss(self(batch.images), batch))
        with torch.no_grad():
            torch._foreach_sub_(list(self.backbone.parameters()), steps)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(("own", "steps"), [(SkipsOdd, STEPS // 2), (SAM, STEPS)])
def test_the_means_cover_the_steps_with_a_loss(own: type[Any], steps: int) -> None:
    model = own(Network())
    model.seen = []
    trainer = fit(model, log_every_n_steps=1)
    assert len(model.seen) == steps
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(sum(model.seen) / steps)
    assert 0 <= trainer.callback_metrics["val/accuracy"] <= 1


def test_an_epoch_without_a_loss_logs_none() -> None:
    class SkipsAll(ImageClassifier):
        def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
            return None

    trainer = fit(SkipsAll(Network(), optimizer=Muon))
    assert "train/loss" not in trainer.callback_metrics
    assert "lr" in trainer.callback_metrics


def test_a_nan_loss_ends_a_fit_with_manual_optimization() -> None:
    model = SAM(Network(), Loss(own_cross_entropy))
    model.seen = []
    with pytest.raises(Stopped, match="the loss became nan at step 1"):
        fit(model)
