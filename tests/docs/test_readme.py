import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import cifar_cnn.cli
from cifar_cnn.cli.command_names import ANALYSES
from tests.conftest import CONFIGS, NARROW, SMALL

ROOT = CONFIGS.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(name: str) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == name]


def test_every_command_of_the_readme_works(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(CONFIGS, "configs")
    few = ["--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    plain = [*few[-2:], "--report", "false"]  # `cifar-cnn report` writes one
    folder = [*few, *NARROW, *plain, "--model.backbone.num_classes", "2", "--data.val_size", "10"]
    ran = commands("cifar-cnn")
    assert len(ran) >= 12
    for command in ran:
        words = [word.replace("DIR", str(image_folder)) for word in command]
        # The options that shorten the command come first, so that those in the README take precedence.
        short = {"fit": folder if "ImageFolder" in words else [*SMALL, *few]}.get(words[0], plain)
        short = [] if words[0] in ANALYSES else short
        if "--ckpt_path" in words and words[0] == "fit":
            short = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "1", *plain]
        at = words.index("--config") + 2 if "--config" in words else len(words)
        if "--data.source" in words:
            short = [word for word in short if word != "Shapes"] if "ImageFolder" in words else few
        arguments = [*words[:at], *short, *words[at:]]
        monkeypatch.setattr(sys, "argv", ["cifar-cnn", *arguments])
        status = cifar_cnn.cli.run(arguments)
        assert status == 0, (command, capsys.readouterr().err)
    assert Path("classes.csv").is_file()


def test_every_target_and_config_that_the_readme_names_exists() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands("make"):
        assert words[0] in targets
    for name in re.findall(r"configs/([\w.]+\.yaml)", README):
        assert (CONFIGS / name).is_file()
    named = set(re.findall(r"^\| (?:[1-7].*?\| )?`(\w+)`", README, re.MULTILINE))
    assert named | {"quickstart"} == {path.stem for path in CONFIGS.glob("*.yaml")}


def head_of(config: str) -> str:
    """The comment at the top of a config."""
    return (CONFIGS / f"{config}.yaml").read_text(encoding="utf-8").partition("\ndata:")[0]


def test_the_heads_of_the_labs_configs_and_its_page_repeat_the_readmes_table() -> None:
    page = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [1-7].*?\| `(\w+)` \| ([\d,]+) \| (.*?) \| (\d+ s) \|", README, re.MULTILINE)
    assert len(rows) == 7
    for name, parameters, accuracy, seconds in rows:
        head = head_of(name)
        assert f"seeds 0 to 2: {accuracy} on 6,000 held-out images" in head
        assert f"in float32: {seconds} (" in head
        assert accuracy in page
        assert parameters in page or name == "resnet18_lab"


def test_the_heads_of_the_measured_recipes_repeat_the_readmes_table() -> None:
    rows = re.findall(r"^\| `(\w+)`[:,] [^|]*\| \d+ \|([^|]*)\|([^|]*)\|([^|]*)\|", README, re.MULTILINE)
    measured = [row for row in rows if "not measured" not in row[1]]
    assert {name for name, *_ in measured} == {"speedrun", "speedrun96", "resnet18", "resnet18_fast"}
    assert "6,000 held-out images" in README
    for name, *figures in measured:
        head = " ".join(head_of(name).split("\n# "))
        for figure in ("6,000 held-out images", *filter(None, map(str.strip, figures))):
            assert figure in head
