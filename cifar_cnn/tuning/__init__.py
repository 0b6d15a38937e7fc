"""Run Lightning's LearningRateFinder and BatchSizeFinder before a fit, and use their results in it.

The search uses its own network, Trainer and random numbers. Its result becomes an option of the run, so the fit is
bit-identical to a run with this option, and its config.yaml reproduces it without another search.
"""

from cifar_cnn.tuning.finders import check_resumed, tune

__all__ = ["check_resumed", "tune"]
