"""What a network computes on its way: outputs of inner layers, and where it looks (Grad-CAM)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from cifar_cnn.analysis.layers import Layer


@contextmanager
def outputs_of(network: nn.Module, names: Iterable[str], detach: bool = True) -> Iterator[dict[str, Tensor]]:
    """Within the context, each call of the network leaves the outputs of the named modules in the dictionary.

    They are copies: an in-place activation after a layer would change the original.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            if detach:
                found[name] = output.detach().clone()
                return None
            found[name] = output
            return output.clone()

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


def last_maps(network: nn.Module, image: Tensor, num_classes: int) -> str | None:
    """Name of the module that gives the last feature maps, after its activation; None where there are no maps.

    Maps with one channel a class are left out: they are the scores themselves.

    Args:
        network: in eval mode.
        image: normalised, (1, C, H, W).
        num_classes: of the network.
    """
    found: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                return
            if max(output.shape[2:]) > 1 and output.shape[1] != num_classes:
                found.append((name, output))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    # A container and an Identity hand on what another module has computed: that one is named.
    return next((name for name, maps in found if maps is found[-1][1]), None)


def grad_cam(network: nn.Module, layer: str, images: Tensor, classes: Tensor) -> Tensor:
    """Which parts of an image speak for a class.

    Selvaraju et al., Grad-CAM (2017), https://arxiv.org/abs/1610.02391. A dependency is not worth these few
    lines: grad-cam 1.5.7 brings OpenCV and scikit-learn (70 MB to download); captum 0.9.0 (0.5 MB, nothing else) gives
    the same to the last bit, by LayerGradCam with ``relu_attributions`` and bilinear LayerAttribution.interpolate.

    Args:
        network: in eval mode.
        layer: name of the module whose maps are weighed, usually :func:`last_maps`.
        images: normalised, (N, C, H, W).
        classes: the class to explain of each image, (N,).

    Returns:
        (N, H, W): 0 where nothing speaks for the class, 1 where most does; all 0 where nothing does anywhere.
    """
    with torch.enable_grad(), outputs_of(network, [layer], detach=False) as outputs:
        logits = network(images.detach().requires_grad_())
        maps = outputs[layer]
        (gradients,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), maps)
    heat = (gradients.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu().detach()
    heat = functional.interpolate(heat, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)
