import inspect
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import cifar_cnn
from cifar_cnn import ImageClassifier, SimpleCNN, summary
from cifar_cnn.analysis.network.costs import macs_of


def test_the_package_imports_no_library_until_a_name_is_used() -> None:
    code = "import sys, cifar_cnn; print(sorted({'torch', 'lightning', 'numpy', 'matplotlib'} & set(sys.modules)))"
    start = time.process_time()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
    assert time.process_time() - start < 1


@pytest.mark.parametrize("name", cifar_cnn.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    assert name in dir(cifar_cnn)
    value = getattr(cifar_cnn, name)
    assert value.__name__.removeprefix("cifar_cnn.") == name
    assert len(inspect.getdoc(value) or "") > 40


def test_other_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SimpleCnn'"):
        _ = cifar_cnn.SimpleCnn
    assert pkgutil.get_data("cifar_cnn", "py.typed") == b""


def test_a_summary_has_each_layer_and_the_totals() -> None:
    network = SimpleCNN(batch_norm=True)
    found = summary(ImageClassifier(network), (3, 32, 32))
    assert (found.parameters, found.macs) == (315_818, macs_of(network, (3, 32, 32)))
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds", "receptive", "field"]
    (first,) = [line for line in lines if line.startswith("features.0 ")]
    assert first.split() == ["features.0", "Conv2d", "32", "x", "30", "x", "30", "864", f"{30 * 30 * 32 * 27:,}", "3"]
    assert lines[-1] == f"315,818 parameters, {found.macs:,} multiply-adds per image of 3 x 32 x 32"
    page = found._repr_html_()
    assert page.count("<tr>") == len(found.layers) + 1
    assert "315,818 parameters" in page


def test_a_long_summary_can_be_shortened() -> None:
    network = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(9)), nn.Flatten(), nn.Linear(12, 10))
    found = summary(network, (3, 2, 2))
    lines = found.short(layers=5).splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == ["0", "1", "2", "(6", "9", "10"]
    assert lines[5] == "(6 layers left out)"
    assert lines[-1] == str(found).splitlines()[-1]
    assert found.short(layers=11) == found.short(layers=10) == str(found)


def test_a_summary_accepts_other_sizes_and_does_not_change_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 6 * 6, 10))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = summary(network, (1, 8, 8))
    assert found.macs == 6 * 6 * 2 * 9 + 72 * 10
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_current_folder_is_not_searched(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')")
    code = "import cifar_cnn; print(cifar_cnn.__version__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == f"{cifar_cnn.__version__}\n"
