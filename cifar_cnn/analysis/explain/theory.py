"""All measurements on one trained network."""

from dataclasses import dataclass

from cifar_cnn.analysis.explain.equivariance import Equivariance, measure_equivariance
from cifar_cnn.analysis.explain.invariance import Invariance, measure_invariance
from cifar_cnn.analysis.network.layers import Layer, Sharing, layers_of, sharing_of
from cifar_cnn.analysis.network.maps import map_layers
from cifar_cnn.base.errors import InputError
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.checkpoints import Trained
from cifar_cnn.subsets.splitting import random_order


@dataclass(frozen=True)
class Theory:
    """Equivariance, invariance and parameter sharing of one network."""

    equivariance: Equivariance
    invariance: Invariance
    sharing: list[Sharing]


def explain(trained: Trained, image_set: ImageSet, images: int, layers: list[Layer] | None = None) -> Theory:
    """Measure a trained network on a random sample of images; equivariance on at most 32 of them.

    Args:
        trained: the network.
        image_set: the images to sample from.
        images: size of the sample.
        layers: layers of the network, if they are known already.

    Raises:
        InputError: the network has no feature maps.
    """
    network = trained.classifier.backbone
    layers = layers_of(network, tuple(image_set.images.shape[1:])) if layers is None else layers
    if not any(layer.is_map for layer in layers):
        raise InputError(f"{type(network).__name__} has no feature maps to explain")
    some = image_set.subset(random_order(len(image_set))[:images])
    shown = map_layers(network, layers, 12)
    return Theory(
        measure_equivariance(trained, some.images[: max(1, min(32, len(some) // 3))], shown),
        measure_invariance(trained, some, layers),
        sharing_of(network, layers),
    )
