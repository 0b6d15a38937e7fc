import logging
from pathlib import Path

import pytest
import torch

from cifar_cnn.backbones import ResNet18, SimpleCNN
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.runs.checkpoints import read_checkpoint
from cifar_cnn.runs.init_from import load_initial_weights


def test_with_another_number_of_classes_all_weights_but_the_last_layer_are_loaded(
    trained_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = read_checkpoint(trained_run / "checkpoints/best.ckpt")["state_dict"]
    model = ImageClassifier(SimpleCNN(batch_norm=True, num_classes=3), num_classes=3, init_from=str(trained_run))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with caplog.at_level(logging.INFO, logger="cifar_cnn"):
        load_initial_weights(model)
    own = [name for name, value in before.items() if value.shape != weights[name].shape]
    assert len(own) == 2
    for name, value in model.state_dict().items():
        assert torch.equal(value, (before if name in own else weights)[name])
    (line,) = caplog.messages
    layer = own[0].removeprefix("backbone.")
    assert line.startswith(f"Initial weights: {len(before) - 2} of {len(before)} tensors from ")
    assert "version_0/checkpoints/best.ckpt; skipped: " in line
    assert f"skipped: {layer} (10x128 there, 3x128 here)" in line
    assert model.hparams["init_from"] == str(trained_run)
    torch.nn.init.zeros_(model.backbone.get_parameter(layer))
    load_initial_weights(model)  # only a first fit loads them
    assert not model.backbone.get_parameter(layer).any()


@pytest.mark.parametrize("name", ["missing", "best", "last.txt"])
def test_a_path_without_weights_is_one_line(name: str) -> None:
    Path("last.txt").write_text("text")
    with pytest.raises(InputError, match=r"^model.init_from: [^\n]+$"):
        load_initial_weights(ImageClassifier(SimpleCNN(), init_from=name))


def test_weights_of_another_network_are_rejected(trained_run: Path) -> None:
    with pytest.raises(InputError, match=r"no tensor of .*best.ckpt fits this ResNet18"):
        load_initial_weights(ImageClassifier(ResNet18(channels=(4, 4, 4, 4)), init_from=str(trained_run)))
