"""The sections of a report and the material that they are made from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from cifar_cnn.analysis.network.costs import total_macs
from cifar_cnn.analysis.network.layers import Layer
from cifar_cnn.analysis.shown import Shown
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.predictions import Predictions
from cifar_cnn.runs.run import RunFolder

Metrics = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Material:
    """The input of every section of a report.

    Attributes:
        run: the run that the report describes.
        shown: the images and predictions that the report shows.
        metrics: epochs and values of each column of metrics.csv; empty if it cannot be read.
        layers: the layers of the network; None if they cannot be found.
    """

    run: RunFolder
    shown: Shown
    metrics: Metrics
    layers: list[Layer] | None

    @property
    def network(self) -> nn.Module:
        """The trained backbone."""
        return self.run.trained.classifier.backbone

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return self.run.trained.class_names

    @property
    def images(self) -> ImageSet | None:
        """The images shown; None if they cannot be read."""
        return self.shown.images

    @property
    def predictions(self) -> Predictions | None:
        """The predictions for ``images``; None if there are none."""
        return self.shown.predictions

    @property
    def macs(self) -> int:
        """Multiply-adds of the network for one image; 0 if its layers are not known."""
        return total_macs(self.layers or [])


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        id: its anchor; ``templates/<id>.html.j2`` shows it.
        name: its entry in the navigation bar.
        subject: its name in the list "Not in this report".
        content: returns the content for the template, or None if the run has nothing to show. If it raises an
            exception, the page lists the reason and leaves the section out.
    """

    id: str
    name: str
    subject: str
    content: Callable[[Material], Any]
