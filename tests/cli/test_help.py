import inspect
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn

import cifar_cnn.cli
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import command_names, help_texts
from cifar_cnn.cli.arguments import LAB_PARSERS, PARSERS, of_action
from cifar_cnn.data import CIFAR10
from cifar_cnn.hardware import best_precision
from tests.conftest import CONFIGS

Options = dict[str, str]
PAGES = [["--help"], *([command, "--help"] for command in command_names.ALL)]
WITH_OPTIONS = [*(each for each in PARSERS if each != "lab"), *(f"lab {action}" for action in LAB_PARSERS)]
PAGES += [["lab", action, "--help"] for action in LAB_PARSERS]


class OnlyParser(cifar_cnn.cli.CLI):
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass


@pytest.fixture(scope="module")
def parsers() -> dict[str, LightningArgumentParser]:
    backbone = ["--model.backbone", "SimpleCNN"]
    return {each: OnlyParser(each, backbone, ImageClassifier, None).parser for each in command_names.TRAINING}


def page(*args: str) -> str:
    text = help_texts.wanted(list(args))
    assert text is not None
    return text


def explained(text: str) -> Options:
    """The options that a page explains, and their descriptions."""
    found = re.findall(r"^  (--[\w.]+) \w+ +(.*(?:\n {20,}.*)*)", text, re.MULTILINE)
    return {name.removeprefix("--"): " ".join(said.split()) for name, said in found}


@pytest.mark.parametrize("args", PAGES, ids=" ".join)
def test_pages_fit_a_wide_terminal_and_their_examples_exist(args: list[str]) -> None:
    text = page(*args)
    assert max(map(len, text.splitlines())) <= 120
    examples = [shlex.split(line.split("   ")[0]) for line in re.findall(r"^  (cifar-cnn .*)", text, re.MULTILINE)]
    assert len(examples) >= 2
    for _, command, *words in examples:
        assert command in command_names.ALL
        assert len(args) == 1 or [command, *words[: len(args) - 2]] == args[:-1]
        for word in words:
            if word.startswith("configs/"):
                assert list(CONFIGS.glob(word.removeprefix("configs/"))), word
        if command in PARSERS:
            options = [word for word in words if word.startswith("--") and "." not in word]
            assert set(options) <= set(of_action(command, words)[0]._option_string_actions)
    if args[0] == "fit":
        assert {word for example in examples for word in example if word.startswith("--")} <= {
            f"--{option}" for option in explained(text)
        }


@pytest.mark.filterwarnings("ignore:Attribute 'backbone' is an instance")
@pytest.mark.parametrize("command", command_names.TRAINING)
def test_every_option_and_default_is_correct(command: str, parsers: dict[str, LightningArgumentParser]) -> None:
    parser = parsers[command]
    options = explained(page(command, "--help"))
    assert len(options) >= 7
    # Options that belong to a class or get their default when the class is created.
    made = ImageClassifier(nn.Identity())
    defaults: dict[str, Any] = {
        "config": None,
        "ckpt_path": "none" if command == "fit" else "best",
        "data.source.root": inspect.signature(CIFAR10).parameters["root"].default,
        "model.optimizer.lr": parser.get_default("model.optimizer")["init_args"]["lr"],
        "model.loss": f"torch.nn.{type(made.loss).__name__}",
        "trainer.precision": best_precision(),
    }
    for option, said in options.items():
        default = defaults[option] if option in defaults else parser.get_default(option)  # KeyError: no such option
        if hasattr(default, "get"):  # a dict or a jsonargparse Namespace
            default = default["class_path"]
        stated = re.search(r"\(default: ([^)]*)\)", said)
        if stated is None:
            assert default is None, option
        elif stated[1] == "as trained":
            assert command != "fit"
            assert option.split(".")[0] in ("data", "model", "trainer")
        elif option == "trainer.precision":
            assert default in stated[1]
        elif option == "data.source":
            assert default.rpartition(".")[2] == stated[1]
        else:
            plain = {"None": "none", "True": "true", "False": "false"}.get(str(default), str(default))
            assert stated[1] == plain, option


def test_names_of_classes_are_known(parsers: dict[str, LightningArgumentParser]) -> None:
    said = explained(page("fit", "--help"))
    for option, names in {
        "data.source": ["CIFAR10", "ImageFolder", "Shapes"],
        "model.backbone": ["SimpleCNN", "ResNet18", "SpeedrunNet"],
        "model.schedule": ["WarmupCosine", "PiecewiseLinear"],
    }.items():
        for name in names:
            assert name in said[option]
            arguments = ["--model.backbone", "SimpleCNN", f"--{option}", name]
            arguments += ["--data.source.root", "."] if name == "ImageFolder" else []
            assert parsers["fit"].parse_args(arguments)[option].class_path.endswith(f".{name}")


def test_help_does_not_import_torch() -> None:
    code = "import sys; from cifar_cnn.cli import help_texts\n"
    code += "".join(f"assert help_texts.wanted({args})\n" for args in PAGES)
    code += "assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CONFIGS.parent)


def test_all_options_are_listed_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    assert help_texts.wanted(["fit", "--help", "all"]) is None
    with pytest.raises(SystemExit) as end:
        cifar_cnn.cli.run(["fit", "--help", "all"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in explained(page("fit", "--help")):
        listed = re.search(rf"--{re.escape(option)}[ ,]", text)
        assert listed or "." in option.partition(".")[2]  # listed in the help of the class
    assert "--last_checkpoint.every_n_minutes" in text
    assert len(text.splitlines()) < 700


def test_no_help_is_printed_unless_requested() -> None:
    for args in (
        [],
        ["fit"],
        ["fit", "--config", "x.yaml"],
        ["fit", "--model.backbone.help", "ResNet18"],
        ["fti", "-h"],
    ):
        assert help_texts.wanted(args) is None


@pytest.mark.parametrize("command", WITH_OPTIONS)
def test_a_mistake_is_one_line_that_names_the_nearest_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()
    parser, _ = of_action(words[0], words[1:])
    option = next(name for name in reversed(parser._option_string_actions) if name.startswith("--"))
    assert cifar_cnn.cli.run([*words, "x", option[:-1]]) == 2
    assert capsys.readouterr().err == f"cifar-cnn: error: unknown option {option[:-1]}; nearest: {option}\n"


def test_an_additional_run_is_not_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cifar_cnn.cli.run(["report", "a", "b"]) == 2
    said = "unexpected argument 'b'; `cifar-cnn report --help` lists the arguments"
    assert capsys.readouterr().err == f"cifar-cnn: error: {said}\n"
