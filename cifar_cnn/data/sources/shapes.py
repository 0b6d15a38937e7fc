"""Images of shapes, drawn by code."""

import numpy as np
import torch

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.memory import check_memory
from cifar_cnn.base.shape_drawing import SHAPES, draw_shapes
from cifar_cnn.data.images import ImageSet
from cifar_cnn.data.sources.base import Source, Split

PORTION = 1000  # images drawn at once, because the float images of a large set would not fit in memory


class Shapes(Source):
    """Ten shapes drawn by code, without a download.

    Position, size, rotation, colors and noise are random. Foreground and background colors have the same
    distribution, so that no single pixel contains information about the class.

    Args:
        train_size: number of training images, balanced between the classes.
        test_size: number of test images, balanced between the classes.
        image_size: pixels per side.
        noise: standard deviation of the pixel noise; pixel values range from 0 to 255.
        seed: seed of the drawing. Training and test images come from different random streams.

    Raises:
        InputError: a value is out of range, or the images do not fit in memory.
    """

    class_names = tuple(SHAPES)

    def __init__(
        self,
        train_size: int = 10_000,
        test_size: int = 2_000,
        image_size: int = 32,
        noise: float = 24.0,
        seed: int = 0,
    ) -> None:
        if min(train_size, test_size) < len(SHAPES):
            raise InputError(f"Shapes needs {len(SHAPES)} or more images per split, not {train_size} and {test_size}")
        if noise < 0 or image_size < 8:
            raise InputError(f"Shapes needs noise >= 0 and image_size >= 8, not {noise} and {image_size}")
        n = max(train_size, test_size)
        # Drawing a portion takes about a dozen float64 arrays, some of them with three channels.
        check_memory(n, image_size, more=min(n, PORTION) * image_size**2 * 8 * 20)
        self.sizes = {"train": train_size, "test": test_size}
        self.image_size = image_size
        self.noise = noise
        self.seed = seed

    def load(self, split: Split) -> ImageSet:
        """Draw the images: (N, 3, image_size, image_size)."""
        rng = np.random.default_rng([self.seed, ("train", "test").index(split)])
        labels = np.arange(self.sizes[split]) % len(SHAPES)
        portions = np.array_split(labels, -(-len(labels) // PORTION))
        images = np.concatenate([draw_shapes(portion, self.image_size, self.noise, rng) for portion in portions])
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), self.class_names)
