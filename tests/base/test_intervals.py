import numpy as np
import pytest
from scipy import stats

from cifar_cnn.base.intervals import wilson_interval


@pytest.mark.parametrize(("right", "n"), [(0, 5), (80, 80), (7703, 10_000), (1, 2)])
def test_an_accuracy_has_wilsons_interval(right: int, n: int) -> None:
    expected = stats.binomtest(right, n).proportion_ci(0.95, "wilson")
    assert wilson_interval(right, n) == pytest.approx((expected.low, expected.high))
    z, share = stats.norm.ppf(0.975), right / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    by_hand = max(center - reach, 0.0), min(center + reach, 1.0)
    assert wilson_interval(right, n) == pytest.approx(by_hand, rel=0, abs=1e-12)
