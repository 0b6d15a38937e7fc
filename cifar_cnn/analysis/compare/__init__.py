"""Runs, or configs that are trained first, with the uncertainty of each difference."""

from cifar_cnn.analysis.compare.comparison import compare, run_or_config

__all__ = ["compare", "run_or_config"]
