import functools
import sys
from pathlib import Path

import pytest
from torch import nn

import cifar_cnn.cli
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import command_names, suggestions
from cifar_cnn.cli.plain_errors import explain
from tests.cli.test_class_options import OnlyParses
from tests.conftest import CONFIGS

Capture = pytest.CaptureFixture[str]
OPTIONS = [
    *("config", "ckpt_path", "report", "filters", "test_after_fit", "seed_everything", "filters.max_filters"),
    *("trainer.max_epochs", "trainer.min_epochs", "trainer.devices", "trainer.accelerator", "trainer.max_steps"),
    *("model.backbone", "model.backbone.num_classes", "model.optimizer", "model.optimizer.lr", "model.schedule"),
    *("data", "data.batch_size", "data.eval_batch_size", "data.source", "data.source.root", "data.augment.flip"),
]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("--epochs", "nearest: --trainer.max_epochs"),
        ("--num-epochs", "nearest: --trainer.max_epochs"),
        ("--trainer.epochs", "nearest: --trainer.max_epochs"),
        ("--trainer.max-epochs", "nearest: --trainer.max_epochs"),
        ("trainer.max_epoch", "nearest: trainer.max_epochs, trainer.min_epochs, trainer.max_steps"),
        ("--lr", "nearest: --model.optimizer.lr"),
        ("--model.lr", "nearest: --model.optimizer.lr"),
        ("--batch_size", "nearest: --data.batch_size"),
        ("--gpus", "nearest: --trainer.devices"),
        ("--device", "nearest: --trainer.accelerator"),
        ("--seed", "nearest: --seed_everything"),
        ("--optimizer", "nearest: --model.optimizer"),
        ("--resume", "nearest: --ckpt_path last"),
        ("--data.root", "nearest: --data.source.root"),
        ("--num_classes", "nearest: --model.backbone.num_classes"),
        ("--flip", "nearest: --data.augment.flip"),
        ("--confg", "nearest: --config"),
        ("--workers", "there are no worker processes: all images stay in memory"),
        ("--momentum", "the class selected by --model.optimizer has no momentum"),
        ("--xyzzy", "`cifar-cnn fit --help all` lists all"),
    ],
)
def test_an_option_is_suggested_by_meaning_and_by_spelling(typed: str, hint: str) -> None:
    assert suggestions.option(typed, OPTIONS) == hint


def test_hints_name_the_help_of_the_command_that_was_typed() -> None:
    assert suggestions.option("--name", OPTIONS, "validate") == "`cifar-cnn validate --help all` lists all"
    hint = explain(ValueError("unrecognized arguments: --name x"), OPTIONS, "validate", ["--name", "x"])
    assert hint == "unknown option --name; `cifar-cnn validate --help all` lists all"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("train", "unknown command 'train': use cifar-cnn fit"),
        ("Evaluate", "unknown command 'Evaluate': use cifar-cnn test"),
        ("resume", "unknown command 'resume': use cifar-cnn fit --ckpt_path last"),
        ("fti", "unknown command 'fti'; nearest: fit"),
        ("xyzzy", "unknown command 'xyzzy'; `cifar-cnn --help` lists the commands"),
        ("fit", None),
    ],
)
def test_a_command_is_suggested_by_meaning_and_by_spelling(typed: str, message: str | None) -> None:
    assert command_names.mistake(typed) == message


class NoModule:
    pass


class OwnNet(nn.Module):
    def __init__(self, width: int = 3, kernel: int = 3, num_classes: int = 10) -> None:
        super().__init__()


NET_MADE = nn.Linear(1, 1)
NET_PARTIAL = functools.partial(OwnNet, width=2)
NET = f"--model.backbone={__name__}.OwnNet"
OUTER = "--model.backbone=tests.cli.test_class_options.Outer"
ADAMW = "--model.optimizer=torch.optim.AdamW"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([NET, "--model.backbone.widht", "3"], "model.backbone.widht; nearest: model.backbone.width\n"),
        ([NET, "--model.backbone.filters", "3"], "model.backbone.filters; it takes width, kernel, num_classes\n"),
        (
            [NET, "--epochs", "3", "--lr=1"],
            "--epochs; nearest: --trainer.max_epochs; unknown option --lr; nearest: --m",
        ),
        ([NET, ADAMW, "--betas", "1"], "--betas; nearest: --model.optimizer.betas\n"),
        ([NET, ADAMW, "--momentum", "1"], "--momentum; the class selected by --model.optimizer has no momentum\n"),
        ([NET, ADAMW, "--model.optimizer.learning_rate", "1"], "nearest: model.optimizer.lr\n"),
        ([NET, "--model.schedule.peak", "1"], "model.schedule.peak; name the class first, with --model.schedule\n"),
        ([NET, "--dropout", "0.1"], "--dropout; the class selected by --model.backbone has no dropout\n"),
        (
            [NET, "--model", "resnet18"],
            "there is no file resnet18; select a network with --model.backbone resnet18\n",
        ),
        (
            [NET, "--model.optimizer", "Muon"],
            "model.optimizer: write torch.optim.Muon or cifar_cnn.optim.Muon: more than one class is called Muon\n",
        ),
        (["--config", "toplevel.yaml"], "unknown option dataa in toplevel.yaml; nearest: data\n"),
        ([NET, "--config", "{own: 1}"], "unknown option own; `cifar-cnn fit --help all` lists all\n"),
        ([NET, "--config", "{a: ["], "a config is not valid: while parsing a flow node"),
        ([NET, "--data.augment.flip", "maybe"], "flip: 'maybe' is not of type bool or one of alternating\n"),
        ([NET, "--model.backbone.kernel", "[1, x]"], "model.backbone.kernel: 'x' is not of type int\n"),
        ([OUTER, "--model.backbone.inner", "Nope"], "model.backbone.inner: there is no 'Nope': write an import path"),
        (
            [OUTER, "--model.backbone.inner", "torch.nn.Linea"],
            "model.backbone.inner: there is no 'torch.nn.Linea'; nearest: torch.nn.Linear\n",
        ),
        (
            [OUTER, "--model.backbone.inner", "torch.nn.Linear"],
            "model.backbone.inner needs model.backbone.inner.in_features: give it with --model.backbone.inner.in_fea",
        ),
        ([NET, "--trainer.logger", "CSVLoger"], "trainer.logger: there is no 'CSVLoger'; nearest: CSVLogger, "),
        (["--config", "callbacks.yaml"], "trainer.callbacks: there is no 'EarlyStoping'; nearest: EarlyStopping\n"),
        ([NET, "--model.backbone", "needs_more.Net"], "needs_more.Net cannot be imported: a package is not installed"),
        ([NET, "--trainer.precision", "fp16"], "trainer.precision: 'fp16' is not one of 32-true, bf16-mixed"),
        ([NET, "--data.batch_size", "x"], "data.batch_size: 'x' is not of type int\n"),
        (
            ["--model.backbone", f"{__name__}.NET_MADE"],
            f"{__name__}.NET_MADE is a Linear object, which a config ca",
        ),
        (
            ["--model.backbone", f"{__name__}.NET_PARTIAL"],
            "NET_PARTIAL is a partial object, which a config ca",
        ),
        (
            [NET, "--model.loss", f"{__name__}.NET_MADE"],
            "NET_MADE is a Linear object, which a config ca",
        ),
        ([NET, "--model.loss", f"{__name__}.NoModule"], "NoModule is neither a torch.nn.Module nor a function of (l"),
        (
            [NET, "--model.optimizer", f"{__name__}.OwnNet"],
            f"model.optimizer: {__name__}.OwnNet is not a subclass of Opt",
        ),
        (
            ["--config", "timm.yaml"],
            "unknown option model.backbone.num_classes; write it under dict_kwargs, next to init_args\n",
        ),
    ],
)
def test_a_mistake_lists_the_options_of_the_chosen_class(
    words: list[str], message: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = "{model_name: resnet10t, num_classes: 10}"
    Path("timm.yaml").write_text(f"model: {{backbone: {{class_path: timm.create_model, init_args: {arguments}}}}}")
    Path("toplevel.yaml").write_text("model: {backbone: SimpleCNN}\ndataa: 1\n")
    Path("callbacks.yaml").write_text("model: {backbone: SimpleCNN}\ntrainer: {callbacks: [EarlyStoping]}\n")
    Path("needs_more.py").write_text("import a_package_that_is_missing\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert cifar_cnn.cli.run(["fit", *words], OnlyParses) == 2
    assert message in capsys.readouterr().err


class OwnClassifier(ImageClassifier):
    pass


def test_configs_are_not_compared_without_a_programs_own_class(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mix.py"])
    config = str(CONFIGS / "quickstart.yaml")
    assert cifar_cnn.cli.run(["compare", config, "--seeds", "1"], model=OwnClassifier) == 2
    error = capsys.readouterr().err
    assert f"compare would train {config} without the OwnClassifier of this program: train each" in error
    assert "python mix.py fit --config FILE" in error
    command_names.check_that_own_class_is_trained(["compare", config], ImageClassifier)
    command_names.check_that_own_class_is_trained(["compare", "lightning_logs/version_0"], OwnClassifier)
    with pytest.raises(InputError):
        command_names.check_that_own_class_is_trained(["compare", "lightning_logs/version_0", config], OwnClassifier)
