"""Means of runs and differences between them, with their uncertainty over seeds and over test images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

LEVEL = 0.95  # of the confidence intervals
Interval = tuple[float, float]
Seed = int | str  # by which runs are told apart
S = TypeVar("S", bound=Seed)


@dataclass(frozen=True)
class Difference:
    """By how much the accuracy of B is above that of A.

    Attributes:
        mean: of the accuracies of B less that of A.
        seeds_interval: confidence interval over training runs, or None where there are fewer than two of each.
        paired: whether it is over the seeds that both have (a paired t interval) or over two independent groups
            (Welch's t interval).
        images_interval: confidence interval over test images, by bootstrap, or None where the runs were not tested on
            the same images.
        mcnemar_p: p value of McNemar's exact test; None but for one run each on the same images.
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

    Where they share two seeds or more, only those that they share are compared.

    Args:
        a: the accuracy of each run of A, by its seed; of a run without a seed, by a text that no other run has.
        b: likewise.
        a_correct: for each run of A, by its seed, whether it was right on each test image: bool, (N,). None for either
            group where the images are not the same.
        b_correct: likewise.
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
    """Student's t interval of mean(b) - mean(a), paired or Welch's; None for fewer than two values of each."""
    from scipy import stats  # takes a second to import

    if min(len(a), len(b)) < 2:
        return None
    if paired:
        error, freedom = (b - a).std(ddof=1) / np.sqrt(len(a)), len(a) - 1.0
    else:
        variances = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
        error = np.sqrt(variances.sum())
        # Welch-Satterthwaite; without any spread the interval is a point, whatever the degrees of freedom.
        spread = (variances**2 / [len(a) - 1, len(b) - 1]).sum()
        freedom = variances.sum() ** 2 / spread if spread > 0 else 1.0
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * error)
    mean = float(b.mean() - a.mean())
    return mean - reach, mean + reach


def bootstrap_interval(values: np.ndarray, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean of ``values``, one a test image: float, (N,).

    The values are few (n runs each are right or wrong), so that a resample is drawn as how often each occurs.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), resamples)
    means = drawn @ distinct / len(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def wilson_interval(right: int, n: int) -> Interval:
    """Confidence interval of an accuracy: ``right`` of ``n`` images (Wilson 1927); it has a width at 0 and 1 too."""
    z, share = NormalDist().inv_cdf((1 + LEVEL) / 2), right / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(center - reach, 0.0), min(center + reach, 1.0)


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p value of McNemar's exact test.

    Of the images on which one network is right and the other wrong, each is right on half if they are equally good.

    Args:
        a: whether network A is right on each image: bool, (N,).
        b: likewise of network B.
    """
    from scipy import stats

    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
