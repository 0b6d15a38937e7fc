"""The confidence interval of an accuracy."""

LEVEL = 0.95  # confidence level of all intervals
Interval = tuple[float, float]  # its lower and upper end


def wilson_interval(right: int, n: int) -> Interval:
    """Wilson's confidence interval of an accuracy; its width is positive even at accuracies of 0 and 1.

    Args:
        right: number of correctly classified images.
        n: number of images.
    """
    from scipy import stats  # takes a second to import

    interval = stats.binomtest(right, n).proportion_ci(LEVEL, "wilson")
    return float(interval.low), float(interval.high)
