"""Compare runs and configs, with the uncertainty of each difference; configs are trained first."""

from cifar_cnn.analysis.compare.comparison import Comparison, Settings, compare, compare_runs, margin_of, run_or_config

__all__ = ["Comparison", "Settings", "compare", "compare_runs", "margin_of", "run_or_config"]
