"""Section: equivariance, invariance and parameter sharing of the trained network."""

from typing import Any

import numpy as np

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.explain import Theory, explain
from cifar_cnn.analysis.explain.equivariance import example_pictures
from cifar_cnn.analysis.explain.figures import feature_chart, prediction_chart
from cifar_cnn.analysis.report.material import Material, Section

MACS = 60e9  # multiply-adds to spend on equivariance and invariance: a second or two on a laptop
IMAGES = (12, 500)  # fewer give unreliable figures, more take too long
PASSES = 13  # forward passes per image: 9 for invariance, and 10 for equivariance on every third image


def content(material: Material) -> dict[str, Any] | None:
    """The figures of :func:`cifar_cnn.analysis.explain.explain`, on as many images as the time allows."""
    if material.images is None:
        return None
    affordable = int(MACS / (PASSES * material.macs)) if material.macs else 100
    images = int(np.clip(affordable, *IMAGES))
    return _shown(explain(material.run.trained, material.images, images, material.layers))


SECTION = Section("theory", "Theory", "Theory", content)


def _shown(theory: Theory) -> dict[str, Any]:
    """Charts, pictures and numbers for the template."""
    equivariance, invariance = theory.equivariance, theory.invariance
    frames = [
        [[charts.picture(each) for each in example_pictures(*examples[shift])] for examples in equivariance.examples]
        for shift in range(len(equivariance.errors[0]))
    ]
    curve = {"": invariance}
    return {
        "layers": equivariance.layers,
        "errors": equivariance.errors,
        "frames": frames,
        "images": equivariance.images,
        "features": charts.svg(feature_chart(curve), "Change of the pooled features over the shift"),
        "predictions": charts.svg(prediction_chart(curve), "Predictions over the shift"),
        "invariance": invariance,
        "sharing": theory.sharing,
    }
