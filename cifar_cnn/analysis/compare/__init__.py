"""Compare runs and configs, with the uncertainty of each difference; configs are trained first."""

from cifar_cnn.analysis.compare.comparison import compare, run_or_config

__all__ = ["compare", "run_or_config"]
