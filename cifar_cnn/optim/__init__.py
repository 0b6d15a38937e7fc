"""Muon for convolutions, schedules over fractions of a run, and parameter groups selected by name."""

from cifar_cnn.optim.groups import learning_rate, parameter_groups
from cifar_cnn.optim.muon import Muon, orthogonalize
from cifar_cnn.optim.schedules import PiecewiseLinear, WarmupCosine
from cifar_cnn.parts.fraction_schedule import FractionSchedule

__all__ = [
    "FractionSchedule",
    "Muon",
    "PiecewiseLinear",
    "WarmupCosine",
    "learning_rate",
    "orthogonalize",
    "parameter_groups",
]
