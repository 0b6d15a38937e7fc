import filecmp
import functools
import gc
import json
import os
import signal
import subprocess
import weakref
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import cifar_cnn.cli
from cifar_cnn.analysis.network.summary import summary
from cifar_cnn.analysis.run import load_run
from cifar_cnn.backbones import SimpleCNN
from cifar_cnn.base.errors import InputError, Stopped
from cifar_cnn.callbacks.filter_images import FilterImages
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import Augment, CIFAR10DataModule, Shapes
from cifar_cnn.resume.not_finite import NotFinite
from cifar_cnn.runs.training_lock import training_in
from cifar_cnn.trainer import Trainer
from tests.conftest import CONFIGS

CONFIG = """
data: {source: {class_path: Shapes, init_args: {train_size: 200, test_size: 20}}, batch_size: 32, val_size: 40,
       augment: {crop: 2, flip: true}}
model:
  backbone: {class_path: SimpleCNN, init_args: {channels: [4, 4, 8], batch_norm: true}}
  optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 5.0e-4}}
  schedule: {class_path: torch.optim.lr_scheduler.MultiStepLR, init_args: {milestones: [1], gamma: 0.5}}
trainer: {max_epochs: 2, enable_progress_bar: false}
test_after_fit: true
"""


def make_data(**options: Any) -> CIFAR10DataModule:
    defaults: dict[str, Any] = {"batch_size": 32, "val_size": 40, "augment": Augment(crop=2, flip=True)}
    return CIFAR10DataModule(Shapes(200, 20), **{**defaults, **options})


def make_model() -> ImageClassifier:
    optimizer = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = functools.partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[1], gamma=0.5)
    return ImageClassifier(SimpleCNN((4, 4, 8), batch_norm=True), optimizer=optimizer, schedule=schedule)


def make_trainer(**options: Any) -> Trainer:
    return Trainer(**{"max_epochs": 2, "enable_progress_bar": False, "report": False, **options})


def weights(path: str | Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def python_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was started from Python; read-only."""
    root = tmp_path_factory.mktemp("python")
    pl.seed_everything(0, verbose=False)
    options: dict[str, Any] = {"report": True, "test_after_fit": True, "name": "mine", "default_root_dir": root}
    trainer = make_trainer(**options, enable_model_summary=True)  # the layer table must not change the training
    trainer.fit(make_model(), make_data())
    assert trainer.run.folder == root / "lightning_logs" / "version_0"
    return trainer.run.folder


def files_of(folder: Path) -> set[str]:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if "tfevents" not in name}


def test_a_run_from_python_equals_the_run_of_the_command(python_run: Path) -> None:
    Path("t.yaml").write_text(CONFIG)
    assert cifar_cnn.cli.run(["fit", "--config", "t.yaml"]) == 0
    run = Path("lightning_logs/version_0")
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = weights(python_run / "checkpoints" / name), weights(run / "checkpoints" / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert files_of(python_run) == files_of(run)
    for picture in run.glob("filters/*.png"):
        assert filecmp.cmp(picture, python_run / "filters" / picture.name, shallow=False)
    ours, theirs = (json.loads((folder / "test.json").read_text()) for folder in (python_run, run))
    assert ours.pop("checkpoint_checksum") != theirs.pop("checkpoint_checksum")  # checkpoints also hold times and paths
    assert ours == theirs
    metrics = [load_run(folder).metrics for folder in (python_run, run)]
    for each in metrics:
        each.pop("epoch_seconds")
    assert str(metrics[0]) == str(metrics[1])


def test_the_config_of_a_run_from_python_repeats_it(python_run: Path) -> None:
    config = python_run / "config.yaml"
    assert config.read_text().startswith("# Started from Python.\nseed_everything: 0\n")
    assert cifar_cnn.cli.run(["fit", "--config", str(config), "--trainer.enable_progress_bar", "false"]) == 0
    ours = weights(python_run / "checkpoints/last.ckpt")
    theirs = weights("lightning_logs/version_0/checkpoints/last.ckpt")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_every_command_reads_a_run_from_python(python_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(python_run)
    assert (run.name, run.record["name"], run.record["seed"]) == ("mine", "mine", 0)
    assert isinstance(run.model.backbone, SimpleCNN)
    assert "mine" in (python_run / "report.html").read_text(encoding="utf-8")
    best = str(python_run / "checkpoints/best.ckpt")
    assert cifar_cnn.cli.run(["validate", "--ckpt_path", best, "--trainer.enable_progress_bar", "false"]) == 0
    accuracy = max(run.metrics["val/accuracy"])
    assert f"Validation  {accuracy:.2%} accuracy" in capsys.readouterr().out


RESUME = """
import sys
import lightning.pytorch as pl
from tests.trainer.test_trainer import make_data, make_model, make_trainer

if __name__ == "__main__":
    pl.seed_everything(0, verbose=False)
    make_trainer(max_epochs=int(sys.argv[1])).fit(make_model(), make_data(), ckpt_path=sys.argv[2])
"""


def test_a_run_resumes_exactly_in_another_python_process(warm_python: str) -> None:
    class Interrupt(Callback):
        def on_train_batch_end(self, *arguments: Any) -> None:
            if arguments[0].global_step == 7:
                signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    for interrupted in (False, True):
        pl.seed_everything(0, verbose=False)
        trainer = make_trainer(max_epochs=3, callbacks=[Interrupt()] if interrupted else None)
        if interrupted:
            with pytest.raises(Stopped, match=r"everything is saved; .*last\.ckpt"):
                trainer.fit(make_model(), make_data())
            assert trainer.run.record["finished"] is None
            assert trainer.run.record["reason"].startswith("stopped by Ctrl-C at step 7: everything is saved")
            assert trainer.run.status == "interrupted"
        else:
            trainer.fit(make_model(), make_data())
    assert signal.getsignal(signal.SIGINT) is handler
    Path("resume.py").write_text(RESUME)
    environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parent)}
    command = [warm_python, "resume.py", "3", "last"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "Resuming version_1 at epoch 2/3, step 7 of 15" in result.stderr
    whole, resumed = (weights(f"lightning_logs/version_{i}/checkpoints/last.ckpt") for i in (0, 1))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    for run in map(load_run, ("lightning_logs/version_0", "lightning_logs/version_1")):
        assert len(run.metrics["epoch"]) == 3
        assert run.metrics["lr"] == pytest.approx([0.025] * 3)  # logged after the epoch's step


class Unknown(nn.Module):
    """A network that does not store its argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, width), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def test_a_network_that_cannot_be_rebuilt_is_given_to_load_run(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(max_epochs=1, report=True)
    trainer.fit(ImageClassifier(Unknown(6)), make_data())
    images = make_data().image_set("test").images
    logits = trainer.run.logits(images)  # the trainer still has the network
    assert trainer.run.test()["accuracy"] == pytest.approx(
        (logits.argmax(1) == make_data().image_set("test").labels).float().mean().item()
    )
    assert (trainer.run.folder / "report.html").is_file()
    assert "the argument width of Unknown is not kept as self.width" in (trainer.run.folder / "config.yaml").read_text()
    with pytest.raises(InputError, match=r"self\.width\): load it in Python with load_run\(folder, backbone="):
        _ = load_run().model
    assert torch.equal(load_run(backbone=Unknown(6)).logits(images), logits)
    assert torch.equal(load_run(backbone=Unknown(6).double()).logits(images), logits)
    with pytest.raises(InputError, match="weights do not fit this Unknown"):
        _ = load_run(backbone=Unknown(7)).model
    assert cifar_cnn.cli.run(["test", "--trainer.enable_progress_bar", "false"]) == 2
    assert "backbone" in capsys.readouterr().err


def test_the_weights_of_a_network_object_are_not_written_as_hyper_parameters(python_run: Path) -> None:
    text = (python_run / "hparams.yaml").read_text()
    assert "class_path: cifar_cnn.backbones.simple.SimpleCNN" in text
    assert len(text) < 2000


def test_a_fit_leaves_nothing_in_memory() -> None:
    data, model, trainer = make_data(), make_model(), make_trainer(max_epochs=1)
    trainer.fit(model, data)
    left = {
        type(each).__name__: weakref.ref(each)
        for each in (data, model, trainer, model.backbone, *trainer.loggers, *trainer.callbacks)  # type: ignore[attr-defined]
    }
    del data, model, trainer
    gc.collect()
    assert [name for name, reference in left.items() if reference() is not None] == []


def test_a_failed_fit_is_recorded_and_a_run_trained_by_another_process_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Fails(Callback):
        def on_train_batch_end(self, *arguments: Any) -> None:
            if arguments[0].global_step == 2:
                raise ZeroDivisionError("of one's own")

    trainer = make_trainer(max_epochs=1, callbacks=Fails(), enable_model_summary=True)
    with pytest.raises(ZeroDivisionError):
        trainer.fit(make_model(), make_data())
    printed = capsys.readouterr().out
    assert "receptive field" in printed
    assert str(summary(make_model())) in printed
    assert (trainer.run.status, trainer.run.record["reason"]) == ("failed", "of one's own")
    kept = (trainer.run.folder / "fit.json").read_bytes()
    resumed = make_trainer(max_epochs=1)
    with (
        training_in(trainer.run.folder),
        pytest.raises(InputError, match="version_0 is being trained by another process"),
    ):
        resumed.fit(make_model(), make_data(), ckpt_path="last")
    assert (trainer.run.folder / "fit.json").read_bytes() == kept


def test_default_callbacks_can_be_replaced_and_left_out() -> None:
    mine = FilterImages(every_n_epochs=1)
    trainer = make_trainer(callbacks=mine, without=[NotFinite])
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    assert [each for each in callbacks if isinstance(each, FilterImages)] == [mine]
    assert not any(isinstance(each, NotFinite) for each in callbacks)
    assert len(make_trainer(logger=False).checkpoint_callbacks) == 0
    assert make_trainer().num_sanity_val_steps == 0
    assert Trainer().max_epochs == 10


def test_without_a_logger_nothing_is_written() -> None:
    trainer = make_trainer(logger=False, max_epochs=1)
    trainer.fit(make_model(), make_data())
    assert not list(Path().iterdir())
    with pytest.raises(InputError, match="this trainer has no run yet"):
        _ = trainer.run


def test_a_given_logger_logs_a_test_too(python_run: Path) -> None:
    trainer = make_trainer(logger=CSVLogger("elsewhere"))
    assert not Path("elsewhere").exists()
    trainer.test(make_model(), datamodule=make_data(), ckpt_path=str(python_run / "checkpoints/best.ckpt"))
    (metrics,) = Path("elsewhere").rglob("metrics.csv")
    assert "test/accuracy" in metrics.read_text().splitlines()[0]


def test_a_fit_that_fails_to_start_leaves_no_folder() -> None:
    with pytest.raises(InputError, match=r"returned \(2, 3\)|num_classes|classes"):
        make_trainer().fit(ImageClassifier(SimpleCNN(num_classes=3)), make_data())
    with pytest.raises(InputError, match="val_size must be"):
        make_trainer().fit(make_model(), make_data(val_size=500))
    with pytest.raises(InputError, match="no run in lightning_logs has a checkpoint last"):
        make_trainer().fit(make_model(), make_data(), ckpt_path="last")
    assert not list(Path().iterdir())


def test_a_run_does_not_resume_with_another_optimizer_or_network(python_run: Path) -> None:
    last = python_run / "checkpoints/last.ckpt"
    other = ImageClassifier(SimpleCNN((4, 4, 8), batch_norm=True), optimizer=functools.partial(torch.optim.SGD, lr=1.0))
    with pytest.raises(InputError, match=r"was trained with a different model\.optimizer"):
        make_trainer().fit(other, make_data(), ckpt_path=last)
    same = make_model()
    larger = ImageClassifier(
        SimpleCNN((4, 4, 9), batch_norm=True), optimizer=same.make_optimizer, schedule=same.make_schedule
    )
    with pytest.raises(InputError, match="weights do not fit"):
        make_trainer().fit(larger, make_data(), ckpt_path=last)


def test_an_ordinary_data_loader_can_be_used() -> None:
    def pairs(n: int) -> DataLoader:
        return DataLoader(TensorDataset(torch.randn(n, 3, 32, 32), torch.arange(n) % 10), batch_size=16)

    trainer = make_trainer(max_epochs=1)
    trainer.fit(make_model(), pairs(64), pairs(32))
    assert {"train/loss", "val/accuracy"} <= trainer.run.metrics.keys()
    with pytest.raises(InputError, match="the DataLoader yields uint8 images: normalize them"):
        make_trainer().fit(make_model(), DataLoader(make_data().image_set("train"), batch_size=16))
