"""Differences between groups of runs, with their uncertainty over training runs and over test images."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

LEVEL = 0.95  # confidence level of all intervals
Interval = tuple[float, float]  # its lower and upper end
Seed = int | str  # identifies a run within its group
S = TypeVar("S", bound=Seed)


@dataclass(frozen=True)
class Difference:
    """The test accuracy of group B minus that of group A.

    Attributes:
        mean: mean accuracy of B minus mean accuracy of A.
        seeds_interval: confidence interval over training runs; None for fewer than two runs in either group.
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


def difference(
    a: Mapping[S, float],
    b: Mapping[S, float],
    a_correct: Mapping[S, np.ndarray] | None = None,
    b_correct: Mapping[S, np.ndarray] | None = None,
) -> Difference:
    """Compare two groups of runs.

    Groups that share at least two seeds are compared on the shared seeds only.

    Args:
        a: the accuracy of each run of A by its seed; a run without a seed has a unique string as its key.
        b: the same for B.
        a_correct: for each run of A by its seed, whether each test image was classified correctly: bool, (N,). None if
            the groups were tested on different images.
        b_correct: the same for B.
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
    from scipy import stats  # takes a second to import

    if min(len(a), len(b)) < 2:
        return None
    mean = float(b.mean() - a.mean())
    if (np.ptp(b - a) if paired else max(np.ptp(a), np.ptp(b))) == 0:  # Welch's degrees of freedom would be 0 / 0
        return mean, mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # from the unused p value, if accuracies are nearly equal
        result = stats.ttest_rel(b, a) if paired else stats.ttest_ind(b, a, equal_var=False)
    interval = result.confidence_interval(LEVEL)
    return float(interval.low), float(interval.high)


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


def wilson_interval(right: int, n: int) -> Interval:
    """Wilson's confidence interval of an accuracy; its width is positive even at accuracies of 0 and 1.

    Args:
        right: number of correctly classified images.
        n: number of images.
    """
    from scipy import stats

    interval = stats.binomtest(right, n).proportion_ci(LEVEL, "wilson")
    return float(interval.low), float(interval.high)


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
