"""Section: the first feature maps of some layers for a few images."""

from typing import Any

import torch
from torch import Tensor

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.network.layers import Layer
from cifar_cnn.analysis.network.maps import map_layers, outputs_of
from cifar_cnn.analysis.report.material import Material, Section
from cifar_cnn.analysis.report.pictures import one_of_each_class, thumbnail
from cifar_cnn.analysis.shown import normalized
from cifar_cnn.base.errors import InputError

IMAGES = 4  # one of each of the first classes
LAYERS = 5  # evenly chosen
CHANNELS = 8  # of each layer


def content(material: Material) -> dict[str, Any] | None:
    """The feature maps, each scaled separately.

    Raises:
        InputError: the network has no feature maps.
    """
    images, network = material.images, material.network
    if images is None or not material.layers:
        return None
    shown = map_layers(network, material.layers, LAYERS)
    if not shown:
        raise InputError(f"{type(network).__name__} has none")
    places = one_of_each_class(images, IMAGES)
    with torch.inference_mode(), outputs_of(network, [layer.name for layer in shown]) as outputs:
        material.run.trained.classifier(normalized(material.run.trained, images.images[places]))
    found = [
        {
            "src": thumbnail(images.images[place]),
            "name": images.class_names[images.labels[place]],
            "rows": [_row(layer, outputs[layer.name], index) for layer in shown],
        }
        for index, place in enumerate(places)
    ]
    return {"layers": shown, "images": found, "channels": CHANNELS}


SECTION = Section("maps", "Feature maps", "Feature maps", content)


def _row(layer: Layer, output: Tensor, index: int) -> list[str]:
    """The maps of one layer for the image at ``index``, as pictures."""
    assert layer.layout is not None
    maps = layer.layout.maps(output)[index, :CHANNELS].float().cpu().numpy()
    return [charts.picture(charts.colored(each, each.min(), each.max())) for each in maps]
