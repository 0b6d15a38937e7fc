"""Correct answers to the exercises, as a student might write them.

The module is private so that its ResNet18 does not make the short name of the package's ResNet18 ambiguous.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net1a(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(64 * 6 * 6, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Net1b(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 128, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(128 * 6 * 6, 256), nn.ReLU(), nn.Linear(256, 10)),
        )


class Net1c(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.Conv2d(64, 128, 3)
        )
        self.out = nn.Linear(256, 10)  # created before self.hidden, but runs after it
        self.hidden = nn.Linear(128 * 6 * 6, 256)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.flatten(F.max_pool2d(self.features(images).clamp(min=0), kernel_size=2), 1)
        return self.out(self.hidden(x).relu())


class Net2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3, bias=False)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(32), nn.BatchNorm2d(64)])
        self.fc = nn.Sequential(nn.Linear(64 * 6 * 6, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(torch.relu(norm(conv(x))), 2)
        return self.fc(x.reshape(len(x), -1))


class Net3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64)
        self.pool = nn.AdaptiveMaxPool2d((1, 1))
        self.fc1, self.fc2 = nn.Linear(64, 128), nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc2(F.relu(self.fc1(self.pool(x).squeeze((2, 3)))))


class ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding="same")
        self.bn2 = nn.BatchNorm2d(channels)
        self.down: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.down = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.down is None else self.down(x)
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += shortcut
        return F.relu(out)


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(64)
        blocks, c_in = [], 64
        for channels in (64, 128, 256, 512):
            blocks += [ResidualBlock(c_in, channels, 1 if c_in == channels else 2), ResidualBlock(channels, channels)]
            c_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(512, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn(self.conv(images))), 3, 2, 1)
        return self.fc(F.adaptive_avg_pool2d(self.blocks(x), 1).flatten(1))


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    shifted = prediction - prediction.max(dim=1, keepdim=True).values
    log_p = shifted - shifted.exp().sum(1, keepdim=True).log()
    return -log_p[torch.arange(len(target)), target].mean()


class Net6(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Conv2d(128, 10, 1)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean((2, 3))


def first_and_last_filters(model: nn.Module) -> tuple[Tensor, Tensor]:
    filters = [each for each in model.parameters() if each.ndim == 4]
    return filters[0][:8], filters[-1][:8]
