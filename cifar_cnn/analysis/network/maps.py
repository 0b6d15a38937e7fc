"""Outputs of inner layers, and where a network looks (Grad-CAM)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cifar_cnn.analysis.network.layers import Layer
from cifar_cnn.analysis.network.layouts import CHANNELS_FIRST, Layout, layouts_of
from cifar_cnn.analysis.network.probes import first_tensor, probe_copy


@contextmanager
def outputs_of(network: nn.Module, names: Iterable[str], detach: bool = True) -> Iterator[dict[str, Tensor]]:
    """Within the context, each call of the network stores the outputs of the named modules in the dictionary.

    Outputs are in the order of the calls. For a module that is called several times, the last output is stored, and for
    a module with several outputs the first tensor. Outputs are copies, since an in-place activation after a layer would
    change the original.

    Args:
        network: the network.
        names: names of modules in ``named_modules``.
        detach: store the outputs without gradients.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, object], Tensor | None]:
        def hook(module: nn.Module, inputs: object, output: object) -> Tensor | None:
            tensor = first_tensor(output)
            if tensor is None:
                return None
            found.pop(name, None)
            found[name] = tensor.detach().clone() if detach else tensor
            return tensor.clone() if output is tensor and not detach else None

        return hook

    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def map_layers(network: nn.Module, layers: list[Layer], most: int) -> list[Layer]:
    """The convolutions and poolings whose outputs are maps; at most ``most`` of them, evenly chosen."""
    modules = dict(network.named_modules())
    found = [
        layer
        for layer in layers
        if layer.is_map and (isinstance(modules[layer.name], nn.Conv2d) or layer.input_shape != layer.output_shape)
    ]
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


class Maps(NamedTuple):
    """A module whose output is maps.

    Attributes:
        name: name of the module.
        layout: layout of its output.
    """

    name: str
    layout: Layout


def last_maps(network: nn.Module, image: Tensor, num_classes: int) -> Maps | None:
    """The last feature maps that the logits depend on, after their activation; None if there are no maps.

    Maps with one channel per class are left out, since they are the scores themselves. Patches after the last attention
    are left out if the logits depend only on the class token.

    Args:
        network: network in eval mode.
        image: a normalized image, (1, C, H, W).
        num_classes: number of classes of the network.
    """
    with probe_copy(network) as probe:
        names = [name for name, _ in network.named_modules() if name]
        layouts = layouts_of(probe, tuple(image.shape[1:]), names)
    with torch.enable_grad(), outputs_of(network, layouts, detach=False) as outputs:
        score = network(image.detach().clone().requires_grad_()).amax()
        found = {name: output for name, output in outputs.items() if output.requires_grad}
        gradients = torch.autograd.grad(score, list(found.values()), allow_unused=True) if found else ()
    for (name, output), gradient in reversed(list(zip(found.items(), gradients, strict=True))):
        layout = layouts[name]
        if gradient is None or not layout.maps(gradient).any() or layout.maps(output).shape[1] == num_classes:
            continue
        # A container or an Identity only passes on the output of another module, so that module is reported.
        first = next(
            name for name, other in found.items() if other.shape == output.shape and torch.equal(other, output)
        )
        return Maps(first, layouts[first])
    return None


def grad_cam(
    network: nn.Module, layer: str, images: Tensor, classes: Tensor, layout: Layout = CHANNELS_FIRST
) -> Tensor:
    """Compute which parts of an image support a class.

    Selvaraju et al., Grad-CAM (2017), https://arxiv.org/abs/1610.02391. These few lines are not worth a dependency:
    grad-cam 1.5.7 requires OpenCV and scikit-learn (a download of 70 MB). captum 0.9.0 gives bit-identical results with
    ``relu_attributions`` of LayerGradCam and bilinear LayerAttribution.interpolate.

    Args:
        network: network in eval mode.
        layer: name of the module whose maps are weighted, usually from :func:`last_maps`.
        images: normalized images, (N, C, H, W).
        classes: class to explain for each image, (N,).
        layout: layout of the module's output.

    Returns:
        (N, H, W), from 0 (no support for the class) to 1 (most support in the image); all 0 without any support.
    """
    with torch.enable_grad(), outputs_of(network, [layer], detach=False) as outputs:
        logits = network(images.detach().clone().requires_grad_())
        (gradients,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), outputs[layer])
    gradients, maps = layout.maps(gradients), layout.maps(outputs[layer])
    heat = (gradients.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu().detach()
    heat = functional.interpolate(heat, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)
