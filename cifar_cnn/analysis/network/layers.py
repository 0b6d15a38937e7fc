"""A network layer by layer: output shape, parameters, multiply-adds, receptive field, and what it would cost fully
connected."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cifar_cnn.analysis.network.costs import costs_of
from cifar_cnn.analysis.network.fields import Field, fields_of
from cifar_cnn.analysis.network.layouts import Layout, layouts_of
from cifar_cnn.analysis.network.probes import probe_copy, run_noting


@dataclass(frozen=True)
class Layer:
    """One module of a network that has parameters or changes the shape.

    Attributes:
        name: as in ``named_modules``; empty for the network itself.
        kind: its class.
        input_shape: of one image.
        output_shape: of one image.
        parameters: of the module, without those of layers that it calls.
        macs: multiply-adds of its convolutions and matrix products for one image, without those of such layers.
        field: receptive field of its outputs. It may be larger than the image; padding is part of it.
        layout: how to read an output as maps; None if it does not tell where in the image something is.
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
        """Whether the output still says where in the image something is."""
        return self.layout is not None


@dataclass(frozen=True)
class Sharing:
    """A convolution beside the fully connected layer between the same sizes.

    Attributes:
        name: of the convolution.
        kind: as in ``3x3, 32 → 64``.
        inputs: numbers that go in, for one image.
        outputs: numbers that come out.
        inputs_of_one: how many of the inputs one output is connected to.
        parameters: of the convolution.
        full_parameters: of the fully connected layer, with a bias if the convolution has one.
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
        """From inputs to outputs; those to padding are counted."""
        return self.outputs * self.inputs_of_one

    @property
    def full_connections(self) -> int:
        """Each input to each output."""
        return self.inputs * self.outputs


def layers_of(network: nn.Module, image_shape: tuple[int, ...]) -> list[Layer]:
    """The layers of a network in the order in which they end.

    These are the modules without children that have parameters or change the shape, and those with children that have
    parameters or multiply-adds of their own, such as a class token or an attention. Parameters and multiply-adds add
    up to those of the network. The network is copied first, and left as it is.

    Args:
        network: in any mode; it is looked at in eval mode.
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
        fields = fields_of(probe, image_shape, layouts, sum(cost.macs for cost in costs.values()))
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
    """Each module that is called, with the shapes of its first input and output for one image."""
    found: dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = {}

    def note(name: str, module: nn.Module, given: Tensor | None, output: Tensor | None) -> None:
        if given is not None and output is not None:
            found.setdefault(name, (module, tuple(given.shape[1:]), tuple(output.shape[1:])))

    run_noting(network, torch.randn(1, *image_shape), note)
    return found


def sharing_of(network: nn.Module, layers: list[Layer]) -> list[Sharing]:
    """What parameter sharing and local connectivity save, of each convolution among ``layers``."""
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
