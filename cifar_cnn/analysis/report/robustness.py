"""Section: accuracy under common corruptions, if it was measured for this checkpoint."""

from typing import Any

import numpy as np

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.analysis.robustness.corruptions import SEVERITIES
from cifar_cnn.analysis.robustness.measure import plot_corruptions
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.schemas import read_corruptions


def content(material: Material) -> dict[str, Any] | None:
    """The accuracy of each corruption and severity, and a chart.

    Raises:
        InputError: corruptions.json is damaged.
    """
    result = read_corruptions(material.run.folder)
    if not result or result["checkpoint_checksum"] != checksum(material.run.checkpoint):
        return None
    rows = [(name.replace("_", " "), values, float(np.mean(values))) for name, values in result["accuracy"].items()]
    return {
        "chart": charts.svg(plot_corruptions(result), "Accuracy over the severity of corruptions"),
        "rows": rows,
        "severities": SEVERITIES,
        "clean": result["clean"],
        "mean": result["mean"],
        "images": result["images"],
    }


SECTION = Section("robustness", "Corruptions", "Corruptions", content)
