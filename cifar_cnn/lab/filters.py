"""Check the filters of the first and the last convolution (exercise 7)."""

from typing import Any

import torch
from torch import Tensor, nn

from cifar_cnn.backbones import ResNet18, SimpleCNN
from cifar_cnn.lab import student
from cifar_cnn.lab.findings import Finding, NotDone, Wrong, finding

_SHOWN = 8
_PLACES = ("first", "last")


def check(function: Any, exercise: str, name: str) -> list[Finding]:
    """Check a student's choice of filters on several networks.

    Args:
        function: the student's function of a network.
        exercise: the number of the exercise.
        name: name of the function in messages.

    Raises:
        NotDone: the function has not been written.
        Wrong: the function fails, or does not return two tensors.
    """
    torch.manual_seed(0)
    networks = (
        SimpleCNN(),
        SimpleCNN((16, 24, 32), (5, 3), batch_norm=True, head="conv"),
        ResNet18(channels=(8, 8, 16, 16)),
        nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 30 * 30, 10)),
    )
    for network in networks:
        if found := _check_one(function, name, network):
            return found
    return []


def _check_one(function: Any, name: str, network: nn.Module) -> list[Finding]:
    given = type(network).__name__
    value = student.call(function, network, what=f"{name}({given}())")
    if value is None:
        if student.is_unfilled(function):
            raise NotDone
        raise Wrong(finding("returns_none", name=name))
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise Wrong(finding("no_two_tensors", found=_form(value)))
    if not all(isinstance(each, Tensor) for each in value):
        raise Wrong(finding("no_two_tensors", found=f"({', '.join(map(_form, value))})"))
    weights = [(each, one) for each, one in network.named_parameters() if one.ndim == 4]
    expected = [weights[0][1][:_SHOWN], weights[-1][1][:_SHOWN]]
    if len(weights) > 1 and _same(value[0], expected[1]) and _same(value[1], expected[0]):
        return [finding("filters_swapped")]
    pairs = zip(_PLACES, value, expected, strict=True)
    return [_explained(place, own, network, right, given) for place, own, right in pairs if not _same(own, right)]


def _explained(place: str, own: Tensor, network: nn.Module, right: Tensor, given: str) -> Finding:
    for name, each in network.named_parameters():
        layer = name.rpartition(".")[0]
        if _same(own, each[:_SHOWN]) or (_same(own, each) and each.ndim != 4):
            kind = "filters_of_other_layer" if each.ndim == 4 else "filters_of_no_convolution"
            return finding(kind, place=place, layer=layer, network=given, shape=list(each.shape))
        if each.ndim == 4 and _same(own, each):
            return finding("filters_all", place=place, shape=list(own.shape), network=given)
        if each.ndim == 4 and each.shape[1] >= _SHOWN and _same(own, each[:, :_SHOWN]):
            return finding("filters_channels", place=place, shape=list(own.shape), network=given)
        if each.ndim == 4 and _same(own, each[:_SHOWN, :_SHOWN]):
            return finding("filters_channels", place=place, shape=list(own.shape), network=given)
    if own.shape == right.shape:
        return finding("filters_other_numbers", place=place, network=given)
    return finding("filters_other", place=place, shape=list(own.shape), expected=list(right.shape), network=given)


def _same(own: Tensor, right: Tensor) -> bool:
    return own.shape == right.shape and torch.equal(own.detach(), right.detach())


def _form(value: Any) -> str:
    return f"Tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
