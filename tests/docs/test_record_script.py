import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import _record_script, speedrun
from benchmarks._measure import run
from benchmarks._record_script import adapted, run_script, script_names, store_images
from cifar_cnn.base.errors import InputError

# A script in the form of the record's own: the same names, and the same kinds of calls that need a GPU.
SCRIPT = """
import sys
with open(sys.argv[0]) as f:
    code = f.read()
import torch
from torch import nn

MEAN = torch.tensor(0.5, dtype=torch.half)

@torch.compile
def halved(x):
    return x.half() / 2

class Muon(torch.optim.SGD):
    pass

class CifarNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3072, 2)
        for mod in self.modules():
            mod.half()

    def forward(self, x):
        return self.head(x.flatten(1))

def evaluate(model, loader, tta_level=0):
    with torch.no_grad():
        return 0.5 + tta_level / 10 + (model(loader).argmax(1).sum() * 0).item()

def main(run, model):
    data = torch.load("cifar10/train.pt", map_location=torch.device("cuda"))
    images, labels = halved(data["images"].permute(0, 3, 1, 2)) - MEAN, data["labels"]
    total_train_steps = 6
    optimizer = Muon(model.parameters(), lr=1e-6)
    starter = torch.cuda.Event(enable_timing=True)
    ender = torch.cuda.Event(enable_timing=True)
    starter.record()
    for step in range(total_train_steps):
        nn.functional.cross_entropy(model(images), labels, reduction="sum").backward()
        optimizer.step()
        if step % 3 == 2:
            evaluate(model, images)
    ender.record()
    torch.cuda.synchronize()
    print(starter.elapsed_time(ender))
    return evaluate(model, images, tta_level=2)

if __name__ == "__main__":
    main("warmup", CifarNet().cuda())
"""


@pytest.fixture
def script(tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    store_images(image_folder, Path())
    monkeypatch.setattr(sys, "argv", [str(path)])
    return path


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_a_script_for_a_gpu_runs_on_a_cpu(script: Path, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_script(script, 0, precision)
    assert result["steps"] == 6
    assert 0 < result["seconds_per_step"] <= result["seconds"]
    assert (result["accuracy"], result["accuracy_without_tta"]) == (0.7, 0.5)
    assert float(capsys.readouterr().err) > 0  # milliseconds


def test_a_script_can_be_stopped_and_tells_its_number_of_steps(script: Path) -> None:
    assert run_script(script, 0, "32-true", steps=4).keys() == {"steps", "seconds_per_step"}
    assert run_script(script, 0, "32-true", steps=4)["steps"] == 6
    with pytest.raises(InputError, match="at least 2 are needed"):
        run_script(script, 0, "32-true", steps=1)


def test_float16_becomes_the_given_precision(script: Path) -> None:
    for precision, weights in (
        ("32-true", torch.float32),
        ("bf16-mixed", torch.float32),
        ("bf16-true", torch.bfloat16),
    ):
        names = script_names(script, precision)
        net = names["CifarNet"]()
        assert net.head.weight.dtype == names["MEAN"].dtype == weights
        logits = net(torch.ones(1, 3, 32, 32, dtype=weights))
        assert logits.dtype == weights
        exact = logits.equal(nn_linear(net, weights))
        assert exact is (precision != "bf16-mixed")  # products in bfloat16


def nn_linear(net: torch.nn.Module, dtype: torch.dtype) -> torch.Tensor:
    head = net.get_submodule("head")
    assert isinstance(head, torch.nn.Linear)
    return torch.nn.functional.linear(torch.ones(1, 3072, dtype=dtype), head.weight, head.bias)


def test_the_images_are_stored_as_the_scripts_do(script: Path) -> None:
    stored = torch.load("cifar10/train.pt")
    assert stored["images"].shape == (40, 32, 32, 3)
    assert stored["images"].dtype == torch.uint8
    assert stored["labels"].tolist() == [0] * 20 + [1] * 20
    assert stored["classes"] == ["blue thing", "röt"]


def test_other_scripts_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs a GPU even with all changes: torch\.cuda\.set_device"):
        adapted("x = 1\ntorch.cuda.set_device(0)\n")
    other = tmp_path / "other.py"
    with pytest.raises(InputError, match="cannot be read"):
        script_names(other, "32-true")
    other.write_text("class CifarNet: pass\n")
    with pytest.raises(InputError, match="it does not define Muon"):
        script_names(other, "32-true")


def test_the_side_needs_a_script(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["speedrun", "--root", str(image_folder), "--sides", "script"])
    with pytest.raises(SystemExit):
        run(speedrun.main)
    assert "the side script needs --script PATH" in capsys.readouterr().err


def test_the_process_prints_the_result(
    script: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    _record_script.main([str(script), str(image_folder), "0", "32-true", "0"])
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 6
    ours = {"seconds": 2.0, "steps": 4, "seconds_per_step": 0.5, "accuracy": 0.5}
    script_side = speedrun.summary({"command": [ours], "script": [result]})["script"]
    assert script_side["ratio"] == pytest.approx(2 / result["seconds"])
    assert script_side["accuracy_mean"] == 0.7
    assert script_side["accuracy_std"] is None
