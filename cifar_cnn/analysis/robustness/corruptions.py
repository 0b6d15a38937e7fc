"""The common corruptions of a batch of images, at five severities.

They follow CIFAR-10-C (Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, 2019, https://arxiv.org/abs/1903.12261; repository hendrycks/robustness, make_cifar_c.py) and use its
parameters, but other libraries and random numbers, so accuracies are close to those on CIFAR-10-C, not equal to them.
A function that differs by more says so. Glass blur, snow, frost and spatter are not included. Sizes in pixels are for
images of 32x32.

Each function takes images as floats in [0, 1], (N, C, H, W), a severity from 1 to 5 and a generator, and returns images
that may leave [0, 1].
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur as blurred

from cifar_cnn.analysis.robustness.warping import elastic, shifted, zoomed

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(images: Tensor, name: str, severity: int, generator: Generator) -> Tensor:
    """Corrupt uint8 images of (N, 3, H, W).

    Args:
        images: on the CPU.
        name: a corruption in :data:`CORRUPTIONS`.
        severity: from 1 to 5.
        generator: source of the random numbers.
    """
    changed = CORRUPTIONS[name](images.float() / 255, severity, generator)
    return (changed * 255).round().clamp(0, 255).byte()


def gaussian_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add normally distributed noise."""
    sigma = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return images + sigma * torch.randn(images.shape, generator=generator)


def shot_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Replace each value by a number of photons, which is Poisson distributed."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    return torch.poisson(images * photons, generator=generator) / photons


def impulse_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Set some values to 0 and as many to 1."""
    amount = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    place = torch.rand(images.shape, generator=generator)
    return torch.where(place < amount, (place < amount / 2).float(), images)


def defocus_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur with a disc."""
    radius, alias = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity - 1]
    axis = torch.arange(-2.0, 3.0)
    disc = (axis[:, None] ** 2 + axis**2 <= radius**2).float()
    kernel = blurred((disc / disc.sum())[None], [3, 3], [alias])
    channels = images.shape[1]
    padded = functional.pad(images, (2, 2, 2, 2), "reflect")
    return functional.conv2d(padded, kernel.expand(channels, 1, 5, 5), groups=channels)


def gaussian_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur with a normal distribution."""
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
    return blurred(images, [9, 9], [sigma])


def motion_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur along a line at a random angle from -45 to 45 degrees, to one side."""
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity - 1]
    angle = (torch.rand(len(images), generator=generator) - 0.5) * (torch.pi / 2)
    direction = torch.stack([angle.cos(), angle.sin()], 1)
    weights = torch.exp(-(torch.arange(2 * radius + 1.0) ** 2) / (2 * sigma**2))
    weights = weights[weights > 1e-3] / weights[weights > 1e-3].sum()
    return torch.stack([weight * shifted(images, i * direction) for i, weight in enumerate(weights)]).sum(0)


def zoom_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Average the image and its zooms by up to 5 to 25 %."""
    steps = (6, 11, 16, 21, 26)[severity - 1]
    zooms = [zoomed(images, 1 + 0.01 * step) for step in range(1, steps)]
    return torch.stack([images, images, *zooms]).mean(0)


def fog(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add a random map that is brighter in some parts of the image, then reduce the contrast.

    The map sums random grids of 2x2, 4x4, ... points; the source uses the diamond-square algorithm.
    """
    strength, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity - 1]
    n, _, height, width = images.shape
    clouds, scale, points = torch.zeros(n, 1, height, width), 1.0, 2
    while points <= max(height, width):
        grid = torch.rand(n, 1, points, points, generator=generator)
        clouds += scale * functional.interpolate(grid, (height, width), mode="bilinear", align_corners=True)
        scale, points = scale / decay, 2 * points
    low, high = clouds.amin((2, 3), keepdim=True), clouds.amax((2, 3), keepdim=True)
    brightest = images.amax((1, 2, 3), keepdim=True)
    foggy = images + strength * (clouds - low) / (high - low)
    return foggy * brightest / (brightest + strength)


def brightness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add to the value of each pixel in HSV."""
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-6)), raised)


def contrast(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Bring each channel nearer to its mean."""
    factor = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    mean = images.mean((2, 3), keepdim=True)
    return mean + factor * (images - mean)


def saturate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Change the saturation of each pixel in HSV: less at severities 1 and 2, more from 3 on. Gray stays gray."""
    factor, more = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity - 1]
    value = images.amax(1, keepdim=True)
    saturation = 1 - images.amin(1, keepdim=True) / value.clamp(min=1e-6)
    changed = (saturation * factor + more).clamp(0, 1)
    return torch.where(saturation > 0, value - (value - images) * (changed / saturation.clamp(min=1e-6)), images)


def jpeg_compression(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Compress as JPEG with Pillow, as in the source."""
    quality = (80, 65, 58, 50, 40)[severity - 1]
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).squeeze(-1).numpy()  # gray: (N, H, W)
    decoded = torch.from_numpy(np.stack([_compressed(each, quality) for each in pixels]))
    return decoded.view(len(images), *images.shape[2:], -1).permute(0, 3, 1, 2).float() / 255


def _compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def pixelate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Scale down and up again with areas of equal color."""
    factor = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    side = images.shape[-1]
    return functional.interpolate(functional.interpolate(images, int(side * factor), mode="area"), side)


def elastic_transform(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Warp by a random affine map and a smooth random field."""
    scales = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    side = images.shape[-1]
    strength, smoothness, affine = (side * scale for scale in scales[severity - 1])
    return elastic(images, strength, smoothness, affine, generator)


CORRUPTIONS: dict[str, Callable[[Tensor, int, Generator], Tensor]] = {
    each.__name__: each
    for each in (
        *(gaussian_noise, shot_noise, impulse_noise),
        *(defocus_blur, gaussian_blur, motion_blur, zoom_blur),
        *(fog, brightness, contrast, saturate),
        *(elastic_transform, pixelate, jpeg_compression),
    )
}
