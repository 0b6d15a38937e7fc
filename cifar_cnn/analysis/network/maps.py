"""What a network computes on its way: outputs of inner layers, and where it looks (Grad-CAM)."""

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
    """Within the context, each call of the network leaves the outputs of the named modules in the dictionary.

    They stand in the order of the calls; of a module that is called several times, it is the last. They are copies: an
    in-place activation after a layer would change the original. Of several outputs, the first tensor is kept.

    Args:
        network: whose modules are meant.
        names: as in ``named_modules``.
        detach: whether the outputs are kept without their gradients.
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
    """The convolutions and poolings whose outputs are maps; where there are more than ``most``, evenly chosen."""
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
    """Where a network has maps.

    Attributes:
        name: of the module that gives them.
        layout: how to read its output.
    """

    name: str
    layout: Layout


def last_maps(network: nn.Module, image: Tensor, num_classes: int) -> Maps | None:
    """The last feature maps on which the answer depends, after their activation; None where there are no maps.

    Maps with one channel a class are left out: they are the scores themselves. So are patches after the last attention
    of a network that answers by its class token.

    Args:
        network: in eval mode.
        image: normalised, (1, C, H, W).
        num_classes: of the network.
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
        # A container and an Identity hand on what another module has computed: that one is named.
        first = next(
            name for name, other in found.items() if other.shape == output.shape and torch.equal(other, output)
        )
        return Maps(first, layouts[first])
    return None


def grad_cam(
    network: nn.Module, layer: str, images: Tensor, classes: Tensor, layout: Layout = CHANNELS_FIRST
) -> Tensor:
    """Which parts of an image speak for a class.

    Selvaraju et al., Grad-CAM (2017), https://arxiv.org/abs/1610.02391. A dependency is not worth these few
    lines: grad-cam 1.5.7 brings OpenCV and scikit-learn (70 MB to download); captum 0.9.0 (0.5 MB, nothing else) gives
    the same to the last bit, by LayerGradCam with ``relu_attributions`` and bilinear LayerAttribution.interpolate.

    Args:
        network: in eval mode.
        layer: name of the module whose maps are weighed, usually :func:`last_maps`.
        images: normalised, (N, C, H, W).
        classes: the class to explain of each image, (N,).
        layout: of the module's output.

    Returns:
        (N, H, W): 0 where nothing speaks for the class, 1 where most does; all 0 where nothing does anywhere.
    """
    with torch.enable_grad(), outputs_of(network, [layer], detach=False) as outputs:
        logits = network(images.detach().clone().requires_grad_())
        (gradients,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), outputs[layer])
    gradients, maps = layout.maps(gradients), layout.maps(outputs[layer])
    heat = (gradients.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu().detach()
    heat = functional.interpolate(heat, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)
