"""The layers of a network with output shapes, costs and receptive fields, and the savings of parameter sharing."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cifar_cnn.analysis.network.costs import costs_of, total_macs
from cifar_cnn.analysis.network.fields import Field, fields_of
from cifar_cnn.analysis.network.layouts import Layout, layouts_of
from cifar_cnn.analysis.network.probes import probe_copy, run_with_hooks


@dataclass(frozen=True)
class Layer:
    """A module that has parameters or changes the shape.

    Attributes:
        name: name in ``named_modules``; empty for the network itself.
        kind: name of its class.
        input_shape: shape for one image.
        output_shape: shape for one image.
        parameters: number of its parameters, without layers that it calls.
        macs: multiply-adds of its convolutions and matrix products for one image, without layers that it calls.
        field: receptive field of its outputs; it includes padding and may be larger than the image.
        layout: how to read an output as maps; None if the output has no spatial positions.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    field: Field
    layout: Layout | None = None

    @property
    def is_map(self) -> bool:
        """Whether the output has spatial positions."""
        return self.layout is not None


@dataclass(frozen=True)
class Sharing:
    """A convolution compared with a fully connected layer of the same input and output size.

    Attributes:
        name: name of the convolution.
        kind: kernel and channels, such as ``3x3, 32 → 64``.
        inputs: number of input values for one image.
        outputs: number of output values for one image.
        inputs_of_one: number of inputs that one output is connected to.
        parameters: parameters of the convolution.
        full_parameters: parameters of the fully connected layer, with a bias if the convolution has one.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    inputs_of_one: int
    parameters: int
    full_parameters: int

    @property
    def connections(self) -> int:
        """Connections between inputs and outputs, including those to padding."""
        return self.outputs * self.inputs_of_one

    @property
    def full_connections(self) -> int:
        """Connections of the fully connected layer."""
        return self.inputs * self.outputs


def layers_of(network: nn.Module, image_shape: tuple[int, ...]) -> list[Layer]:
    """The layers of a network in the order in which their calls end.

    A layer is a module without children that has parameters or changes the shape, or a module with children that has
    parameters or multiply-adds of its own, such as a class token or an attention. Parameters and multiply-adds of the
    layers add up to those of the network. The function works on a copy and does not change the network.

    Args:
        network: network in any mode; the copy is in eval mode.
        image_shape: (C, H, W).
    """
    with probe_copy(network) as probe:
        costs = costs_of(probe, torch.randn(1, *image_shape))
        found = _shapes_of(probe, image_shape)
        rows = {
            name: shapes
            for name, (module, *shapes) in found.items()
            if costs[name].parameters or costs[name].macs or (not list(module.children()) and shapes[0] != shapes[1])
        }
        layouts = layouts_of(probe, image_shape, rows)
        fields = fields_of(probe, image_shape, layouts, total_macs(costs.values()))
    return [
        Layer(
            name,
            type(found[name][0]).__name__,
            before,
            after,
            costs[name].parameters,
            costs[name].macs,
            fields[name],
            layouts.get(name),
        )
        for name, (before, after) in rows.items()
    ]


def _shapes_of(
    network: nn.Module, image_shape: tuple[int, ...]
) -> dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]:
    """Each called module with the shapes of its first input and output for one image."""
    found: dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = {}

    def note(name: str, module: nn.Module, given: Tensor | None, output: Tensor | None) -> None:
        if given is not None and output is not None:
            found.setdefault(name, (module, tuple(given.shape[1:]), tuple(output.shape[1:])))

    run_with_hooks(network, torch.randn(1, *image_shape), note)
    return found


def sharing_of(network: nn.Module, layers: list[Layer]) -> list[Sharing]:
    """The savings by parameter sharing and local connectivity of each convolution among ``layers``."""
    found = []
    modules = dict(network.named_modules())
    for layer in layers:
        conv = modules[layer.name]
        if not isinstance(conv, nn.Conv2d):
            continue
        height, width = conv.kernel_size
        inputs, outputs = torch.Size(layer.input_shape).numel(), torch.Size(layer.output_shape).numel()
        found.append(
            Sharing(
                layer.name,
                f"{height}x{width}, {conv.in_channels} → {conv.out_channels}",
                inputs,
                outputs,
                height * width * conv.in_channels // conv.groups,
                layer.parameters,
                inputs * outputs + (outputs if conv.bias is not None else 0),
            )
        )
    return found
