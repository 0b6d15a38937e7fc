import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cifar_cnn.cli
from cifar_cnn.hardware import best_precision
from tests.conftest import CONFIGS, NARROW, PICTURES, SMALL, TESTED

Capture = pytest.CaptureFixture[str]
QUICK = ["--config", str(CONFIGS / "quickstart.yaml"), *SMALL]
MILESTONES = ["--model.schedule", "torch.optim.lr_scheduler.MultiStepLR", "--model.schedule.milestones"]
NO_REPORT = ["--report", "false", "--trainer.enable_progress_bar", "false"]  # writing one takes a second
RUN = Path("lightning_logs/version_0")


@pytest.fixture
def cifar_cnn_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*args: Any) -> int:
        words = [str(arg) for arg in args]
        monkeypatch.setattr(sys, "argv", ["cifar-cnn", *words])
        return cifar_cnn.cli.run(words)

    return run


Command = Callable[..., int]


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_fits_two_batches(config: Path, cifar_cnn_command: Command, capsys: Capture) -> None:
    few = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 1]
    few += ["--data.batch_size", 8, "--data.val_size", 10, "--data.source.test_size", 20]
    few += NARROW if config.stem.startswith("resnet18") else []  # the configs do not state the channels
    assert cifar_cnn_command("fit", "--config", config, *SMALL, *PICTURES, *few) == 0
    output = capsys.readouterr().out
    assert "Validation" in output
    assert (RUN / "checkpoints/best.ckpt").is_file()
    assert len(list((RUN / "filters").glob("*.png"))) == 4
    with (RUN / "metrics.csv").open() as file:
        assert any(row["train/loss"] for row in csv.DictReader(file))
    assert cifar_cnn_command("test", *NO_REPORT) == 0
    assert "of 20" in capsys.readouterr().out


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_describes_the_whole_experiment(config: Path) -> None:
    text = config.read_text()
    given = yaml.safe_load(text)
    assert {"batch_size", "val_size", "augment"} <= set(given["data"])
    assert {"backbone", "loss", "optimizer", "schedule"} <= set(given["model"])
    assert {"lr", "momentum", "weight_decay"} <= set(given["model"]["optimizer"]["init_args"])
    assert given["model"]["schedule"]["init_args"]
    assert given["trainer"]["max_epochs"]
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert any(f"cifar-cnn fit --config configs/{config.name}" in line for line in head)
    assert any("%" in line and " s" in line for line in head), "time and accuracy"


def test_from_fit_to_predict(cifar_cnn_command: Command, capsys: Capture, image_folder: Path) -> None:
    more = ["--trainer.max_epochs", 2, "--trainer.log_every_n_steps", 1]
    assert cifar_cnn_command("fit", *QUICK, *PICTURES, *TESTED, *more) == 0
    output = capsys.readouterr().out
    for line in ("Trained     SimpleCNN", "Validation", "Test", f"Checkpoint  {RUN}", f"Filters     {RUN}/filters"):
        assert line in output
    assert {path.name for path in (RUN / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]["max_epochs"] == 2

    accuracies = [float(row["val/accuracy"]) for row in rows_of(RUN) if row["val/accuracy"]]
    assert f"Validation  {max(accuracies):.2%} accuracy, of the best epoch" in output
    assert json.loads((RUN / "test.json").read_text())["checkpoint"] == "checkpoints/best.ckpt"
    states = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    (best,) = (state for name, state in states.items() if name.startswith("BestCheckpoint"))
    assert best["best_model_score"].item() == pytest.approx(max(accuracies))

    events = EventAccumulator(str(RUN), size_guidance={"images": 0})
    events.Reload()
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr"} <= set(events.Tags()["scalars"])
    assert {"filters/first", "filters/last"} <= set(events.Tags()["images"])

    (RUN / "test.json").unlink()
    assert cifar_cnn_command("test", *NO_REPORT) == 0
    output = capsys.readouterr().out
    result = json.loads((RUN / "test.json").read_text())
    assert f"all       {result['accuracy']:7.2%}  of 50" in output
    for name in result["class_names"]:
        assert name in output
    assert sum(map(sum, result["confusion_matrix"])) == 50
    assert result["checkpoint"] == "checkpoints/best.ckpt"
    assert [path.name for path in RUN.parent.iterdir()] == [RUN.name]

    # A checkpoint that was copied away needs neither its run nor a config.
    copy = Path("elsewhere.ckpt")
    copy.write_bytes((RUN / "checkpoints/best.ckpt").read_bytes())
    assert cifar_cnn_command("test", "--ckpt_path", copy, *NO_REPORT) == 0
    assert f"{result['accuracy']:7.2%}  of 50" in capsys.readouterr().out
    # Given options take precedence over those of the checkpoint.
    assert cifar_cnn_command("test", "--data.source.test_size", 20, *NO_REPORT) == 0
    assert "of 20" in capsys.readouterr().out

    assert cifar_cnn_command("validate", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false") == 0
    assert "Validation" in capsys.readouterr().out

    assert cifar_cnn_command("predict", image_folder / "test", "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert all(line.count("%") == 2 for line in lines)


def test_predict_writes_a_table_and_lists_unreadable_files(
    cifar_cnn_command: Command, capsys: Capture, image_folder: Path
) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--trainer.max_epochs", 1) == 0
    broken = image_folder / "test" / "röt" / "broken.png"
    broken.write_text("no image")
    capsys.readouterr()
    assert cifar_cnn_command("predict", image_folder, "--output", "classes.csv", "--batch_size", 7) == 1
    assert capsys.readouterr().err.strip().endswith(f"unreadable image: {broken}")
    with Path("classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row in rows:
        probabilities = {name: float(row[name]) for name in list(row)[3:]}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["class"] == max(probabilities, key=lambda name: probabilities[name])
    assert not list(Path().glob("*.part"))
    Path("empty").mkdir()
    for arguments, message in ((["nowhere"], "no file or folder nowhere"), (["empty"], "no images in empty")):
        assert cifar_cnn_command("predict", *arguments) == 2
        assert message in capsys.readouterr().err


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "epoch_seconds"} for row in csv.DictReader(file)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_fit_resumes_from_last_in_the_same_folder(cifar_cnn_command: Command, capsys: Capture) -> None:
    arguments = [*QUICK, "--model.schedule", "null"]
    assert cifar_cnn_command("fit", *arguments, "--trainer.max_epochs", 3) == 0
    assert cifar_cnn_command("fit", *arguments, "--trainer.max_epochs", 1) == 0
    assert cifar_cnn_command("fit", "--ckpt_path", "last", "--trainer.max_epochs", 3) == 0
    assert "2 epochs in" in capsys.readouterr().out
    whole, resumed = Path("lightning_logs/version_0"), Path("lightning_logs/version_1")
    assert len(list(RUN.parent.iterdir())) == 2
    assert rows_of(resumed) == rows_of(whole)
    for name in ("last.ckpt", "best.ckpt"):
        expected, result = (weights(run / "checkpoints" / name) for run in (whole, resumed))
        assert all(torch.equal(expected[key], result[key]) for key in expected)
    saved = yaml.safe_load((resumed / "config.yaml").read_text())
    assert saved["ckpt_path"] is None
    assert saved["trainer"]["max_epochs"] == 3


def test_the_saved_config_reproduces_the_run(cifar_cnn_command: Command) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--trainer.max_epochs", 1) == 0
    assert cifar_cnn_command("fit", "--config", RUN / "config.yaml") == 0
    first, second = (weights(RUN.parent / f"version_{i}/checkpoints/last.ckpt") for i in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_validation_images_the_best_is_the_last(cifar_cnn_command: Command, capsys: Capture) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--data.val_size", 0, "--trainer.max_epochs", 2) == 0
    assert "Validation  none: there are no validation images, data.val_size is 0\n" in capsys.readouterr().out
    best, last = (weights(RUN / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt"))
    assert all(torch.equal(best[name], last[name]) for name in best)
    assert cifar_cnn_command("validate", "--trainer.enable_progress_bar", "false") == 2
    assert "data.val_size is 0" in capsys.readouterr().err


def test_other_backbones_losses_and_optimizers_by_class_path(cifar_cnn_command: Command) -> None:
    assert (
        cifar_cnn_command(
            "fit",
            *QUICK,
            *("--model.backbone", "torchvision.models.mobilenet_v3_small", "--model.backbone.num_classes", 10),
            *("--model.loss", "cifar_cnn.losses.CrossEntropyLoss", "--model.loss.label_smoothing", 0.1),
            *("--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", 0.001),
            *("--model.schedule", "WarmupCosine", "--model.schedule.warmup", 0.1),
            *("--model.decay_bias_and_norm", "false", "--trainer.max_epochs", 1),
        )
        == 0
    )
    assert cifar_cnn_command("test", *NO_REPORT) == 0


def test_schedules_of_torch_by_class_path(cifar_cnn_command: Command, capsys: Capture) -> None:
    steps = ["--model.schedule", "torch.optim.lr_scheduler.StepLR", "--model.schedule.step_size", 8]
    steps += ["--model.schedule_interval", "step"]
    more = ["--trainer.max_epochs", 2, "--trainer.log_every_n_steps", 1, "--model.optimizer.lr", 0.5]
    assert cifar_cnn_command("fit", *QUICK, *steps, *more) == 0
    with (RUN / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["lr"]]
    found = [[float(row["lr"]) for row in rows if bool(row["epoch_seconds"]) is ends] for ends in (False, True)]
    assert found == [pytest.approx([0.5] * 8 + [0.05] * 8), pytest.approx([0.05, 0.005])]
    plateau = ["--model.schedule", "torch.optim.lr_scheduler.ReduceLROnPlateau", "--model.schedule.patience", 0]
    assert cifar_cnn_command("fit", *QUICK, *plateau, "--trainer.max_epochs", 1) == 0
    assert cifar_cnn_command("fit", "--ckpt_path", "last", "--trainer.max_epochs", 2) == 0
    capsys.readouterr()
    assert cifar_cnn_command("fit", *QUICK, "--model.schedule", "torch.optim.lr_scheduler.ExponentialLR") == 2
    assert "schedule: ExponentialLR: missing a required argument: 'gamma'\n" in capsys.readouterr().err


def callback(name: str, **options: Any) -> list[Any]:
    words: list[Any] = ["--trainer.callbacks+", name]
    for option, value in options.items():
        words += [f"--trainer.callbacks.{option}", value]
    return words


def test_a_fit_stopped_by_early_stopping_does_not_continue(cifar_cnn_command: Command, capsys: Capture) -> None:
    stopping = callback("EarlyStopping", monitor="val/loss", patience=1, min_delta=100)  # no epoch is an improvement
    assert cifar_cnn_command("fit", *QUICK, *stopping, "--trainer.max_epochs", 6) == 0
    steps = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert steps < 6 * 8
    assert cifar_cnn_command("fit", "--ckpt_path", "last") == 0
    assert torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["global_step"] == steps
    capsys.readouterr()
    nothing = callback("EarlyStopping", monitor="nosuch")
    assert cifar_cnn_command("fit", *QUICK, *nothing) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cifar-cnn: error: ")]
    assert len(errors) == 1
    assert "conditioned on metric `nosuch` which is not available" in errors[0]


def test_a_users_checkpoints_and_averages_are_resumed(
    cifar_cnn_command: Command, recwarn: pytest.WarningsRecorder
) -> None:
    kept = callback("ModelCheckpoint", monitor="val/accuracy", mode="max", filename="mine")
    few = ["--trainer.max_epochs", 2]
    assert cifar_cnn_command("fit", *QUICK, *kept, *few) == 0
    assert cifar_cnn_command("fit", "--ckpt_path", "last", "--trainer.max_epochs", 3) == 0
    assert not [each for each in recwarn if "dirpath has changed" in str(each.message)]
    files = sorted(path.name for path in (RUN / "checkpoints").iterdir())
    assert files == ["best.ckpt", "last.ckpt", "mine.ckpt", "previous.ckpt"]
    averages = callback("StochasticWeightAveraging", swa_lrs=0.05, swa_epoch_start=1)
    assert cifar_cnn_command("fit", *QUICK, *averages, *few) == 0
    assert cifar_cnn_command("fit", "--config", "lightning_logs/version_1/config.yaml") == 0


@pytest.mark.parametrize("logger", ["CSVLogger", "TensorBoardLogger"])
def test_a_run_in_a_loggers_folder_is_resumed_there(logger: str, cifar_cnn_command: Command) -> None:
    elsewhere = ["--trainer.logger", logger, "--trainer.logger.save_dir", "elsewhere"]
    assert cifar_cnn_command("fit", *QUICK, *elsewhere, "--trainer.max_epochs", 1) == 0
    (last,) = Path("elsewhere").rglob("last.ckpt")
    assert cifar_cnn_command("fit", "--ckpt_path", last, "--trainer.max_epochs", 2) == 0
    (run,) = last.parents[2].iterdir()
    assert torch.load(last, weights_only=True)["global_step"] == 16
    if logger == "CSVLogger":
        with (run / "metrics.csv").open() as file:
            assert [row["epoch"] for row in csv.DictReader(file) if row["epoch_seconds"]] == ["0", "1"]


def test_a_limit_of_one_batch_is_one_batch(cifar_cnn_command: Command, capsys: Capture) -> None:
    limits = ["--trainer.limit_train_batches", 1, "--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 1]
    assert cifar_cnn_command("fit", *QUICK, *limits) == 0
    assert torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 1
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["trainer"]["limit_train_batches"] == 1


def test_16_mixed_on_a_cpu_is_one_line(cifar_cnn_command: Command, capsys: Capture) -> None:
    few = ["--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", *TESTED]
    clipped = ["--trainer.gradient_clip_val", 0.5]
    assert cifar_cnn_command("fit", *QUICK, *few, *clipped, "--trainer.precision", "16-mixed") == 0
    captured = capsys.readouterr()
    lines = [line for line in (captured.out + captured.err).splitlines() if "16-mixed" in line]
    assert len([line for line in lines if "needs a GPU; on this CPU the run uses bf16-mixed" in line]) == 1
    assert not [line for line in lines if "AMP" in line]


def test_two_processes_share_the_images(strangers_files: Callable[[], set[str]]) -> None:
    command = [sys.executable, "-m", "cifar_cnn", "fit", *QUICK]
    command += ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    command += ["--trainer.max_epochs", "1", *TESTED]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert strangers_files() == set()
    assert result.stdout.count("Trained     SimpleCNN") == 1
    assert [path.name for path in RUN.parent.iterdir()] == [RUN.name]
    # 260 training images: 4 steps of 2 x 32.
    assert torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    assert json.loads((RUN / "test.json").read_text())["images"] == 50


def test_no_warning_is_shown_that_the_user_cannot_act_on(strangers_files: Callable[[], set[str]]) -> None:
    options = [*QUICK, *TESTED, "--trainer.max_epochs", "1"]
    for command in ([sys.executable, "-m", "cifar_cnn"], [Path(sys.executable).with_name("cifar-cnn")]):
        result = subprocess.run([*command, "fit", *options], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        for word in ("warn", "Warn", "deprecat", "tensorboardX", "LeafSpec", "litlogger", "Tip", "Traceback"):
            assert word not in result.stdout + result.stderr
        assert strangers_files() == set()


CONFIG_ERRORS = {
    "misspelt section": ("modle: {}", "unknown option modle in bad.yaml; nearest: model"),
    "misspelt option": ("trainer: {max_epoch: 3}", "unknown option trainer.max_epoch; nearest: trainer.max_epochs"),
    "misspelt augmentation": ("data: {augment: {flipp: true}}", "nearest: data.augment.flip"),
    "misspelt backbone argument": (
        "model: {backbone: {class_path: SimpleCNN, init_args: {chanels: [1, 2, 3]}}}",
        "unknown option model.backbone.chanels; nearest: model.backbone.channels",
    ),
    "unknown backbone": ("model: {backbone: {class_path: SimpelCNN}}", "no 'SimpelCNN'; nearest: SimpleCNN"),
    "unknown source argument": (
        "data: {source: {class_path: Shapes, init_args: {nois: 3}}}",
        "unknown option data.source.nois; nearest: data.source.noise",
    ),
    "not YAML": ("a: [", "config bad.yaml is not valid YAML"),
    "nothing": ("# only a comment", "config bad.yaml is empty"),
    "itself": ("a: &a {b: *a}", "config bad.yaml is nested too deeply or contains itself"),
    "deep": (f"a: {'[' * 3000}{']' * 3000}", "config bad.yaml is nested too deeply"),
    "aliases of aliases": (
        "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}' if i else '1'] * 10)}]\n" for i in range(9)),
        "config bad.yaml holds more than 100,000 values",
    ),
    "only text": ("just text", "a config must contain sections"),
    "a list as a section": ("trainer: [1, 2]", "trainer: must be followed by indented lines of options, not by a list"),
    "a number as a section": ("data: 3", "data: must be followed by indented lines of options, not by 3"),
    "a number as a key": ("1: 2", "config bad.yaml: 1 is not an option of a config"),
    "an option of the command line": (
        "print_config: true",
        "config bad.yaml: print_config is not an option of a config",
    ),
    "a checkpoint": ("model: {backbone: SimpleCNN}\nckpt_path: last", "use the option --ckpt_path"),
    "a missing package": (
        "model: {backbone: SimpleCNN}\ntrainer: {logger: {class_path: lightning.pytorch.loggers.WandbLogger}}",
        "a package is not installed: ",
    ),
    "a class without its arguments": (
        "model: {backbone: {class_path: torch.fx.GraphModule}}",
        "GraphModule.__init__() missing 2 required positional arguments: 'root' and 'graph'",
    ),
}


@pytest.mark.parametrize("form", [["--config", "bad.yaml"], ["--config=bad.yaml"]], ids=["space", "equals"])
@pytest.mark.parametrize(("content", "message"), CONFIG_ERRORS.values(), ids=CONFIG_ERRORS)
def test_a_bad_config_is_one_line(
    content: str, message: str, form: list[str], cifar_cnn_command: Command, capsys: Capture
) -> None:
    Path("bad.yaml").write_text(content)
    assert cifar_cnn_command("fit", *form) == 2
    error = capsys.readouterr().err
    assert error.startswith("cifar-cnn: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_config_that_is_not_text_is_one_line(cifar_cnn_command: Command, capsys: Capture) -> None:
    Path("bad.yaml").write_bytes(bytes(range(256)))
    for path, message in (("bad.yaml", "is not valid YAML"), (".", "cannot be read: Is a directory")):
        assert cifar_cnn_command("fit", "--config", path) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"cifar-cnn: error: config {path} {message}")
        assert error.count("\n") == 1


COMMAND_ERRORS: dict[str, tuple[list[str], str]] = {
    "no command": ([], "give a command: fit, validate, test, predict"),
    "unknown command": (["fti"], "unknown command 'fti'; nearest: fit"),
    "no network": (["fit"], "model.backbone is missing: give a --config"),
    "missing config": (["fit", "--config", "nope.yaml"], "no config file nope.yaml"),
    "abbreviated option": (["fit", *QUICK, "--trainer.max_epoch", "3"], "nearest: --trainer.max_epochs"),
    "misspelt option": (["fit", "--confg", "x"], "unknown option --confg; nearest: --config"),
    "stray word": (["fit", *QUICK, "extra"], "unexpected argument 'extra'"),
    "unknown backbone": (["fit", *QUICK, "--model.backbone", "ResNet81"], "no 'ResNet81'; nearest: ResNet18"),
    "unknown function": (
        ["fit", *QUICK, "--model.backbone", "torchvision.models.mobilenet_v3_smal"],
        "nearest: torchvision.models.mobilenet_v3_small",
    ),
    "no such module": (["fit", *QUICK, "--model.backbone", "nowhere.Net"], "there is no module 'nowhere'"),
    "no network at all": (["fit", *QUICK, "--model.backbone", "os.system"], "model.backbone: os.system is not allowed"),
    "backbone argument": (["fit", *QUICK, "--model.backbone.chanels", "3"], "nearest: model.backbone.channels"),
    "backbone choice": (["fit", *QUICK, "--model.backbone.head", "flaten"], "not one of flatten, max_pool, conv"),
    "unknown loss": (["fit", *QUICK, "--model.loss", "CrossEntropyLos"], "nearest: CrossEntropyLoss"),
    "unknown optimizer": (["fit", *QUICK, "--model.optimizer", "AdmW"], "nearest: AdamW"),
    "unknown schedule": (["fit", *QUICK, "--model.schedule", "WarmupCosin"], "nearest: WarmupCosine"),
    "unknown source": (["fit", *QUICK, "--data.source", "ImagFolder"], "nearest: ImageFolder"),
    "source without root": (["fit", *QUICK, "--data.source", "ImageFolder"], "give it with --data.source.root"),
    "missing folder": (
        ["fit", *QUICK, "--data.source", "ImageFolder", "--data.source.root", "nowhere"],
        "nowhere/train: No such file or directory",
    ),
    "not a number": (["fit", *QUICK, "--trainer.max_epochs", "three"], "'three' is not of type int"),
    "batch size": (["fit", *QUICK, "--data.batch_size", "0"], "batch sizes must be 1 or more"),
    "val_size": (["fit", *QUICK, "--data.val_size", "300"], "val_size must be from 0 to 299"),
    "learning rate": (["fit", *QUICK, "--model.optimizer.lr", "-1"], "Invalid learning rate"),
    "classes": (["fit", *QUICK, "--model.backbone.num_classes", "9"], "see --model.backbone.num_classes"),
    "image size": (
        ["fit", *QUICK, "--data.source.image_size", "28"],
        "is built for images of 32 x 32 pixels, but these have 28 x 28",
    ),
    "Shapes noise": (["fit", *QUICK, "--data.source.noise", "-1"], "noise >= 0"),
    "loss argument": (
        ["fit", *QUICK, "--model.loss", "cifar_cnn.losses.CrossEntropyLoss", "--model.loss.label_smoothing", "2"],
        "label_smoothing",
    ),
    "loss a sample": (
        ["fit", *QUICK, "--model.loss", "torch.nn.CrossEntropyLoss", "--model.loss.reduction", "none"],
        "model.loss must return one number per batch",
    ),
    "no list": (
        ["fit", *QUICK, *MILESTONES, "2"],
        "model.schedule: a value has the wrong type: model.schedule.milestones 2",
    ),
    "no argument beside a list": (
        ["fit", *QUICK, *MILESTONES, "[2]", "--model.schedule.gama", "2"],
        "unknown option model.schedule.gama; nearest: model.schedule.gamma",
    ),
    "no number": (["fit", *QUICK, "--model.optimizer.lr", "fast"], "model.optimizer.lr: 'fast' is not of type float"),
    "no precision": (
        ["fit", *QUICK, "--trainer.precision", "8"],
        "trainer.precision: '8' is not one of 32-true, bf16",
    ),
    "larger images": (["fit", *QUICK, "--data.source.image_size", "40"], "but these have 40 x 40"),
    "accelerator": (["fit", *QUICK, "--trainer.accelerator", "gpuu"], "invalid accelerator name"),
    "no GPU": (["fit", *QUICK, "--trainer.accelerator", "cuda"], "trainer: "),
    "no seed": (["fit", *QUICK, "--seed_everything", "-1"], "seed_everything must be from 0 to 4,294,967,295, not -1"),
    "no steps": (["fit", *QUICK, "--trainer.max_steps", "0"], "trainer: max_steps must not be 0"),
    "no batches": (["fit", *QUICK, "--trainer.accumulate_grad_batches", "0"], "accumulate_grad_batches must not be 0"),
    "rare validation": (
        ["fit", *QUICK, "--trainer.val_check_interval", "99"],
        "`val_check_interval` (99) must",
    ),
    "schedule's argument": (
        ["fit", *QUICK, "--model.schedule", "torch.optim.lr_scheduler.StepLR"],
        "schedule: StepLR: missing a required argument: 'step_size'",
    ),
    "a number of devices": (["fit", *QUICK, "--trainer.devices", "-3"], "should be an int > 0"),
    "plateau without validation": (
        [*("fit", *QUICK), *("--data.val_size", "0", "--model.schedule", "torch.optim.lr_scheduler.ReduceLROnPlateau")],
        "ReduceLROnPlateau needs validation images, but there are none: set data.val_size",
    ),
    "plateau by another value": (
        ["fit", *QUICK, "--model.schedule", "lightning.pytorch.cli.ReduceLROnPlateau", "--model.schedule.monitor", "x"],
        "model.schedule.monitor must be one of val/accuracy, val/accuracy_top5, val/loss, not 'x'",
    ),
    "function without annotation": (
        ["fit", *QUICK, "--model.backbone", "torch.nn.init.calculate_gain"],
        "model.backbone: torch.nn.init.calculate_gain is a function: annotate its return type",
    ),
    "no run yet": (["test"], "no run in lightning_logs has a checkpoint best.ckpt yet"),
    "nothing to go on from": (["fit", *QUICK, "--ckpt_path", "last"], "has a checkpoint last.ckpt yet"),
    "missing checkpoint": (["test", "--ckpt_path", "nope.ckpt"], "no checkpoint nope.ckpt"),
    "nothing to predict with": (["predict", "a.png"], "has a checkpoint best.ckpt yet"),
}
if torch.cuda.is_available():
    del COMMAND_ERRORS["no GPU"]


@pytest.mark.parametrize(("args", "message"), COMMAND_ERRORS.values(), ids=COMMAND_ERRORS)
def test_a_mistake_is_one_line_and_leaves_no_files(
    args: list[str], message: str, cifar_cnn_command: Command, capsys: Capture
) -> None:
    assert cifar_cnn_command(*args) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cifar-cnn: error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(Path("lightning_logs").glob("*"))


def test_a_module_in_the_current_folder_is_found_from_any_config(warm_command: list[str]) -> None:
    Path("mine.py").write_text("from torch import nn\n\nclass Net(nn.Linear):\n    pass\n")
    Path("folder").mkdir()
    Path("folder/mine.yaml").write_text("model: {backbone: {class_path: mine.Net, init_args: {in_features: 1}}}")
    arguments = ["fit", "--config", "folder/mine.yaml", "--model.backbone.out_features", "1", "--print_config"]
    result = subprocess.run([*warm_command, *arguments], capture_output=True, text=True)
    assert "class_path: mine.Net" in result.stdout, result.stderr


def test_a_mistake_has_no_traceback_and_status_2(warm_command: list[str]) -> None:
    arguments = ["fit", *QUICK, "--model.backbone", "ResNet81"]
    result = subprocess.run([*warm_command, *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    loading, error = result.stderr.splitlines()
    assert loading == "Loading PyTorch and Lightning"
    assert error.startswith("cifar-cnn: error: ")


class Payload:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("executed",))


def test_a_checkpoint_with_code_in_it_runs_nothing(cifar_cnn_command: Command, capsys: Capture) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--trainer.max_epochs", 1) == 0
    content = torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)
    torch.save({**content, "hyper_parameters": Payload()}, "evil.ckpt")
    Path("damaged.ckpt").write_bytes((RUN / "checkpoints/best.ckpt").read_bytes()[:5000])
    Path("other.ckpt").write_bytes(b"no checkpoint")
    torch.save({"state_dict": {}}, "foreign.ckpt")
    capsys.readouterr()
    for name in ("evil.ckpt", "damaged.ckpt", "other.ckpt", "foreign.ckpt"):
        for command in (["fit", *QUICK], ["test"], ["validate"], ["predict", "."]):
            assert cifar_cnn_command(*command, "--ckpt_path", name) == 2
            assert f"{name} is not a checkpoint of this project, or is damaged" in capsys.readouterr().err
    assert not Path("executed").exists()


def test_a_run_is_not_resumed_with_another_network_or_optimizer(cifar_cnn_command: Command, capsys: Capture) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--trainer.max_epochs", 1) == 0
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    for change, message in (
        (["--model.backbone", "ResNet18"], "do not fit this ResNet18 ("),
        (
            ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", "1e-3"],
            "was trained with a different model.optimizer",
        ),
        (["--model.optimizer.lr", "1e-3"], "was trained with a different model.optimizer"),
    ):
        assert cifar_cnn_command("fit", *QUICK, *change, "--ckpt_path", "last", "--trainer.max_epochs", 2) == 2
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.log_every_n_steps", 0],
        ["--trainer.enable_checkpointing", "false"],
        ["--trainer.limit_val_batches", 0],
    ],
)
def test_parts_of_a_run_can_be_disabled(options: list[Any], cifar_cnn_command: Command) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--trainer.max_epochs", 1, *options) == 0
    kept = "enable_checkpointing" not in str(options)
    assert (RUN / "checkpoints/best.ckpt").exists() is kept


def test_a_run_without_loggers_leaves_no_files(cifar_cnn_command: Command) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--trainer.max_epochs", 1, "--trainer.logger", "false") == 0
    assert list(Path().iterdir()) == []


class PlainLogger(Logger):
    """A logger without a folder, like those of online services."""

    logged: ClassVar[list[dict[str, float]]] = []
    name = "plain"
    version = 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append(metrics)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass


def test_a_logger_without_a_folder_is_used_beside_metrics_csv(cifar_cnn_command: Command) -> None:
    options = ["--trainer.max_epochs", 1, "--trainer.logger", "tests.cli.test_cli.PlainLogger"]
    for run in (RUN, RUN.with_name("version_1")):
        PlainLogger.logged.clear()
        assert cifar_cnn_command("fit", *QUICK, *PICTURES, *options) == 0
        (accuracy,) = (metrics["val/accuracy"] for metrics in PlainLogger.logged if "val/accuracy" in metrics)
        assert [float(row["val/accuracy"]) for row in rows_of(run) if row["val/accuracy"]] == [pytest.approx(accuracy)]
        assert {path.name for path in run.iterdir()} > {"checkpoints", "config.yaml", "filters", "fit.json"}
    assert [path.name for path in Path().iterdir()] == ["lightning_logs"]


def test_fit_needs_no_test_images(cifar_cnn_command: Command, image_folder: Path) -> None:
    (image_folder / "test").rename(image_folder / "unused")
    few = ["--trainer.max_epochs", 1, "--data.val_size", 10, "--model.backbone.num_classes", 2]
    options = ["--data.source", "ImageFolder", "--data.source.root", image_folder, *few]
    assert cifar_cnn_command("fit", "--config", CONFIGS / "simple_cnn_a.yaml", *options) == 0


def test_images_of_another_size_are_rejected(cifar_cnn_command: Command, capsys: Capture) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--model.backbone.head", "max_pool", "--trainer.max_epochs", 1) == 0
    assert cifar_cnn_command("test", "--data.source.image_size", 40) == 2
    assert "was trained on images of 32 pixels per side; these have 40" in capsys.readouterr().err


def test_predict_into_a_folder_is_refused_and_a_closed_pipe_is_no_error(
    cifar_cnn_command: Command, capsys: Capture, image_folder: Path, warm_command: list[str]
) -> None:
    assert cifar_cnn_command("fit", *QUICK, "--trainer.max_epochs", 1) == 0
    for output in (".", ""):
        assert cifar_cnn_command("predict", image_folder, "--output", output) == 2
        assert "--output must be a CSV or JSON file" in capsys.readouterr().err
    program = shlex.join(warm_command)
    for command in (f"{program} predict {image_folder} | head -1", f"{program} fit --help all | head -1"):
        result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
        assert result.returncode == 0
        assert result.stderr == ""
        assert result.stdout.count("\n") == 1


def test_a_test_uses_the_precision_of_the_training(cifar_cnn_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    precisions: list[str] = []
    monkeypatch.setattr(cifar_cnn.trainer.Trainer, "test", lambda self, *_, **__: precisions.append(self.precision))
    few = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1]
    assert cifar_cnn_command("fit", *QUICK, *few) == 0
    saved = yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]["precision"]
    assert saved == best_precision()
    assert cifar_cnn_command("test") == 0
    assert cifar_cnn_command("fit", *QUICK, *few, "--trainer.precision", "64-true") == 0
    assert cifar_cnn_command("test") == 0
    assert cifar_cnn_command("test", "--trainer.precision", "32-true") == 0
    assert precisions == [saved, "64-true", "32-true"]


def test_the_moving_averages_are_tested(cifar_cnn_command: Command) -> None:
    averages = "lightning.pytorch.callbacks.EMAWeightAveraging"
    options = ["--trainer.max_epochs", 1, "--trainer.callbacks", averages, "--trainer.callbacks.decay", 0.5, *TESTED]
    assert cifar_cnn_command("fit", *QUICK, *options) == 0
    content = torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)
    names = [name for name, value in content["state_dict"].items() if value.is_floating_point()]
    assert any(not torch.equal(content["state_dict"][name], content["current_model_state"][name]) for name in names)
    with np.load(RUN / "test_predictions.npz") as after_fit:
        logits = after_fit["logits"]
    assert cifar_cnn_command("test", *NO_REPORT) == 0
    with np.load(RUN / "test_predictions.npz") as tested:
        np.testing.assert_array_equal(logits, tested["logits"])
