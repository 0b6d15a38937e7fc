"""Unusual ways to write a correct answer."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_cnn import lab
from tests.lab import _answers as answers
from tests.lab._mistakes import features, network

Function = Callable[[Tensor], Tensor]


def negatives_set_to_0(x: Tensor) -> Tensor:
    x[x < 0] = 0
    return x


@pytest.mark.parametrize(
    "relu",
    [
        lambda x: x * (x > 0),
        lambda x: (x > 0).float() * x,
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        lambda x: torch.maximum(torch.zeros_like(x), x),
        lambda x: torch.max(x, torch.tensor(0.0)),
        lambda x: x.masked_fill(x < 0, 0),
        lambda x: x.clamp_(min=0),
        lambda x: F.threshold(x, 0, 0),
        negatives_set_to_0,
    ],
)
def test_a_relu_is_recognized_by_its_values(relu: Function, untrained: None) -> None:
    class Own(answers.Net1a):
        def forward(self, images: Tensor) -> Tensor:
            x = F.max_pool2d(relu(self.conv1(images)), 2)
            x = F.dropout(F.max_pool2d(relu(self.conv2(x)), 2), 0.0)
            return self.fc2(relu(self.fc1(x.flatten(1).type(torch.float32))))

    assert lab.check(Own, "1a").passed


@pytest.mark.parametrize("relu", [F.relu6, lambda x: x.clamp(0, 6), F.gelu, lambda x: x * (x > 0.1)])
def test_another_activation_is_no_relu(relu: Function, untrained: None) -> None:
    class Own(answers.Net1a):
        def forward(self, images: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(relu(self.conv1(images)), 2))), 2)
            return self.fc2(F.relu(self.fc1(x.flatten(1))))

    assert not lab.check(Own, "1a").passed


def test_parameters_without_layers_count(untrained: None) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.ParameterList(network().parameters())

        def forward(self, x: Tensor) -> Tensor:
            p = self.p
            x = F.max_pool2d(F.relu(F.conv2d(x, p[0], p[1])), 2)
            x = F.max_pool2d(F.relu(F.conv2d(x, p[2], p[3])), 2)
            return F.linear(F.relu(F.linear(x.flatten(1), p[4], p[5])), p[6], p[7])

    assert lab.check(Own, "1a").passed


def test_what_is_only_printed_or_asserted_does_not_count(untrained: None) -> None:
    class Own(answers.Net1a):
        def forward(self, images: Tensor) -> Tensor:
            x = self.conv1(images)
            print(x.shape, x.mean(), x.max())
            assert F.relu(x).min() >= 0
            x = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(x), 2))), 2)
            return self.fc2(F.relu(self.fc1(x.flatten(1))))

    assert lab.check(Own, "1a").passed


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.adaptive_max_pool2d(x, 1, return_indices=True)[0].flatten(1),
        lambda x: F.adaptive_max_pool1d(x.flatten(2), 1).squeeze(2),
        lambda x: x.flatten(2).topk(1).values.squeeze(2),
    ],
)
def test_a_global_max_is_recognized_by_its_values(pool: Function, untrained: None) -> None:
    class Own(answers.Net3):
        def forward(self, images: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)
            x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
            return self.fc2(F.relu(self.fc1(pool(x))))

    assert lab.check(Own, "3").passed


class Padded(nn.Module):
    """A residual block that pads with separate layers, and adds with a sum over a list."""

    def __init__(self, c_in: int, c: int, stride: int = 1) -> None:
        super().__init__()
        first = nn.ZeroPad2d(1), nn.Conv2d(c_in, c, 3, stride), nn.BatchNorm2d(c), nn.ReLU()
        self.main = nn.Sequential(*first, nn.ZeroPad2d(1), nn.Conv2d(c, c, 3), nn.BatchNorm2d(c))
        changed = nn.Conv2d(c_in, c, 1, stride), nn.BatchNorm2d(c)
        self.shortcut = nn.Identity() if (c_in, stride) == (c, 1) else nn.Sequential(*changed)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(sum([self.main(x), self.shortcut(x)]))


def test_a_block_that_pads_by_itself_passes() -> None:
    assert lab.check(Padded, "4a").passed


def test_the_head_of_exercise_6_needs_no_bias(untrained: None) -> None:
    head = nn.Conv2d(64, 10, 1, bias=False), nn.AdaptiveMaxPool2d(1), nn.Flatten()
    assert lab.check(lambda: nn.Sequential(*features(), *head), "6").passed
