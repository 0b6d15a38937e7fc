"""The ensemble of the runs of a comparison: the mean of their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifar_cnn.analysis.compare.networks import Network, same_images
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.intervals import Interval, wilson_interval
from cifar_cnn.callbacks.predictions import FILE_NAME
from cifar_cnn.runs.predictions import mean_of, read_predictions


@dataclass(frozen=True)
class Ensemble:
    """Several runs that predict the class with the highest mean probability.

    Attributes:
        runs: number of runs.
        correct: whether each test image is classified correctly: bool, (N,).
        parameters: number of parameters of all runs.
        macs: multiply-adds of all runs for one image.
        seconds: training time of all runs.
    """

    runs: int
    correct: np.ndarray
    parameters: int
    macs: int
    seconds: float

    @property
    def name(self) -> str:
        """Its name in the tables."""
        return f"ensemble of {self.runs} runs"

    @property
    def accuracy(self) -> float:
        """Accuracy on the test images, from 0 to 1."""
        return float(self.correct.mean())

    @property
    def interval(self) -> Interval:
        """Wilson's confidence interval of the accuracy over test images."""
        return wilson_interval(int(self.correct.sum()), len(self.correct))

    def summary(self) -> dict[str, Any]:
        """Its row in the tables, with the keys of :meth:`Network.summary`."""
        return {
            "name": self.name,
            "n": self.runs,
            "test_accuracy_mean": self.accuracy,
            "test_accuracy_sd": None,
            "val_accuracy_mean": None,
            "parameters": self.parameters,
            "macs": self.macs,
            "epochs": None,
            "training_seconds_mean": self.seconds,
        }


def ensemble_of(networks: Sequence[Network]) -> Ensemble:
    """Average the stored test predictions of all runs.

    Raises:
        InputError: there is a single run, or the runs were tested on different images or classes.
    """
    runs = [(network, run) for network in networks for run in network.runs.values()]
    if len(runs) < 2:
        raise InputError("an ensemble needs two or more runs")
    if not same_images(*networks):
        raise InputError("the runs were tested on different images, so their predictions cannot be averaged")
    mean = mean_of([read_predictions(run.folder / FILE_NAME) for _, run in runs])
    return Ensemble(
        len(runs),
        (mean.classes == mean.labels).numpy(),
        sum(network.parameters for network, _ in runs),
        sum(network.macs for network, _ in runs),
        sum(run.seconds for _, run in runs),
    )
