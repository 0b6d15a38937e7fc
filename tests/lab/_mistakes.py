"""Typical wrong answers to the exercises, each with the hint that it should get."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.lab._answers import Net1a, Net1b, Net2, Net3, ResidualBlock, ResNet18


class Mistake(NamedTuple):
    exercise: str
    name: str
    answer: Any
    hint: str


def network(
    norm: str = "", relu: tuple[bool, bool, bool] = (True, True, True), padding: int = 0, **sizes: Any
) -> nn.Sequential:
    """The network of exercise 1a or 2, with changes."""
    n1, n2, n3 = sizes.get("n", (32, 64, 128))
    kernel = sizes.get("kernel", 3)
    layers: list[nn.Module] = []
    for c_in, c_out, k, active in ((3, n1, kernel, relu[0]), (n1, n2, 3, relu[1])):
        active_layers = [nn.ReLU()] if active else []
        stages = {
            "": [*active_layers, nn.MaxPool2d(2)],
            "right": [nn.BatchNorm2d(c_out), *active_layers, nn.MaxPool2d(2)],
            "after relu": [*active_layers, nn.BatchNorm2d(c_out), nn.MaxPool2d(2)],
            "after pool": [*active_layers, nn.MaxPool2d(2), nn.BatchNorm2d(c_out)],
        }
        layers += [nn.Conv2d(c_in, c_out, k, padding=padding), *stages[norm]]
    side = 8 if padding else 6
    layers += [nn.Flatten(), nn.Linear(sizes.get("inputs", n2 * side**2), n3)]
    layers += [nn.ReLU(), nn.Linear(n3, 10)] if relu[2] else [nn.Linear(n3, 10)]
    return nn.Sequential(*layers, *sizes.get("end", ()))


def no_bias() -> nn.Sequential:
    changed = network()
    changed[0] = nn.Conv2d(3, 32, 3, bias=False)
    return changed


def features() -> list[nn.Module]:
    """Exercise 2 up to the second pooling."""
    return list(network(norm="right"))[:8]


class PlainList(Net1a):
    def __init__(self) -> None:
        super().__init__()
        del self.conv1, self.conv2
        self.layers = [nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.max_pool2d(F.relu(layer(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class UnusedResult(Net1a):
    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images)
        F.relu(x)
        x = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(x, 2))), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class UnusedLayer(Net1a):
    def __init__(self) -> None:
        super().__init__()
        self.fc3 = nn.Linear(10, 10)


class Views(Net1a):
    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(images)), 2))), 2)
        return self.fc2(F.relu(self.fc1(x.view(-1, 64 * 6 * 6))))


class NoReturn(Net1a):
    def forward(self, images: Tensor) -> Tensor:  # type: ignore[return]
        super().forward(images)


class ThroughNumpy(Net1a):
    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor(np.asarray(super().forward(images).detach()))


class NoSuper(nn.Module):
    def __init__(self) -> None:
        pass


class Zeros(Net1a):
    def __init__(self) -> None:
        super().__init__()
        for each in self.parameters():
            nn.init.zeros_(each)


class OneNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.norm = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3), nn.BatchNorm2d(32)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv1(x))), 2)
        return F.relu(self.norm(self.conv2(x)))


class SqueezesAll(Net3):
    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc2(F.relu(self.fc1(self.pool(x).squeeze())))


Join = Callable[[Tensor, Tensor], Tensor]


def block(join: Join, norm: bool = True) -> type[ResidualBlock]:
    """A residual block that combines the result and the shortcut with ``join``."""

    class Block(ResidualBlock):
        def forward(self, x: Tensor) -> Tensor:
            shortcut = x if self.down is None else self.down(x)
            out = F.relu(self.bn1(self.conv1(x)))
            return join((self.bn2 if norm else self.bn1)(self.conv2(out)), shortcut)

    return Block


class FixedChannels(ResidualBlock):
    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride)
        self.conv1 = nn.Conv2d(16, 16, 3, padding=1)


def resnet(kernel: int = 3, stride: int = 2, blocks: int = 8) -> ResNet18:
    """ResNet-18 with changes."""
    changed = ResNet18()
    changed.conv = nn.Conv2d(3, 64, kernel, 2, kernel // 2, bias=False)
    changed.blocks[2] = ResidualBlock(64, 128, stride)
    if blocks < 8:
        changed.blocks = changed.blocks[:blocks]
        changed.fc = nn.Linear(256, 10)
    return changed


def max_head() -> ResNet18:
    changed = ResNet18()
    changed.conv = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    changed.blocks.append(nn.AdaptiveMaxPool2d(1))
    return changed


class Products(Net1a):
    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(images)), 2))), 2)
        return self.fc2(F.relu(x.flatten(1) @ self.fc1.weight.T + self.fc1.bias))


def picked(log_p: Tensor, target: Tensor) -> Tensor:
    return log_p[torch.arange(len(target)), target]


def filters(model: nn.Module) -> list[Tensor]:
    return [each for each in model.parameters() if each.ndim == 4]


def exponentials(p: Tensor, t: Tensor) -> Tensor:
    return -picked((p.exp() / p.exp().sum(1, keepdim=True)).log(), t).mean()


MISTAKES = [
    Mistake("1a", "softmax", lambda: network(end=[nn.Softmax(1)]), "ends with softmax: which function does the loss"),
    Mistake("1a", "relu at end", lambda: network(end=[nn.ReLU()]), "can a logit then be negative?"),
    Mistake("1a", "no relu", lambda: network(relu=(True, False, True)), "there is no ReLU after `3 (Conv2d)`"),
    Mistake("1a", "no relu in head", lambda: network(relu=(True, True, False)), "there is no ReLU after `7 (Linear)`"),
    Mistake("1a", "padding", lambda: network(padding=1), "has padding 1, which makes maps of side 32 from maps of"),
    Mistake(
        "1a",
        "zeros around",
        lambda: nn.Sequential(nn.ZeroPad2d(1), *network(inputs=3136)),
        "does the question pad them?",
    ),
    Mistake("1a", "flatten all", lambda: nn.Sequential(*network()[:6], nn.Flatten(0), *network()[7:]), "whole batch"),
    Mistake("1a", "product", Products, "recognizes a fully connected layer only as nn.Linear or F.linear"),
    Mistake("1a", "n1", lambda: network(n=(16, 64, 128)), "`0 (Conv2d)` has 16 filters: compare with the number"),
    Mistake("1a", "n3", lambda: network(n=(32, 64, 100)), "`7 (Linear)` has 100 units: compare with the number"),
    Mistake("1a", "n3 in parameters", lambda: network(n=(32, 64, 100)), "has 230,500 parameters instead of 295,040"),
    Mistake("1a", "all parameters", Net1b, "the network has 1,258,122 parameters, that of the exercise 315,722"),
    Mistake("1a", "inputs", lambda: network(inputs=1600), "is made for 1600 inputs, but an image has (2304,) there"),
    Mistake("1a", "plain list", PlainList, "a layer runs (conv, 3, 32) that does not belong to the network"),
    Mistake("1a", "unused result", UnusedResult, "the result of `relu` (after `conv1`) is not used"),
    Mistake("1a", "unused layer", UnusedLayer, "no gradient reaches `fc3`: is it used in forward?"),
    Mistake("1a", "view", Views, "which view() cannot flatten: which other functions change a shape?"),
    Mistake("1a", "no return", NoReturn, "Net1a.forward returns None: does it end with a return?"),
    Mistake("1a", "numpy", ThroughNumpy, "look for .data, numpy, item() or torch.tensor(...) in forward"),
    Mistake("1a", "no super", NoSuper, "Net1a.__init__ has to call super().__init__() first"),
    Mistake("1a", "norm", lambda: network(norm="right"), "is a BatchNorm that the question does not have there"),
    Mistake("1a", "zeros", Zeros, "of 64 images by heart: look at how the weights start"),
    Mistake("1a", "no class", 5, "Net1a is of type int, not a class or a network"),
    Mistake("1a", "arguments", lambda n: n, "Net1a() does not accept these arguments"),
    Mistake("1a", "no bias", no_bias, "`0 (Conv2d)` has no bias, and no BatchNorm follows"),
    Mistake("1c", "kernel", Net1b, "have size 3: compare with the size in the question"),
    Mistake("1c", "n3", lambda: network(n=(64, 128, 128), kernel=5), "has 128 units: compare with the number"),
    Mistake("2", "none", Net1a, "there is no BatchNorm after `conv1`"),
    Mistake("2", "after relu", lambda: network(norm="after relu"), "comes after the ReLU: which output should"),
    Mistake("2", "after pool", lambda: network(norm="after pool"), "comes after the max pooling: which output should"),
    Mistake("2", "one for both", OneNorm, "`norm` is made for 32 channels, but its input has shape (64, 13, 13)"),
    Mistake("3", "flatten", Net2, "still gets every position of the maps: what should replace the flattening?"),
    Mistake("3", "squeeze", SqueezesAll, "has shape (10,): which dimension does squeeze() remove as well?"),
    Mistake("4a", "no sum", block(lambda out, x: F.relu(out)), "the input is not added to the result of the second"),
    Mistake("4a", "sum after", block(lambda out, x: F.relu(out) + x), "the input is added after the last ReLU"),
    Mistake("4a", "no last relu", block(lambda out, x: out + x), "no ReLU follows the sum"),
    Mistake("4a", "relu twice", block(lambda out, x: F.relu(F.relu(out) + x)), "a ReLU comes before the sum"),
    Mistake("4a", "added to itself", block(lambda out, x: F.relu(out + out)), "the input is not added to the result"),
    Mistake("4a", "flat", block(lambda out, x: F.relu(out + x).flatten(1)), "shape (4, 1024) instead of (4, 16, 8, 8)"),
    Mistake("4a", "cat", block(lambda out, x: F.relu(torch.cat([out, x], 1))), "the question adds them"),
    Mistake("4a", "one norm", block(lambda out, x: F.relu(out + x), norm=False), "`bn1` is used more than once"),
    Mistake("4a", "fixed", FixedChannels, "with 24 channels, ResidualBlock(24, 24, 1): `conv1` is made for 16"),
    Mistake("4b", "kernel", lambda: resnet(kernel=7), "the first filters (`conv`) have size 7x7: which size does"),
    Mistake("4b", "stride", lambda: resnet(stride=1), "in block 3 (stage 2 of 4): `blocks.2.conv1` has stride 1"),
    Mistake("4b", "max", max_head, "adaptive_max_pool2d (after `blocks.7.bn2`) is an operation"),
    Mistake("4b", "blocks", lambda: resnet(blocks=6), "6 sums of two paths were found, one for each residual block"),
    Mistake(
        "5", "softmax before", lambda p, t: -picked(p.softmax(1).log_softmax(1), t).mean(), "of softmax applied twice"
    ),
    Mistake("5", "sum", lambda p, t: -picked(p.log_softmax(1), t).sum(), "64 times too large for 64 images: sum or"),
    Mistake("5", "sign", lambda p, t: picked(p.log_softmax(1), t).mean(), "the value has the wrong sign"),
    Mistake("5", "no softmax", lambda p, t: -picked(p, t).mean(), "the value is that of the logits themselves"),
    Mistake("5", "log of logits", lambda p, t: -picked(p.log(), t).mean(), "a logit may be negative, what is its log"),
    Mistake("5", "images", lambda p, t: -picked(p.log_softmax(0), t).mean(), "softmax is taken over the images"),
    Mistake("5", "no log", lambda p, t: -picked(p.softmax(1), t).mean(), "where is the logarithm?"),
    Mistake("5", "base", lambda p, t: -picked(p.softmax(1).log2(), t).mean(), "a logarithm with another base than e"),
    Mistake("5", "all classes", lambda p, t: -p.log_softmax(1).mean(), "which one of the 10 logarithms of an image"),
    Mistake("5", "one-hot", lambda p, t: -(t * p.log_softmax(1)).sum(1).mean(), "target holds class indices, of shape"),
    Mistake("5", "mean of one-hot", lambda p, t: -(F.one_hot(t) * p.log_softmax(1)).mean(), "10 times too small"),
    Mistake("5", "unstable", exponentials, "for logits around 1000 the value is nan: what is exp(1000)"),
    Mistake("5", "log of softmax", lambda p, t: -picked(p.softmax(1).log(), t).mean(), "the value is inf: what is exp"),
    Mistake("5", "epsilon", lambda p, t: -picked((p.softmax(1) + 1e-9).log(), t).mean(), "what does a small number"),
    Mistake("5", "item", lambda p, t: -picked(p.log_softmax(1), t).mean().item(), "without item()"),
    Mistake("5", "detach", lambda p, t: -picked(p.detach().log_softmax(1), t).mean(), "no gradient can pass"),
    Mistake("5", "no mean", lambda p, t: -picked(p.log_softmax(1), t), "a loss for each image, of shape (64,)"),
    Mistake("5", "64", lambda p, t: -picked(p.log_softmax(1), t).sum() / 64, "is a size written as a number"),
    Mistake("5", "classes", lambda p, t: -(F.one_hot(t) * p.log_softmax(1)).sum(1).mean(), "or taken from the classes"),
    Mistake("5", "PyTorch's", lambda p, t: nn.CrossEntropyLoss()(p, t), "is PyTorch's own: write the formula"),
    Mistake("6", "linear", Net2, "`fc.0 (Linear)` is still a fully connected layer"),
    Mistake("6", "6x6", lambda: nn.Sequential(*features(), nn.Conv2d(64, 10, 6), nn.Flatten()), "cover the whole map"),
    Mistake(
        "6",
        "relu at end",
        lambda: nn.Sequential(*features(), nn.Conv2d(64, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "can a logit then be negative?",
    ),
    Mistake(
        "6",
        "no relu",
        lambda: nn.Sequential(
            *features(), nn.Conv2d(64, 99, 3), nn.Conv2d(99, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ),
        "there is no ReLU after `8 (Conv2d)`",
    ),
    Mistake("7", "last first", lambda m: (filters(m)[-1][:8], filters(m)[-1][:8]), "filters of `features.3`"),
    Mistake("7", "swapped", lambda m: (filters(m)[-1][:8], filters(m)[0][:8]), "the last convolution are swapped"),
    Mistake("7", "all", lambda m: (filters(m)[0], filters(m)[-1][:8]), "all filters, of shape (32, 3, 3, 3)"),
    Mistake("7", "linear", lambda m: (filters(m)[0][:8], list(m.parameters())[-2][:8]), "how many dimensions have"),
    Mistake("7", "channels", lambda m: (filters(m)[0][:8], filters(m)[-1][:, :8]), "which dimension counts"),
    Mistake("7", "last 8", lambda m: (filters(m)[0][-8:], filters(m)[-1][-8:]), "which filters are the first 8?"),
    Mistake("7", "one", lambda m: filters(m)[0], "you return Tensor (32, 3, 3, 3)"),
]
