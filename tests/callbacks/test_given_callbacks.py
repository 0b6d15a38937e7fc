"""Each of Lightning's callbacks works on the command line, or is rejected in one line."""

import importlib.util
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch.callbacks
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import SpikeDetection
from lightning.pytorch.tuner.lr_finder import _LRCallback
from PIL import Image
from torch import nn

import cifar_cnn.cli
from cifar_cnn.callbacks.given import check_given
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli.main import check_options
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.tuning.learning_rate import without_bias
from tests.conftest import CONFIGS, SMALL

Capture = pytest.CaptureFixture[str]
RUN = Path("lightning_logs/version_0")
TINY = [
    *("fit", "--config", str(CONFIGS / "quickstart.yaml"), *SMALL, "--data.val_size", "0"),
    *(
        "--data.source.image_size",
        "16",
        "--model.backbone",
        "tests.harness.killed.TinyNet",
        "--filters.enabled",
        "false",
    ),
    *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.accelerator", "cpu"),
    *("--data.source.train_size", "80", "--data.source.test_size", "10", "--trainer.precision", "32"),
]

TOGETHER = {  # options of callbacks that are tested in one run
    "BasePredictionWriter": [],
    "Callback": [],
    "Checkpoint": [],
    "EarlyStopping": ["monitor=train/loss"],
    "LambdaCallback": ["on_fit_start=tests.callbacks.test_given_callbacks.on_fit_start"],
    "LearningRateMonitor": ["logging_interval=step"],
    "ModelCheckpoint": ["filename=mine"],
    "ModelSummary": [],
    "OnExceptionCheckpoint": ["dirpath=exceptions"],
    "SpikeDetection": [],
    "ThroughputMonitor": ["batch_size_fn=tests.callbacks.test_given_callbacks.size"],
    "Timer": ["duration=00:00:10:00"],
}
ALONE = {  # options of callbacks that are tested alone because they change the training
    "BackboneFinetuning": ["unfreeze_backbone_at_epoch=0"],
    "EMAWeightAveraging": [],
    "GradientAccumulationScheduler": ["scheduling={0: 2}"],
    "StochasticWeightAveraging": ["swa_lrs=0.01"],
    "WeightAveraging": [],
}
FINDERS = {
    "BatchSizeFinder": ["steps_per_trial=1", "init_val=32", "max_val=70"],
    "LearningRateFinder": ["num_training_steps=14", "min_lr=0.001", "max_lr=0.1", "early_stop_threshold=null"],
}
REFUSED = {  # options and message of rejected callbacks
    "BaseFinetuning": ([], "BaseFinetuning is a base class"),
    "DeviceStatsMonitor": ([], "`psutil` is not installed"),
    "ModelPruning": (["pruning_fn=l1_unstructured"], "config.yaml cannot record the pruning_fn of ModelPruning"),
    "ProgressBar": ([], "ProgressBar is a base class"),
    "RichModelSummary": ([], "requires `rich`"),
    "RichProgressBar": ([], "requires `rich`"),
    "TQDMProgressBar": ([], "`enable_progress_bar=False`"),  # TINY sets it
}
PACKAGES = {"DeviceStatsMonitor": "psutil", "RichModelSummary": "rich", "RichProgressBar": "rich"}


def on_fit_start(trainer: object, pl_module: object) -> None:
    """Do nothing; LambdaCallback calls this function."""


def size(batch: CIFAR10DataModule) -> int:
    """Count the images of a batch for ThroughputMonitor."""
    return len(batch.labels)  # type: ignore[attr-defined]


def given(name: str, options: list[str]) -> list[str]:
    return [f"--trainer.callbacks+={name}", *(f"--trainer.callbacks.{option}" for option in options)]


def fit(*options: str) -> int:
    return cifar_cnn.cli.run([*TINY, *options])


def test_each_callback_of_lightning_is_tried() -> None:
    assert {*TOGETHER, *ALONE, *FINDERS, *REFUSED} == set(lightning.pytorch.callbacks.__all__)


WORKING = [
    [option for name, options in TOGETHER.items() for option in given(name, options)],
    *(given(name, options) for name, options in ALONE.items()),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", WORKING, ids=["together", *ALONE])
def test_the_callback_trains_and_its_config_can_be_read_again(options: list[str], capsys: Capture) -> None:
    assert fit(*options) == 0, capsys.readouterr().err
    config = RUN / "config.yaml"
    assert "Unable to serialize" not in config.read_text()
    check_options(["fit", "--config", str(config)])
    assert torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_the_callback_is_rejected_in_one_line_and_leaves_no_files(name: str, capsys: Capture) -> None:
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]):
        pytest.skip(f"{PACKAGES[name]} is installed")
    options, message = REFUSED[name]
    assert fit(*given(name, options)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cifar-cnn: ")]
    assert message in line
    assert not Path("lightning_logs").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_run_with_finders_equals_a_run_with_their_results(capsys: Capture) -> None:
    assert fit(*(option for name, options in FINDERS.items() for option in given(name, options))) == 0
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["trainer"]["callbacks"] == []
    assert config["data"]["batch_size"] == 70
    lr = config["model"]["optimizer"]["init_args"]["lr"]
    assert 0.001 <= lr <= 0.1
    for picture in ("batch_size_finder.png", "learning_rate_finder.png"):
        with Image.open(RUN / picture) as image:
            assert min(image.size) > 300
    assert fit("--model.optimizer.lr", str(lr), "--data.batch_size", "70") == 0
    last = [f"lightning_logs/version_{i}/checkpoints/last.ckpt" for i in range(2)]
    first, second = (torch.load(path, weights_only=True)["state_dict"] for path in last)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert cifar_cnn.cli.run(["fit", "--ckpt_path", last[0]]) == 0
    assert fit("--ckpt_path", last[0], "--trainer.callbacks+=LearningRateFinder") == 2
    assert "a resumed run does not search again" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.optimizer", "cifar_cnn.optim.Muon"], "for all parameters, but Muon sets different ones"),
        (["--trainer.callbacks.min_lr=2"], "min_lr must be above 0 and below max_lr; they are 2.0 and 1"),
        (["--trainer.callbacks.num_training_steps=3"], "found no learning rate in 3 steps"),
    ],
)
def test_a_search_that_finds_nothing_says_why(options: list[str], message: str, capsys: Capture) -> None:
    assert fit("--trainer.callbacks+=LearningRateFinder", *options) == 2
    assert message in capsys.readouterr().err
    assert not Path("lightning_logs").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_search_of_no_batch_is_refused(capsys: Capture) -> None:
    assert fit("--trainer.callbacks+=BatchSizeFinder", "--trainer.callbacks.init_val=0") == 2
    assert "BatchSizeFinder: init_val must be 1 or more; it is 0" in capsys.readouterr().err
    assert not Path("lightning_logs").exists()


def test_the_smoothed_loss_of_a_search_has_no_bias() -> None:
    callback = _LRCallback(num_training=5, early_stop_threshold=None)
    trainer: Any = mock.MagicMock()
    trainer.fit_loop.batch_idx, trainer.accumulate_grad_batches = 0, 1
    for trainer.global_step in range(1, 6):
        callback.on_train_batch_end(trainer, trainer, torch.tensor(2.5), None, 0)
    assert callback.losses[0] < 1.3
    assert without_bias(callback.losses) == pytest.approx([2.5] * 5)


@pytest.mark.filterwarnings("ignore")
def test_a_signal_ends_a_search_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(ImageClassifier, "training_step", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert fit("--trainer.callbacks+=LearningRateFinder") == 128 + signal.SIGTERM
    assert "cifar-cnn: ended by SIGTERM: nothing is saved" in capsys.readouterr().err
    assert not Path("lightning_logs").exists()


def test_finetuning_a_network_without_batchnorm_is_rejected(capsys: Capture) -> None:
    plain = ["--model.backbone", "SimpleCNN", "--model.backbone.image_size", "16"]
    assert fit(*given("BackboneFinetuning", []), *plain) == 2
    message = "SimpleCNN has no parameters to train: BackboneFinetuning freezes every layer except BatchNorm"
    assert message in capsys.readouterr().err


def test_spike_detection_is_resumed() -> None:
    given, resumed = SpikeDetection(), SpikeDetection()
    check_given([given, resumed], ImageClassifier(nn.Linear(1, 1)))
    given.bad_batches.append(3)
    resumed.load_state_dict(given.state_dict())
    assert resumed.bad_batches == [3]


@pytest.mark.parametrize("option", ["limit_train_batches", "max_epochs"])
def test_a_fit_without_steps_is_rejected_and_leaves_no_files(option: str, capsys: Capture) -> None:
    assert fit(f"--trainer.{option}", "0") == 2
    assert f"cifar-cnn: error: nothing to train: trainer.{option} is 0" in capsys.readouterr().err
    assert not Path("lightning_logs").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_spike_ends_the_training_and_an_unknown_metric_is_a_wrong_option(capsys: Capture) -> None:
    assert fit("--model.optimizer.lr=100", *given("SpikeDetection", ["rtol=0"])) == 1
    assert "cifar-cnn: ended at step 2: Training spike detected in batch 1; " in capsys.readouterr().err
    assert fit(*given("EarlyStopping", ["monitor=nosuch"])) == 2
    assert "cifar-cnn: error: trainer: Early stopping conditioned on metric `nosuch`" in capsys.readouterr().err
