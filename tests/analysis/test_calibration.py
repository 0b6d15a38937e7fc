import pytest
import torch
from matplotlib.patches import Rectangle

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.report.calibration import calibration
from cifar_cnn.base.probability_scores import mean_bins, sums_of_bins
from cifar_cnn.runs.predictions import Predictions


def test_confidence_1_belongs_to_the_last_bin() -> None:
    # 50 correct predictions with confidence 0.95 and 50 wrong ones with confidence 1: mean 0.975, accuracy 0.5.
    logits = torch.tensor([[2.9444, 0.0]] * 50 + [[0.0, 200.0]] * 50)
    found = calibration(Predictions(logits, torch.zeros(100, dtype=torch.long)))
    assert found["bins"] == 15
    assert found["ece"] == pytest.approx(0.475, abs=1e-5)
    assert found["confidence"] == pytest.approx(0.975, abs=1e-5)


def test_the_figure_shows_the_bins_of_the_error() -> None:
    confidence, correct = torch.tensor([0.05, 0.15, 0.19, 1.0]), torch.tensor([False, True, False, True])
    bins = mean_bins(sums_of_bins(confidence, correct, 10))
    assert bins.counts.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert bins.error.item() == pytest.approx((1 * 0.05 + 2 * abs(0.5 - 0.17) + 0) / 4)
    bars = [patch for patch in charts.reliability(bins).axes[0].patches if isinstance(patch, Rectangle)]
    assert [bar.get_height() for bar in bars] == [0, 0.5, 1]
    assert [bar.get_x() for bar in bars] == pytest.approx([0, 0.1, 0.9])
