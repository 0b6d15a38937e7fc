"""Section: the network layer by layer."""

from typing import Any

from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.base.sizes import count_parameters


def content(material: Material) -> dict[str, Any] | None:
    """The layers with their totals."""
    if not material.layers:
        return None
    return {
        "layers": material.layers,
        "parameters": count_parameters(material.network),
        "macs": material.macs,
        "image_size": material.run.trained.image_size,
    }


SECTION = Section("layers", "Layers", "Layers", content)
