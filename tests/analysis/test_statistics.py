import numpy as np
import pytest
from scipy import stats

from cifar_cnn.analysis.statistics import (
    bootstrap_interval,
    difference,
    equivalence,
    holm,
    mcnemar,
    seeds_interval,
    seeds_p,
)


def test_paired_and_welch_intervals_equal_scipys() -> None:
    a, b = np.array([0.70, 0.72, 0.69, 0.75]), np.array([0.74, 0.73, 0.73, 0.80])
    for paired, test in ((True, stats.ttest_rel(b, a)), (False, stats.ttest_ind(b, a, equal_var=False))):
        interval = test.confidence_interval(0.95)
        assert seeds_interval(a, b, paired) == pytest.approx((interval.low, interval.high))
    unequal = stats.ttest_ind(b[:3], a, equal_var=False).confidence_interval(0.95)
    assert seeds_interval(a, b[:3], paired=False) == pytest.approx((unequal.low, unequal.high))


def test_one_run_has_no_interval_and_equal_runs_have_one_of_width_0() -> None:
    assert seeds_interval(np.array([0.7]), np.array([0.8]), paired=True) is None
    assert seeds_interval(np.full(3, 0.5), np.full(3, 0.75), paired=True) == (0.25, 0.25)
    assert seeds_interval(np.full(3, 0.5), np.full(3, 0.75), paired=False) == (0.25, 0.25)


def students_interval(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, float]:
    """The textbook formulas, written out."""
    if paired:
        error, freedom = (b - a).std(ddof=1) / np.sqrt(len(a)), len(a) - 1.0
    else:
        variances = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
        error = np.sqrt(variances.sum())
        freedom = variances.sum() ** 2 / (variances**2 / [len(a) - 1, len(b) - 1]).sum()
    reach = stats.t.ppf(0.975, freedom) * error
    return b.mean() - a.mean() - reach, b.mean() - a.mean() + reach


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_equal_the_textbook_formulas(paired: bool) -> None:
    rng = np.random.default_rng(0)
    for n in range(2, 8):
        a, b = rng.random(n), rng.random(n if paired else 9 - n)
        assert seeds_interval(a, b, paired) == pytest.approx(students_interval(a, b, paired), rel=0, abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_nearly_equal_accuracies_print_no_warning() -> None:
    low, high = seeds_interval(np.full(3, 0.7), np.array([0.1, 0.1, 0.1 + 1e-16]), paired=False) or (0, 0)
    assert (low, high) == pytest.approx((-0.6, -0.6))


@pytest.mark.parametrize("paired", [True, False])
def test_p_values_belong_to_the_intervals(paired: bool) -> None:
    rng = np.random.default_rng(0)
    found = set()
    for n in range(2, 30):
        a, b = 0.7 + 0.01 * rng.random((2, n))
        low, high = seeds_interval(a, b, paired) or (0.0, 0.0)
        p = seeds_p(a, b, paired)
        assert p is not None
        assert (p < 0.05) == (not low <= 0 <= high)
        # Two one-sided tests at 5 % reject where the 90 % interval lies within the margin.
        test = stats.ttest_rel(b, a) if paired else stats.ttest_ind(b, a, equal_var=False)
        interval = test.confidence_interval(0.9)
        for margin in (0.002, 0.005):
            p = equivalence(a, b, paired, margin)
            assert p is not None
            assert (p < 0.05) == (-margin < interval.low and interval.high < margin)
            found.add(p < 0.05)
    assert found == {True, False}


def test_p_values_of_runs_that_do_not_vary() -> None:
    half, more = np.full(3, 0.5), np.full(3, 0.75)
    assert (seeds_p(half, more, True), seeds_p(half, half, False)) == (0.0, 1.0)
    assert [equivalence(half, more, True, margin) for margin in (0.2, 0.25, 0.3)] == [1.0, 1.0, 0.0]
    assert seeds_p(half[:1], more[:1], True) is None
    assert equivalence(half[:1], more[:1], True, 0.1) is None


def test_holm_by_hand() -> None:
    # The smallest is multiplied by 4, the next by 3, ...; none is smaller than the one before, and none exceeds 1.
    assert holm([0.04, 0.01, 0.6, 0.02]) == pytest.approx([0.08, 0.04, 0.6, 0.06])
    assert holm([0.01, 0.012, 0.7, 0.9]) == pytest.approx([0.04, 0.04, 1.0, 1.0])
    assert holm([]) == []


def test_bootstrap_equals_resampling_the_images() -> None:
    rng = np.random.default_rng(1)
    values = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], 400, p=[0.05, 0.1, 0.6, 0.15, 0.1])
    plain = [values[rng.integers(0, 400, 400)].mean() for _ in range(4000)]
    assert bootstrap_interval(values) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.005)
    assert bootstrap_interval(np.zeros(10)) == (0.0, 0.0)


def test_mcnemar_by_hand() -> None:
    # Only A classifies 5 images correctly, only B 1 image: 2 * (C(6, 0) + C(6, 1)) / 2 ** 6.
    a = np.array([True] * 5 + [False] + [True] * 20 + [False] * 4)
    b = np.array([False] * 5 + [True] + [True] * 20 + [False] * 4)
    assert mcnemar(a, b) == pytest.approx(2 * 7 / 64)
    assert mcnemar(b, a) == mcnemar(a, b)
    assert mcnemar(a, a) == 1.0


def test_only_shared_seeds_are_compared_if_there_are_two() -> None:
    a, b = {0: 0.5, 1: 0.6, 2: 0.9}, {0: 0.6, 1: 0.6}
    result = difference(a, b)
    assert result.paired
    assert result.mean == pytest.approx(0.05)
    assert (result.images_interval, result.mcnemar_p) == (None, None)
    apart = difference({0: 0.5, 1: 0.7}, {1: 0.7, 2: 0.9})
    assert not apart.paired
    assert apart.mean == pytest.approx(0.2)


def test_the_bootstrap_averages_over_seeds() -> None:
    rng = np.random.default_rng(0)
    a_correct = {seed: rng.random(500) < 0.6 for seed in (0, 1)}
    b_correct = {seed: rng.random(500) < 0.8 for seed in (0, 1)}
    a, b = ({seed: right.mean() for seed, right in each.items()} for each in (a_correct, b_correct))
    result = difference(a, b, a_correct, b_correct)
    assert result.images_interval is not None
    low, high = result.images_interval
    assert low < result.mean < high
    # The mean of 500 independent differences, each of variance (0.24 + 0.16) / 2.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.2 / 500), rel=0.1)
    assert result.mcnemar_p is None
    single = difference({0: a[0]}, {0: b[0]}, {0: a_correct[0]}, {0: b_correct[0]})
    assert single.mcnemar_p == mcnemar(a_correct[0], b_correct[0])
    assert single.mcnemar_p is not None
    assert single.mcnemar_p < 1e-6
    assert single.seeds_interval is None
