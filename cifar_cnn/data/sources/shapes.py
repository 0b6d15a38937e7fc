"""Images drawn by code."""

import numpy as np
import torch

from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split
from cifar_cnn.errors import InputError
from cifar_cnn.image_files.memory import check_memory


class Shapes(Source):
    """Ten shapes drawn by code: they need no download.

    Place, size, rotation and colours are random, and so is the noise. Foreground and background colours come from the
    same distribution: no single pixel says anything about the class.

    Args:
        train_size: number of training images, the same for each class.
        test_size: number of test images, the same for each class.
        image_size: pixels a side.
        noise: standard deviation of the noise on each pixel, in a range of 255.
        seed: seed of the drawing. Training and test images come from different streams.

    Raises:
        InputError: a value is out of range, or the images take more memory than there is.
    """

    class_names = ("disc", "square", "triangle", "ring", "frame", "plus", "star", "crescent", "stripes", "checkers")

    def __init__(
        self,
        train_size: int = 10_000,
        test_size: int = 2_000,
        image_size: int = 32,
        noise: float = 24.0,
        seed: int = 0,
    ) -> None:
        if min(train_size, test_size) < len(self.class_names):
            raise InputError(
                f"Shapes needs {len(self.class_names)} or more images per split, not {train_size} and {test_size}"
            )
        if noise < 0 or image_size < 8:
            raise InputError(f"Shapes needs noise >= 0 and image_size >= 8, not {noise} and {image_size}")
        n = max(train_size, test_size)
        # A portion of 1000 images exists as about a dozen float64 arrays at once, some with three channels.
        check_memory(n, image_size, more=min(n, 1000) * image_size**2 * 8 * 20)
        self.sizes = {"train": train_size, "test": test_size}
        self.image_size = image_size
        self.noise = noise
        self.seed = seed

    def load(self, split: Split) -> ImageSet:
        """Draw the images: (N, 3, image_size, image_size)."""
        rng = np.random.default_rng([self.seed, ("train", "test").index(split)])
        labels = np.arange(self.sizes[split]) % len(self.class_names)
        # Portions, because the float images of a large set would fill the memory.
        portions = [self._draw(portion, rng) for portion in np.array_split(labels, -(-len(labels) // 1000))]
        return ImageSet(torch.from_numpy(np.concatenate(portions)), torch.from_numpy(labels), self.class_names)

    def _draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, size = len(labels), self.image_size
        # Coordinates of each pixel relative to the shape, whose radius is 1.
        radius = rng.uniform(0.45, 0.8, n)
        center = rng.uniform(-1, 1, (n, 2)) * (1 - 0.8 * radius)[:, None]
        turn = rng.uniform(0, 2 * np.pi, n)
        axis = (np.arange(size) + 0.5) * 2 / size - 1
        dy, dx = np.broadcast_arrays(axis[:, None] - center[:, 0, None, None], axis[None, :] - center[:, 1, None, None])
        cos, sin = (f(turn)[:, None, None] / radius[:, None, None] for f in (np.cos, np.sin))
        x, y = cos * dx + sin * dy, cos * dy - sin * dx

        inside = np.zeros((n, size, size))
        for label, name in enumerate(self.class_names):
            rows = labels == label
            distance = _SHAPES[name](x[rows], y[rows])
            # A soft edge of one pixel.
            inside[rows] = (0.5 - distance * radius[rows, None, None] * size / 2).clip(0, 1)

        colors = rng.uniform(0, 255, (n, 2, 3))
        colors[:, 1] = (colors[:, 0] + rng.uniform(70, 185, (n, 3))) % 255  # the two colours differ
        colors = np.take_along_axis(colors, rng.permuted(np.tile([0, 1], (n, 1)), axis=1)[:, :, None], axis=1)
        front, back = colors[:, 0, :, None, None], colors[:, 1, :, None, None]
        picture = back + (front - back) * inside[:, None] + rng.normal(0, self.noise, (n, 3, size, size))
        return picture.clip(0, 255).astype(np.uint8)


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    return np.maximum(abs(x) - width, abs(y) - height)


def _polygon(x: np.ndarray, y: np.ndarray, sides: int, depth: float) -> np.ndarray:
    """Distance to a star of ``sides`` points whose inner corners lie at ``depth`` of the radius (1: a polygon)."""
    sector = 2 * np.pi / sides
    angle = abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)
    r = np.hypot(x, y)
    px, py = r * np.cos(angle), r * np.sin(angle)
    # The edge from the tip (1, 0) to the inner corner at half a sector.
    inner = depth * np.cos(sector / 2)
    qx, qy = inner * np.cos(sector / 2), inner * np.sin(sector / 2)
    return ((px - 1) * qy - py * (qx - 1)) / np.hypot(qy, qx - 1)


# Signed distances (negative inside) in a frame where the shape has radius 1.
_SHAPES = {
    "disc": lambda x, y: np.hypot(x, y) - 0.85,
    "square": lambda x, y: _box(x, y, 0.75, 0.75),
    "triangle": lambda x, y: _polygon(x, y, 3, 1.0),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.7) - 0.2,
    "frame": lambda x, y: abs(_box(x, y, 0.6, 0.6)) - 0.17,
    "plus": lambda x, y: np.minimum(_box(x, y, 0.95, 0.25), _box(x, y, 0.25, 0.95)),
    "star": lambda x, y: _polygon(x, y, 5, 0.5),
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.9, 0.75 - np.hypot(x - 0.45, y)),
    "stripes": lambda x, y: np.maximum(_box(x, y, 0.85, 0.85), 0.17 - abs(y % 0.68 - 0.34)),
    "checkers": lambda x, y: np.maximum(_box(x, y, 0.85, 0.85), np.sign(np.sin(3.7 * x) * np.sin(3.7 * y)) * 0.05),
}
