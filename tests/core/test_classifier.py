from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional

from cifar_cnn.backbones import ResNet18, SimpleCNN, SpeedrunNet
from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.eager_fallback import EagerFallback
from cifar_cnn.callbacks.output_checks import OutputChecks
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, Shapes
from cifar_cnn.losses import CrossEntropyLoss
from cifar_cnn.optim import WarmupCosine
from cifar_cnn.parts.losses import FunctionLoss
from cifar_cnn.runs.contents import load_weights


def quiet_trainer(**arguments: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{**defaults, **arguments})


def data(**arguments: Any) -> CIFAR10DataModule:
    return CIFAR10DataModule(Shapes(300, 70), **{"batch_size": 32, "val_size": 60, "eval_batch_size": 33, **arguments})


def small(**arguments: Any) -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(SimpleCNN((4, 8, 16), batch_norm=True), **arguments)


def first_convolution(model: ImageClassifier) -> nn.Conv2d:
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


def all_logits(model: ImageClassifier, module: CIFAR10DataModule, batches: Any) -> tuple[Tensor, Tensor]:
    model.eval()
    with torch.no_grad():
        seen = [module.on_after_batch_transfer(batch, 0) for batch in batches]
        return torch.cat([model(batch.images) for batch in seen]), torch.cat([batch.labels for batch in seen])


def test_metrics_are_exact_over_uneven_batches() -> None:
    model, module = small(), data()
    trainer = quiet_trainer()
    trainer.fit(model, module)
    trainer.validate(model, module, verbose=False)
    logits, labels = all_logits(model, module, module.val_dataloader())
    assert len(labels) == 60
    metrics = trainer.callback_metrics
    torch.testing.assert_close(metrics["val/loss"], functional.cross_entropy(logits, labels))
    torch.testing.assert_close(metrics["val/accuracy"], (logits.argmax(1) == labels).float().mean())

    trainer.test(model, module, verbose=False)
    logits, labels = all_logits(model, module, module.test_dataloader())
    assert len(labels) == 70
    predicted = logits.argmax(1)
    results = model.test_results
    top5 = (logits.topk(5).indices == labels[:, None]).any(1).float().mean()
    torch.testing.assert_close(results["test/loss"], functional.cross_entropy(logits, labels))
    torch.testing.assert_close(results["test/accuracy"], (predicted == labels).float().mean())
    torch.testing.assert_close(results["test/accuracy_top5"], top5)
    for label in range(10):
        chosen = predicted[labels == label]
        assert results["test/accuracy_per_class"][label] == pytest.approx((chosen == label).float().mean().item())
        assert results["test/confusion_matrix"][label].tolist() == chosen.bincount(minlength=10).tolist()


def test_training_metrics_cover_the_batches_of_the_epoch() -> None:
    class Recorded(ImageClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            losses.append(loss.detach() * len(batch.labels))
            sizes.append(len(batch.labels))
            return loss

    losses: list[Tensor] = []
    sizes: list[int] = []
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(Recorded(SimpleCNN((4, 8, 16))), data(drop_last=False))
    assert sum(sizes) == 240
    assert len(set(sizes)) == 2
    torch.testing.assert_close(trainer.callback_metrics["train/loss"], torch.stack(losses).sum() / 240)


def test_the_schedule_knows_the_runs_length() -> None:
    model = small(schedule=WarmupCosine)
    trainer = quiet_trainer(max_epochs=3)
    trainer.fit(model, data())
    assert trainer.global_step == 3 * (240 // 32)
    assert vars(trainer.lr_scheduler_configs[0].scheduler)["total_steps"] == trainer.global_step
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_a_schedule_over_an_endless_run_is_refused() -> None:
    with pytest.raises(InputError, match="a schedule needs the length of the run"):
        quiet_trainer(max_epochs=-1, max_time="00:00:01:00").fit(small(schedule=WarmupCosine), data())


def test_any_loss_of_logits_and_target_is_used() -> None:
    runs = []
    for loss in (
        nn.CrossEntropyLoss(label_smoothing=0.1),
        CrossEntropyLoss(label_smoothing=0.1),
        lambda logits, target: functional.cross_entropy(logits, target, label_smoothing=0.1),
        FunctionLoss("torch.nn.functional.cross_entropy", {"label_smoothing": 0.1}),
    ):
        trainer = quiet_trainer(max_epochs=1)
        trainer.fit(small(loss=loss), data())
        runs.append(trainer.callback_metrics["train/loss"])
    for other in runs[1:]:
        torch.testing.assert_close(other, runs[0])


def test_any_module_of_another_library_is_a_backbone() -> None:
    from torchvision.models import mobilenet_v3_small

    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(ImageClassifier(mobilenet_v3_small(num_classes=10)), data())
    assert trainer.callback_metrics["train/loss"].isfinite()


@pytest.mark.parametrize("outputs", [9, 11])
def test_logits_for_other_classes_are_refused_with_the_shapes(outputs: int) -> None:
    with pytest.raises(InputError, match=rf"\((\d+), 10\); SimpleCNN returned \(\1, {outputs}\)"):
        quiet_trainer(callbacks=[OutputChecks()]).fit(ImageClassifier(SimpleCNN(num_classes=outputs)), data())


def test_compiled_and_eager_agree_and_have_the_same_checkpoint() -> None:
    results = []
    for compile in (False, True):
        model = small(compile=compile)
        names = list(model.state_dict())
        trainer = quiet_trainer(max_epochs=1, limit_train_batches=3)
        trainer.fit(model, data())
        assert list(model.state_dict()) == names
        assert (model.backbone._compiled_call_impl is not None) is compile
        assert not model.to_compile
        results.append(trainer.callback_metrics["train/loss"])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_the_backbone_is_compiled_in_the_given_mode() -> None:
    for given, mode in ((True, None), ("max-autotune", "max-autotune")):
        model = small(compile=given)
        with mock.patch.object(model.backbone, "compile") as compiled:
            model.setup("fit")
            model.setup("test")
        compiled.assert_called_once_with(mode=mode)


def test_without_a_compiler_the_run_is_eager_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    model = small(compile=True)
    with caplog.at_level("INFO"):
        quiet_trainer(callbacks=[EagerFallback()], limit_train_batches=1).fit(model, data())
    assert model.backbone._compiled_call_impl is None
    assert "runs without torch.compile" in caplog.text


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_and_images_have_the_chosen_memory_format(channels_last: bool) -> None:
    model = small(channels_last=channels_last)
    model.setup("fit")
    convolution = first_convolution(model)
    layouts: list[bool] = []
    convolution.register_forward_hook(
        lambda module, inputs, output: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    images = torch.randn(2, 3, 32, 32)
    model(images)
    model(images.contiguous(memory_format=torch.channels_last))
    assert layouts == [channels_last, channels_last]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_an_invalid_optimizer_is_one_line() -> None:
    model = small(optimizer=lambda groups: torch.optim.SGD(groups, lr=-1))
    with pytest.raises(InputError, match="Invalid learning rate: -1"):
        quiet_trainer().fit(model, data())
    with pytest.raises(InputError, match="Identity has no parameters to train"):
        quiet_trainer().fit(ImageClassifier(nn.Identity()), data())


def test_weights_of_another_network_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="the checkpoint's weights do not fit this SimpleCNN"):
        load_weights(small(), {"state_dict": ImageClassifier(SimpleCNN((4, 8, 17), batch_norm=True)).state_dict()})


def test_a_checkpoint_made_in_python_loads_with_weights_only(tmp_path: Path) -> None:
    trainer = quiet_trainer(max_epochs=1)
    model = small(loss=CrossEntropyLoss())
    trainer.fit(model, data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert content["hyper_parameters"]["num_classes"] == 10
    recorded = {name: content["hyper_parameters"][name]["class_path"] for name in ("backbone", "loss")}
    assert recorded == {
        "backbone": "cifar_cnn.backbones.simple.SimpleCNN",
        "loss": "cifar_cnn.losses.CrossEntropyLoss",
    }
    other = small(loss=CrossEntropyLoss())
    nn.init.zeros_(first_convolution(other).weight)
    other.load_state_dict(content["state_dict"])
    images = torch.randn(2, 3, 32, 32)
    assert isinstance(other, LightningModule)
    torch.testing.assert_close(other.eval()(images), model.eval()(images))


BACKBONES = [SimpleCNN(), SimpleCNN(batch_norm=True, head="conv"), ResNet18(channels=(8, 8, 16, 16)), SpeedrunNet()]


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: type(backbone).__name__)
def test_channels_last_changes_no_logits_beyond_rounding(backbone: nn.Module) -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = []
    for channels_last in (False, True):
        model = ImageClassifier(backbone, channels_last=channels_last)
        model.setup("fit")
        logits.append(model.train()(images))
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-4)


def test_only_test_uses_test_time_augmentation_and_reports_both_accuracies() -> None:
    model, module = small(tta="flip_shift"), data()
    trainer = quiet_trainer()
    trainer.fit(model, module)
    trainer.validate(model, module, verbose=False)
    logits, labels = all_logits(model, module, module.val_dataloader())
    torch.testing.assert_close(trainer.callback_metrics["val/accuracy"], (logits.argmax(1) == labels).float().mean())
    trainer.test(model, module, verbose=False)
    plain, labels = all_logits(model, module, module.test_dataloader())
    with torch.no_grad():
        batches = [module.on_after_batch_transfer(batch, 0) for batch in module.test_dataloader()]
        averaged = torch.cat([model.logits_with_tta(batch.images) for batch in batches])
    assert not torch.equal(averaged.argmax(1), plain.argmax(1))
    results = model.test_results
    torch.testing.assert_close(results["test/accuracy"], (averaged.argmax(1) == labels).float().mean())
    torch.testing.assert_close(results["test/accuracy_without_tta"], (plain.argmax(1) == labels).float().mean())
    torch.testing.assert_close(results["test/loss"], functional.cross_entropy(averaged, labels))
    assert results["test/confusion_matrix"].sum() == 70


@pytest.mark.parametrize(("device", "compiles"), [("cpu", False), ("cuda", True)])
def test_only_a_cpu_needs_a_cpp_compiler(device: str, compiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar_cnn.callbacks.eager_fallback._has_cpp_compiler", lambda: False)
    model = ImageClassifier(nn.Flatten(), compile=True)  # still on the CPU, whatever device will train it
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    EagerFallback().setup(trainer, model, "fit")
    assert model.to_compile is compiles


def test_loss_accuracy_and_learning_rate_of_single_steps_are_logged() -> None:
    trainer = quiet_trainer(max_epochs=1, log_every_n_steps=1)
    model = small()
    trainer.fit(model, data())
    metrics = trainer.callback_metrics
    assert {"train/loss_step", "train/accuracy_step", "lr"} <= set(metrics)
    assert 0 <= metrics["train/accuracy_step"] <= 1
