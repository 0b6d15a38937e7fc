from pathlib import Path

import pytest
from PIL import Image

import cifar_cnn.cli
from tests.conftest import CONFIGS

SHAPES = ["--data.source", "Shapes", "--data.source.train_size", "60", "--data.source.test_size", "20"]
SMALL_DATA = [*SHAPES, "--data.val_size", "10"]


def show(*arguments: str) -> int:
    return cifar_cnn.cli.run(["show", *arguments])


def test_images_of_a_config_are_drawn_as_in_training(capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(CONFIGS / "resnet18.yaml"), *SMALL_DATA, "-n", "8"]
    assert show(*config, "--output", "plain.png") == 0
    assert show(*config, "--output", "new/augmented.png", "--augmented") == 0
    assert capsys.readouterr().out == "Images: plain.png\nImages: new/augmented.png\n"
    plain, augmented = (Image.open(path) for path in ("plain.png", "new/augmented.png"))
    assert plain.size == augmented.size
    assert plain.tobytes() != augmented.tobytes()


def test_images_of_a_run_are_those_of_its_own_split(trained_run: Path) -> None:
    assert show(str(trained_run), "--split", "val", "-n", "8", "--output", "val.png") == 0
    assert show(str(trained_run), "--split", "test", "-n", "8", "--output", "test.png") == 0
    assert Path("val.png").read_bytes() != Path("test.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*SMALL_DATA], "no window can be opened here: write a file with --output images.png"),
        ([*SMALL_DATA, "--output", "a.jpg"], "--output must end with .png, not a.jpg"),
        ([*SMALL_DATA, "-n", "0"], "-n must be 1 or more"),
        (["--config", "nope.yaml"], "no config file nope.yaml; `cifar-cnn configs` lists the configs"),
        (["--data.sorce", "Shapes"], "unknown option --data.sorce; nearest: --data.source"),
        (
            ["--data.source.root", "nowhere"],
            "no CIFAR-10 in nowhere: set root, or train first (--data.source.root)",
        ),
        (["--trainer.max_epochs", "3"], "unknown option --trainer.max_epochs: show accepts --config and data"),
        (["lightning_logs", *SMALL_DATA], "give either a run or --config and data options, not both"),
        ([*SHAPES, "--data.val_size", "99"], "val_size must be from 0 to 59 for 60 training images; it is 99"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(*arguments) == 2
    assert f"cifar-cnn: error: {message}" in capsys.readouterr().err
