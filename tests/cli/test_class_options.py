import shlex
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from jsonargparse import Namespace
from torch import Tensor, nn

import cifar_cnn.cli
from cifar_cnn.cli import config_values
from cifar_cnn.cli.class_options import classes_first
from cifar_cnn.runs.checkpoints import load_trained
from tests.conftest import CONFIGS, SMALL

Capture = pytest.CaptureFixture[str]
SMOOTH = ("torch.nn.functional.cross_entropy",)
QUICK = f"--config {CONFIGS / 'quickstart.yaml'}"


class Parsed(Exception):
    pass


class OnceMadeParsers(cifar_cnn.cli.CLI):
    """Reuses its first parser, since creating one takes longer than using it."""

    made: ClassVar[dict[str, Any]] = {}

    def setup_parser(self, *args: Any) -> None:
        if self.command not in self.made:
            super().setup_parser(*args)
            self.made[self.command] = self.parser
        self.parser = self.made[self.command]


class OnlyParses(OnceMadeParsers):
    def before_instantiate_classes(self) -> None:
        raise Parsed(self.config.as_dict())


def parsed(line: str, option: str) -> Any:
    """The class name and the arguments that a command line gives to an option."""
    with pytest.raises(Parsed) as raised:
        cifar_cnn.cli.run(shlex.split(f"fit {line}"), OnlyParses)
    value = raised.value.args[0]
    for part in option.split("."):
        value = value[part]
    return value


def arguments(line: str, option: str, *names: str) -> tuple[Any, ...]:
    spec = parsed(line, option)
    return (spec["class_path"].rpartition(".")[2], *(spec["init_args"].get(name) for name in names))


class Inner(nn.Module):
    def __init__(self, width: int = 1, only_here: int = 2) -> None:
        super().__init__()


class OtherInner(nn.Module):
    def __init__(self, width: int = 5) -> None:
        super().__init__()


class Outer(nn.Module):
    def __init__(self, inner: nn.Module, width: int = 3, **kwargs: Any) -> None:
        super().__init__()


class OtherOuter(Outer):
    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        super().__init__(nn.Identity())


@pytest.fixture(autouse=True)
def configs() -> None:
    here = __name__
    nested = {"class_path": f"{here}.Inner", "init_args": {"width": 7, "only_here": 8}}
    outer = {"class_path": f"{here}.Outer", "init_args": {"inner": nested, "width": 9}, "dict_kwargs": {"extra": 1}}
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 7, "verbose": True}}
    for name, content in {
        "adamw": {"model": {"optimizer": "torch.optim.AdamW"}},
        "adamw_decay": {
            "model": {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"weight_decay": 0.05}}}
        },
        "sgd": {"model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.3}}}},
        "nested": {"model": {"backbone": outer}},
        "other_inner": {
            "model": {"backbone": {"class_path": f"{here}.Outer", "init_args": {"inner": f"{here}.OtherInner"}}}
        },
        "smooth": {"model": {"loss": {"class_path": SMOOTH[0], "init_args": {"label_smoothing": 0.2}}}},
        "stopping": {"trainer": {"callbacks": [stopping]}},
        "kept": {"trainer": {"callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/loss"}}]}},
    }.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--model.optimizer torch.optim.AdamW", ("AdamW", 1e-3, 0.01, None)),
        ("--model.optimizer=AdamW", ("AdamW", 1e-3, 0.01, None)),
        ("--model.optimizer cifar_cnn.optim.Muon", ("Muon", 0.24, 0.0, 0.6)),
        ("--config adamw.yaml", ("AdamW", 1e-3, 0.01, None)),
        ("--config adamw.yaml --model.optimizer.lr 0.5", ("AdamW", 0.5, 0.01, None)),
        ("--config adamw_decay.yaml", ("AdamW", 1e-3, 0.05, None)),
        ("--config adamw_decay.yaml --model.optimizer AdamW", ("AdamW", 1e-3, 0.01, None)),
        ("--model.optimizer AdamW --model.optimizer.lr 0.5", ("AdamW", 0.5, 0.01, None)),
        ("--model.optimizer.lr 0.5 --model.optimizer AdamW", ("AdamW", 0.5, 0.01, None)),
        ("--model.optimizer AdamW --model.optimizer.lr 0.5 --model.optimizer SGD", ("SGD", 1e-3, 0.0, 0.0)),
        ("--model.optimizer SGD", ("SGD", 1e-3, 0.0, 0.0)),  # the same class
        ("--model.optimizer torch.optim.sgd.SGD", ("SGD", 1e-3, 0.0, 0.0)),
        ("--model.optimizer SGD --model.optimizer.lr 0.5", ("SGD", 0.5, 0.0, 0.0)),
        ("--model.optimizer.lr 0.5", ("SGD", 0.5, 5e-4, 0.9)),
        ("--config sgd.yaml", ("SGD", 0.3, 5e-4, 0.9)),  # the same class with some arguments changes only these
    ],
)
def test_a_new_optimizer_has_its_own_defaults(line: str, expected: tuple[Any, ...]) -> None:
    assert arguments(f"{QUICK} {line}", "model.optimizer", "lr", "weight_decay", "momentum") == expected


def test_the_default_optimizers_arguments_apply_only_to_it() -> None:
    backbone = "--model.backbone SimpleCNN"
    assert arguments(f"{backbone} --model.optimizer AdamW", "model.optimizer", "lr", "weight_decay") == (
        *("AdamW", 1e-3),
        0.01,
    )
    assert arguments(f"{backbone} --model.optimizer SGD", "model.optimizer", "lr", "momentum") == ("SGD", 1e-3, 0.0)


@pytest.mark.parametrize(
    ("option", "line", "expected"),
    [
        ("model.schedule", "--model.schedule WarmupCosine --model.schedule.warmup 0.4", {"warmup": 0.4}),
        ("data.source", "--data.source Shapes --data.source.image_size 48 --data.source CIFAR10", {"root": "data"}),
        (
            "data.source",
            "--data.source Shapes --data.source.image_size 48 --data.source ImageFolder --data.source.root x",
            {"root": "x", "image_size": 32},
        ),
        ("model.backbone", "--model.backbone.num_classes 7 --config nested.yaml", {"width": 9}),
        ("model.backbone", f"--config nested.yaml --model.backbone {__name__}.OtherOuter", {"width": 4}),
        (
            "model.loss",
            "--model.loss torch.nn.CrossEntropyLoss --model.loss.label_smoothing 0.1 --model.loss "
            "cifar_cnn.losses.CrossEntropyLoss",
            {"label_smoothing": 0.0},
        ),
    ],
)
def test_every_other_new_class_has_its_own_defaults(option: str, line: str, expected: dict[str, Any]) -> None:
    found = parsed(f"{QUICK} {line}", option)["init_args"]
    assert {name: found[name] for name in expected} == expected


def test_nested_classes_have_their_own_defaults() -> None:
    before = parsed(f"{QUICK} --config nested.yaml", "model.backbone")
    assert before["dict_kwargs"] == {"extra": 1}
    assert before["init_args"]["inner"]["init_args"] == {"width": 7, "only_here": 8}
    for line in ("--config other_inner.yaml", f"--model.backbone.inner {__name__}.OtherInner"):
        after = parsed(f"{QUICK} --config nested.yaml {line}", "model.backbone")
        assert after["init_args"]["width"] == 9
        assert after["init_args"]["inner"]["init_args"] == {"width": 5}
        assert after["dict_kwargs"] == {"extra": 1}
    other = parsed(f"{QUICK} --config nested.yaml --model.backbone {__name__}.OtherOuter", "model.backbone")
    assert not other.get("dict_kwargs")


def test_a_callback_that_replaces_another_has_its_own_defaults() -> None:
    (kept,) = parsed(f"{QUICK} --config stopping.yaml --config kept.yaml", "trainer.callbacks")
    assert kept["class_path"].endswith("ModelCheckpoint")
    assert (kept["init_args"]["verbose"], kept["init_args"]["monitor"]) == (False, "val/loss")


def test_print_config_shows_the_trained_config(capsys: Capture) -> None:
    line = f"{QUICK} --model.optimizer AdamW --model.schedule WarmupCosine"
    with pytest.raises(SystemExit):
        cifar_cnn.cli.run(shlex.split(f"fit {line} --print_config"))
    Path("printed.yaml").write_text(capsys.readouterr().out)
    for option in ("model", "data"):
        assert parsed("--config printed.yaml", option) == parsed(line, option)


def cross_entropy(prediction: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    return nn.functional.cross_entropy(prediction / temperature, target)


def make_loss() -> nn.Module:
    return nn.CrossEntropyLoss()


smooth = partial(nn.functional.cross_entropy, label_smoothing=0.1)


@pytest.mark.parametrize(
    ("line", "function", "options"),
    [
        (f"--model.loss {__name__}.cross_entropy", f"{__name__}.cross_entropy", {}),
        (f"--model.loss {__name__}.smooth", f"{__name__}.smooth", {}),
        ("--model.loss torch.nn.functional.cross_entropy", "torch.nn.functional.cross_entropy", {}),
        ("--config smooth.yaml", "torch.nn.functional.cross_entropy", {"label_smoothing": 0.2}),
        ("--config smooth.yaml --model.loss.ignore_index=7", *SMOOTH, {"label_smoothing": 0.2, "ignore_index": 7}),
        (f"--config smooth.yaml --model.loss {__name__}.cross_entropy", f"{__name__}.cross_entropy", {}),
        (
            f"--model.loss {__name__}.cross_entropy --model.loss.temperature 2",
            f"{__name__}.cross_entropy",
            {"temperature": 2},
        ),
    ],
)
def test_a_function_is_a_loss(line: str, function: str, options: dict[str, Any]) -> None:
    spec = parsed(f"{QUICK} {line}", "model.loss")
    assert spec == {
        "class_path": "cifar_cnn.parts.losses.FunctionLoss",
        "init_args": {"function": function, "options": options},
    }


def test_modules_and_functions_that_return_a_module_are_losses() -> None:
    assert parsed(f"{QUICK} --model.loss {__name__}.make_loss", "model.loss")["class_path"] == f"{__name__}.make_loss"
    module = parsed(f"{QUICK} --config smooth.yaml --model.loss torch.nn.CrossEntropyLoss", "model.loss")
    assert module["init_args"]["label_smoothing"] == 0


def test_a_run_with_a_function_as_its_loss_is_resumed_tested_and_read(capsys: Capture) -> None:
    few = [*SMALL, "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1", "--model.schedule", "null"]
    loss = [f"--model.loss={__name__}.cross_entropy", "--model.loss.temperature", "2"]
    assert cifar_cnn.cli.run(["fit", *QUICK.split(), *few, *loss]) == 0
    assert cifar_cnn.cli.run(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0, capsys.readouterr().err
    run = Path("lightning_logs/version_0")
    saved = yaml.safe_load((run / "config.yaml").read_text())["model"]["loss"]
    assert saved["init_args"] == {"function": f"{__name__}.cross_entropy", "options": {"temperature": 2}}
    read = load_trained(run / "checkpoints" / "last.ckpt").classifier.loss
    torch.testing.assert_close(
        read(torch.eye(3), torch.arange(3)), nn.functional.cross_entropy(torch.eye(3) / 2, torch.arange(3))
    )


def create(width: int = 1, **kwargs: Any) -> nn.Module:
    return nn.Linear(width, 1, **kwargs["layer"])


def test_arguments_that_a_function_passes_on_are_options() -> None:
    line = f"{QUICK} --model.backbone {__name__}.create --model.backbone.width 3 --model.backbone.num_classes 10"
    found = parsed(f"{line} --model.backbone.extra=a", "model.backbone")
    assert found["init_args"] == {"width": 3}
    assert found["dict_kwargs"] == {"num_classes": 10, "extra": "a"}


def test_only_options_before_the_first_naming_of_a_class_move() -> None:
    for line, expected in (
        ("fit --a.b 1 --c d --a X", "fit --c d --a X --a.b 1"),
        ("fit --a.b 1 --a=X --a.c -2", "fit --a=X --a.b 1 --a.c -2"),
        ("fit --a X --a.b 1 --a Y", "fit --a X --a.b 1 --a Y"),
        ("fit --a.b 1 -c x.yaml --a.c 2", "fit --a.b 1 -c x.yaml --a.c 2"),
        ("fit --a.b 1 --a '{\"c\": 2}' x", "fit --a.b 1 --a '{\"c\": 2}' x"),
        ("fit --a.b.c 1 --a.b Y --a X", "fit --a X --a.b Y --a.b.c 1"),
    ):
        assert classes_first(shlex.split(line)) == shlex.split(expected), line


@pytest.mark.parametrize(
    ("strategy", "used"),
    [("ddp_spawn", "ddp"), ("ddp_fork_find_unused_parameters_true", "ddp_find_unused_parameters_true"), ("ddp", "ddp")],
)
def test_processes_that_return_no_results_are_replaced(
    strategy: str, used: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = Namespace(ckpt_path=None, seed_everything=0, data=Namespace(source=Namespace()))
    config.trainer = Namespace(strategy=strategy, precision="32-true", plugins=None, accelerator="cpu", logger=None)
    config_values.complete(config, [], None)
    assert config.trainer.strategy == used
    assert len(caplog.messages) == (strategy != used)
