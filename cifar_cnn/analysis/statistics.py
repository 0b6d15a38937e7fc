"""Differences between groups of runs, with their uncertainty over training runs and over test images."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from cifar_cnn.base.intervals import LEVEL, Interval

MARGIN = 0.005  # difference in accuracy below which two groups of runs count as equivalent by default
Seed = int | str  # identifies a run within its group
S = TypeVar("S", bound=Seed)


@dataclass(frozen=True)
class Difference:
    """The test accuracy of group B minus that of group A.

    Attributes:
        mean: mean accuracy of B minus mean accuracy of A.
        seeds_interval: confidence interval over training runs; None for fewer than two runs in either group.
        seeds_p: two-sided p value of the t test that belongs to this interval; None without it.
        equivalence_p: p value of the two one-sided t tests of :func:`equivalence`; None without an interval.
        paired: True for a paired t interval over the seeds that both groups share, False for Welch's t interval over
            two independent groups.
        images_interval: bootstrap confidence interval over test images; None if the runs were tested on different
            images.
        mcnemar_p: p value of McNemar's exact test; only for one run in each group, tested on the same images.
    """

    mean: float
    seeds_interval: Interval | None
    paired: bool
    images_interval: Interval | None
    mcnemar_p: float | None
    seeds_p: float | None = None
    equivalence_p: float | None = None

    @property
    def p(self) -> float | None:
        """The p value over training runs or, for one run in each group, that of McNemar's test."""
        return self.mcnemar_p if self.seeds_p is None else self.seeds_p


def difference(
    a: Mapping[S, float],
    b: Mapping[S, float],
    a_correct: Mapping[S, np.ndarray] | None = None,
    b_correct: Mapping[S, np.ndarray] | None = None,
    margin: float = MARGIN,
) -> Difference:
    """Compare two groups of runs.

    Groups that share at least two seeds are compared on the shared seeds only.

    Args:
        a: the accuracy of each run of A by its seed; a run without a seed has a unique string as its key.
        b: the same for B.
        a_correct: for each run of A by its seed, whether each test image was classified correctly: bool, (N,). None if
            the groups were tested on different images.
        b_correct: the same for B.
        margin: largest difference in accuracy of two groups that count as equivalent, from 0 to 1.
    """
    shared = sorted(a.keys() & b.keys(), key=str)
    paired = len(shared) >= 2 or (len(a) == len(b) == 1 and bool(shared))
    a_seeds, b_seeds = (shared, shared) if paired else (list(a), list(b))
    a_values, b_values = np.array([a[seed] for seed in a_seeds]), np.array([b[seed] for seed in b_seeds])

    images_interval = mcnemar_p = None
    if a_correct is not None and b_correct is not None:
        a_right = np.stack([a_correct[seed] for seed in a_seeds])
        b_right = np.stack([b_correct[seed] for seed in b_seeds])
        images_interval = bootstrap_interval(b_right.mean(0) - a_right.mean(0))
        if len(a) == len(b) == 1:
            mcnemar_p = mcnemar(a_right[0], b_right[0])
    return Difference(
        float(b_values.mean() - a_values.mean()),
        seeds_interval(a_values, b_values, paired),
        paired,
        images_interval,
        mcnemar_p,
        seeds_p(a_values, b_values, paired),
        equivalence(a_values, b_values, paired, margin),
    )


def seeds_interval(a: np.ndarray, b: np.ndarray, paired: bool) -> Interval | None:
    """Student's t interval of mean(b) - mean(a).

    Args:
        a: accuracy of each run of A.
        b: accuracy of each run of B; with ``paired`` in the order of the same seeds.
        paired: take the t interval of the paired differences rather than Welch's.

    Returns:
        None for fewer than two values of either.
    """
    if min(len(a), len(b)) < 2:
        return None
    mean = float(b.mean() - a.mean())
    if _is_constant(a, b, paired):
        return mean, mean
    interval = _t_test(a, b, paired).confidence_interval(LEVEL)
    return float(interval.low), float(interval.high)


def seeds_p(a: np.ndarray, b: np.ndarray, paired: bool) -> float | None:
    """Two-sided p value of Student's t test that mean(b) equals mean(a); see :func:`seeds_interval`."""
    if min(len(a), len(b)) < 2:
        return None
    if _is_constant(a, b, paired):
        return float(a.mean() == b.mean())
    return float(_t_test(a, b, paired).pvalue)


def equivalence(a: np.ndarray, b: np.ndarray, paired: bool, margin: float) -> float | None:
    """The p value of two one-sided t tests (TOST) that the means differ by ``margin`` or more.

    A p value below 0.05 means that the 90 % confidence interval of mean(b) - mean(a) lies within plus or minus
    ``margin``: the groups are equivalent. Source: Schuirmann 1987.

    Args:
        a: accuracy of each run of A.
        b: accuracy of each run of B; with ``paired`` in the order of the same seeds.
        paired: use paired t tests rather than Welch's.
        margin: largest difference that counts as equivalent.

    Returns:
        The larger of the two p values; None for fewer than two values of either.
    """
    if min(len(a), len(b)) < 2:
        return None
    if _is_constant(a, b, paired):
        return float(abs(b.mean() - a.mean()) >= margin)
    above = _t_test(a, b + margin, paired, "greater")  # rejects that B is worse by the margin or more
    below = _t_test(a, b - margin, paired, "less")
    return float(max(above.pvalue, below.pvalue))


def _is_constant(a: np.ndarray, b: np.ndarray, paired: bool) -> bool:
    """Whether the runs do not vary at all, for which a t test would divide 0 by 0."""
    return bool((np.ptp(b - a) if paired else max(np.ptp(a), np.ptp(b))) == 0)


def _t_test(
    a: np.ndarray, b: np.ndarray, paired: bool, alternative: Literal["two-sided", "less", "greater"] = "two-sided"
) -> Any:
    from scipy import stats  # takes a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about precision, if accuracies are nearly equal
        if paired:
            return stats.ttest_rel(b, a, alternative=alternative)
        return stats.ttest_ind(b, a, equal_var=False, alternative=alternative)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number by Holm's method (1979).

    If all hypotheses with an adjusted p value below 0.05 are rejected, the probability that any of them is true is at
    most 5 %, whatever the dependence between the tests.

    Args:
        p_values: the p values.

    Returns:
        The adjusted p values in the same order.
    """
    values = np.asarray(p_values, float)
    order = values.argsort()
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return adjusted.tolist()


def bootstrap_interval(values: np.ndarray, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over test images.

    There are few distinct values, since each of n runs is right or wrong on an image. A resample is therefore drawn as
    the number of times that each value occurs.

    Args:
        values: one value for each test image: float, (N,).
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), resamples)
    means = drawn @ distinct / len(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p value of McNemar's exact test.

    Under the null hypothesis both networks are equally good: of the images that only one of them classifies correctly,
    each gets half.

    Args:
        a: whether network A classifies each image correctly: bool, (N,).
        b: the same for network B.
    """
    from scipy import stats

    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
