"""The other side, as everyone writes it: torchvision's transforms an image, DataLoader, NCHW float32, a plain loop."""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from benchmarks._measure import now
from cifar_cnn.data import ImageSet

MeanStd = tuple[Sequence[float], Sequence[float]]


class Images(Dataset[tuple[Tensor, int]]):
    """As torchvision.datasets.CIFAR10: an array (N, H, W, 3) of which each image becomes one of Pillow's.

    Args:
        image_set: the images.
        transform: of a Pillow image.
    """

    def __init__(self, image_set: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self.data = np.ascontiguousarray(image_set.images.permute(0, 2, 3, 1).numpy())
        self.targets = image_set.labels.tolist()
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]

    def __len__(self) -> int:
        return len(self.targets)


def train_transform(size: int, mean_std: MeanStd) -> Callable[[Image.Image], Tensor]:
    """Crop with 4 pixels of padding, flip, to float in [0, 1], normalise."""
    return transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(*mean_std),
        ]
    )


def eval_transform(mean_std: MeanStd) -> Callable[[Image.Image], Tensor]:
    """To float in [0, 1], normalise."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(*mean_std)])


class Batches:
    """Turns over batches of a shuffled DataLoader.

    Each turn starts an iteration of its own, since workers that went on loading would disturb the other side. Their
    start, and one batch with it, comes before the clock, so that a short turn does not make them look slow.

    Args:
        images: the images.
        batch_size: images a batch.
        workers: processes that load.
    """

    def __init__(self, images: Images, batch_size: int, workers: int) -> None:
        self.images = images
        self.batch_size = batch_size
        self.workers = workers

    def seconds(self, steps: int, work: Callable[[Tensor, Tensor], object]) -> float:
        """Seconds for ``work`` on each of ``steps`` batches, and for loading these."""
        sampler = RandomSampler(self.images, num_samples=(steps + 1) * self.batch_size)
        pinned = torch.cuda.is_available()
        loader = DataLoader(self.images, self.batch_size, sampler=sampler, num_workers=self.workers, pin_memory=pinned)
        batches = iter(loader)
        next(batches)
        start = now()
        for images, labels in islice(batches, steps):
            work(images, labels)
        return now() - start


class Training:
    """The plain loop's step.

    Args:
        backbone: trained as it is: NCHW, float32.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone.train()
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.backbone.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.device = next(backbone.parameters()).device
        self.total_loss = 0.0
        self.correct = 0

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step, with the running loss and accuracy that such loops show."""
        images, labels = images.to(self.device), labels.to(self.device)
        self.optimizer.zero_grad()
        logits = self.backbone(images)
        loss = self.criterion(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.total_loss += loss.item()
        self.correct += (logits.argmax(1) == labels).sum().item()


@torch.no_grad()
def evaluate(backbone: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> float:
    """The plain evaluation loop; returns the accuracy."""
    device = next(backbone.parameters()).device
    backbone.eval()
    correct, total = 0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        correct += (backbone(images).argmax(1) == labels).sum().item()
        total += len(labels)
    return correct / total
