"""The theory of convolutional networks, measured on trained ones: equivariance, invariance and parameter sharing."""

from cifar_cnn.analysis.explain.runs import explain_runs
from cifar_cnn.analysis.explain.theory import Theory, explain

__all__ = ["Theory", "explain", "explain_runs"]
