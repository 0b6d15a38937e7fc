import json
import shutil
from pathlib import Path

import pytest
import torch

from cifar_cnn.analysis.report import write_report
from cifar_cnn.analysis.robustness.corruptions import CORRUPTIONS, corrupt
from cifar_cnn.analysis.robustness.measure import measure_corruptions
from cifar_cnn.analysis.robustness.warping import elastic, shifted, zoomed
from cifar_cnn.analysis.run import load_run
from cifar_cnn.analysis.temperature import calibration_scores, fit_temperature
from cifar_cnn.base.errors import InputError
from cifar_cnn.runs.run import RunFolder
from tests.conftest import RunCommand


def pictures(n: int = 4, side: int = 32) -> torch.Tensor:
    """Smooth images, uint8."""
    grid = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(grid, side, mode="bicubic").clamp(0, 1) * 255).byte()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_seeded_and_changes_more_at_severity_5(name: str) -> None:
    images = pictures()
    changes = []
    for severity in (3 if name == "saturate" else 1, 5):  # saturate removes color at severities 1 and 2
        changed = corrupt(images, name, severity, generator())
        assert changed.shape == images.shape
        assert changed.dtype == torch.uint8
        assert torch.equal(changed, corrupt(images, name, severity, generator()))
        changes.append((changed.float() - images.float()).abs().mean().item())
    assert min(changes) > 0
    assert changes[0] < changes[1] or name == "elastic_transform"  # its affine map is larger at severity 1
    assert corrupt(pictures(2, 24), name, 3, generator()).shape == (2, 3, 24, 24)


def test_the_strength_of_the_noises_is_that_of_cifar_10_c() -> None:
    gray = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    for name, sigma in (("gaussian_noise", 0.08), ("shot_noise", (128 / 255 / 100) ** 0.5)):
        assert (corrupt(gray, name, 3, generator()).float() / 255).std() == pytest.approx(sigma, rel=0.02)
    noisy = corrupt(gray, "impulse_noise", 3, generator())
    assert [(noisy == each).float().mean().item() for each in (0, 255)] == pytest.approx([0.015, 0.015], rel=0.1)


def test_brightness_contrast_and_saturation_by_hand() -> None:
    pixel = torch.tensor([102, 51, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)  # HSV: 0, 0.5, 0.4
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert corrupt(pixel, "brightness", 2, generator())[0, :, 0, 0].tolist() == [128, 64, 64]  # V 0.5
    assert corrupt(black, "brightness", 4, generator())[0, :, 0, 0].tolist() == [51, 51, 51]
    assert corrupt(pixel, "saturate", 4, generator())[0, :, 0, 0].tolist() == [102, 0, 0]  # S 1.1, cut at 1
    two = torch.cat([pixel, black], 3)
    assert corrupt(two, "contrast", 2, generator())[0, 0, 0, [0, -1]].tolist() == [76, 26]  # 102 and 0, moved toward 51


def test_whole_pixels_are_shifted_exactly_and_no_warp_changes_nothing() -> None:
    images = pictures().float()
    offset = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 0.0], [-1.0, 1.0]])
    moved = shifted(images, offset)
    torch.testing.assert_close(moved[0, :, :, 2:], images[0, :, :, :-2], atol=1e-2, rtol=0)
    torch.testing.assert_close(moved[1, :, 3:], images[1, :, :-3], atol=1e-2, rtol=0)
    torch.testing.assert_close(moved[3, :, 1:, :-1], images[3, :, :-1, 1:], atol=1e-2, rtol=0)
    torch.testing.assert_close(zoomed(images, 1.0), images, atol=1e-2, rtol=0)
    torch.testing.assert_close(elastic(images, 0.0, 0.0, 0.0, generator()), images, atol=1e-1, rtol=0)


def test_temperature_and_scores_by_hand() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(4000, 5)
    labels = torch.distributions.Categorical(logits=logits / 2.5).sample()
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(2.5, rel=0.05)
    before, after = calibration_scores(logits, labels), calibration_scores(logits / temperature, labels)
    assert after["nll"] < before["nll"]
    assert after["brier"] < before["brier"]
    assert after["ece"] < 0.03 < before["ece"]
    sure = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert calibration_scores(sure, torch.tensor([0, 1])) == pytest.approx({"nll": 0.693147, "brier": 0.5, "ece": 0.0})


def test_the_command_writes_what_run_reads_and_the_report_shows(trained_run: Path, run_command: RunCommand) -> None:
    shutil.copytree(trained_run, "run")
    finished = run_command("test", "--ckpt_path", "run", "--corruptions", "20", "--temperature", "--report", "false")
    assert finished.status == 0, finished.err
    assert "20 test images, without corruption" in finished.out
    assert "jpeg compression" in finished.out
    assert "fitted on 40 validation images; 50 test images" in finished.out
    run = load_run("run")
    found, calibrated = run.corruptions(20), run.calibration()
    assert found == json.loads(Path("run/corruptions.json").read_text())
    assert calibrated == json.loads(Path("run/calibration.json").read_text())
    assert Path("run/corruptions.png").is_file()
    assert set(found["accuracy"]) == set(CORRUPTIONS)
    again = measure_corruptions(run, run.images("test"), 20)
    assert again["accuracy"] == found["accuracy"]
    page = write_report(RunFolder("run")).read_text()
    assert "Common corruptions" in page
    assert f"Temperature {calibrated['temperature']:.3f}" in page
    with pytest.raises(InputError, match="the number of images must be 1 or more"):
        measure_corruptions(run, run.images("test"), 0)
    without = load_run("run")
    without.data_config["val_size"] = 0
    Path("run/calibration.json").unlink()
    with pytest.raises(InputError, match=r"has no validation images \(data.val_size is 0\)"):
        without.calibration()
