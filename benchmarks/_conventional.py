"""The other side, a conventional script: torchvision's transforms per image, DataLoader, NCHW float32, a plain loop.

It runs in a separate process, which waits during measurements of our side, because our side changes process-wide
settings that a plain script does not: the allocator keeps freed memory, and cuDNN searches for the fastest algorithms.
"""

import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks._measure import now, seconds_of
from cifar_cnn.data import CIFAR10DataModule, ImageSet, Source
from cifar_cnn.data.sources import Split

MeanStd = tuple[Sequence[float], Sequence[float]]
Transform = Callable[[Image.Image], Tensor]
WORKERS = (0, 2)
EVAL_BATCH_SIZE = 100


class Images(Dataset[tuple[Tensor, int]]):
    """A dataset like torchvision.datasets.CIFAR10: an array (N, H, W, 3), from which Pillow images are made.

    Args:
        image_set: the images.
        transform: applied to each Pillow image.
    """

    def __init__(self, image_set: ImageSet, transform: Transform) -> None:
        self.data = np.ascontiguousarray(image_set.images.permute(0, 2, 3, 1).numpy())
        self.targets = image_set.labels.tolist()
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]

    def __len__(self) -> int:
        return len(self.targets)


def train_transform(size: int, mean_std: MeanStd, augmentation: str = "") -> Transform:
    """Crop with 4 pixels of padding, flip, convert to float in [0, 1], normalize.

    The transform named by ``augmentation`` follows the flip, as in torchvision's references; RandomErasing comes last.
    """
    of_pixels = {
        "RandAugment": v2.RandAugment,
        "TrivialAugmentWide": v2.TrivialAugmentWide,
        "ColorJitter": partial(v2.ColorJitter, 0.4, 0.4, 0.4),
    }
    return transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            *([of_pixels[augmentation]()] if augmentation in of_pixels else []),
            transforms.ToTensor(),
            transforms.Normalize(*mean_std),
            *([v2.RandomErasing()] if augmentation == "RandomErasing" else []),
        ]
    )


class MixingCollate:
    """Collates a batch and mixes its images, as in torchvision's documentation."""

    def __init__(self, augmentation: str) -> None:
        self.mix = {"MixUp": v2.MixUp, "CutMix": v2.CutMix}[augmentation](num_classes=10)

    def __call__(self, batch: list[Any]) -> Any:
        return self.mix(*default_collate(batch))


def eval_transform(mean_std: MeanStd) -> Transform:
    """Convert to float in [0, 1], normalize."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(*mean_std)])


class Script:
    """The conventional script: each of its tasks returns the seconds that it took.

    Args:
        source: source of the images.
        mean_std: mean and standard deviation of the images.
        backbone: the network.
        device: device for training.
    """

    def __init__(self, source: Source, mean_std: MeanStd, backbone: nn.Module, device: torch.device) -> None:
        self.source = source
        self.mean_std = mean_std
        self.device = device
        self.backbone = backbone.to(memory_format=torch.contiguous_format).to(device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.backbone.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.total_loss = 0.0
        self.correct = 0
        self._loaded: dict[tuple[Split, str], Images] = {}

    def images(self, split: Split, augmentation: str = "") -> Images:
        """The images of a split, augmented if it is ``train``."""
        if (split, augmentation) not in self._loaded:
            image_set = self.source.load(split)
            transform = eval_transform(self.mean_std)
            if split == "train":
                transform = train_transform(image_set.images.shape[-1], self.mean_std, augmentation)
            self._loaded[split, augmentation] = Images(image_set, transform)
        return self._loaded[split, augmentation]

    def load(self, workers: int, batch_size: int, steps: int, augmentation: str = "") -> float:
        """Load training batches; ``augmentation`` names one more augmentation."""
        return self._each_batch(workers, batch_size, steps, lambda images, labels: None, augmentation)

    def train(self, workers: int, batch_size: int, steps: int) -> float:
        """Load training batches and train on them, with the usual running loss and accuracy."""
        self.backbone.train()
        return self._each_batch(workers, batch_size, steps, self._step)

    def _each_batch(
        self,
        workers: int,
        batch_size: int,
        steps: int,
        work: Callable[[Tensor, Tensor], object],
        augmentation: str = "",
    ) -> float:
        # Each measurement creates a new iterator, since idle workers would load further batches and disturb the other
        # side. The workers' start and the first batch are not timed, since they would dominate a short measurement.
        is_mixing = augmentation in ("MixUp", "CutMix")
        images = self.images("train", "" if is_mixing else augmentation)
        collate = MixingCollate(augmentation) if is_mixing else None
        sampler = RandomSampler(images, num_samples=(steps + 1) * batch_size)
        pinned = self.device.type == "cuda"
        loader = DataLoader(
            images, batch_size, False, sampler, num_workers=workers, collate_fn=collate, pin_memory=pinned
        )
        batches = iter(loader)
        next(batches)
        start = now()
        for pixels, labels in islice(batches, steps):
            work(pixels, labels)
        return now() - start

    def _step(self, images: Tensor, labels: Tensor) -> None:
        images, labels = images.to(self.device), labels.to(self.device)
        self.optimizer.zero_grad()
        logits = self.backbone(images)
        loss = self.criterion(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.total_loss += loss.item()
        self.correct += int((logits.argmax(1) == labels).sum().item())

    def test(self, workers: int, n: int) -> float:
        """Evaluate on the first ``n`` test images; the start of the workers is included."""
        images = self.images("test")
        return self._evaluate(torch.utils.data.Subset(images, range(min(n, len(images)))), workers)

    def test_files(self, workers: int, folder: str) -> float:
        """Evaluate on image files in class folders; the start of the workers is included."""
        return self._evaluate(ImageFolder(folder, eval_transform(self.mean_std)), workers)

    def _evaluate(self, dataset: Dataset[tuple[Tensor, int]], workers: int) -> float:
        @torch.no_grad()
        def work() -> None:
            for images, labels in DataLoader(dataset, EVAL_BATCH_SIZE, num_workers=workers):
                images, labels = images.to(self.device), labels.to(self.device)
                self.correct += int((self.backbone(images).argmax(1) == labels).sum().item())

        self.backbone.eval()
        return seconds_of(work)


class Conventional:
    """The process in which the conventional script runs.

    Args:
        threads: number of torch's threads in it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.started = False
        # A new interpreter rather than a fork of this process, so that it inherits none of this process's settings.
        # Where there is a fork server, it imports the libraries once for all such processes.
        served = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if served else "spawn")
        context.set_forkserver_preload(["benchmarks._ours"])
        self._pool = ProcessPoolExecutor(1, context)

    def __enter__(self) -> "Conventional":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start(self, data: CIFAR10DataModule, backbone: nn.Module, device: torch.device) -> None:
        """Send the images and a copy of the network to the process."""
        # Pickled by value, because multiprocessing would share the memory of the tensors.
        state = pickle.dumps((data.source, data.mean_std, backbone, device))
        self._pool.submit(_start, state, multiprocessing.get_start_method()).result()
        self.started = True

    def seconds(self, work: str, *args: Any) -> float:
        """Let the script do one of its tasks; return the seconds measured there."""
        return self._pool.submit(_work, work, args, self.threads).result()


_script: Script | None = None


def _start(state: bytes, start_method: str) -> None:
    global _script
    # DataLoader workers start with the default method, as in any script, although this process was spawned.
    multiprocessing.set_start_method(start_method, force=True)
    _script = Script(*pickle.loads(state))


def _work(work: str, args: tuple[Any, ...], threads: int) -> float:
    torch.set_num_threads(threads)
    return getattr(_script, work)(*args)
