"""Warp batches of images: shift, zoom, elastic. Reflection continues an image beyond its border."""

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur


def shifted(images: Tensor, offset: Tensor) -> Tensor:
    """Move each image of (N, C, H, W) by its own offset (N, 2) in pixels, across and down, between pixels too."""
    return sampled(images, grid_of(images) - offset[:, None, None])


def zoomed(images: Tensor, factor: float) -> Tensor:
    """Enlarge the images of (N, C, H, W) about their center, and cut them to their size."""
    center = (torch.tensor(images.shape[:-3:-1]) - 1) / 2
    return sampled(images, ((grid_of(images) - center) / factor + center).expand(len(images), -1, -1, -1))


def elastic(images: Tensor, strength: float, smoothness: float, affine: float, generator: Generator) -> Tensor:
    """Warp each image by an affine map and a smooth field, both random.

    Args:
        images: (N, C, H, W).
        strength: pixels that the field moves by before it is smoothed, in each direction.
        smoothness: standard deviation of the smoothing, in pixels.
        affine: largest distance in pixels by which each of three points is moved, in each direction.
        generator: source of the random numbers.
    """
    n, _, height, width = images.shape
    grid = grid_of(images)
    points = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * (min(height, width) // 3)
    points = points + torch.tensor([width // 2, height // 2])
    moved = points + affine * (2 * torch.rand(n, 3, 2, generator=generator) - 1)
    # The map that takes each moved point back, of (x, y, 1).
    back = torch.linalg.solve(functional.pad(moved, (0, 1), value=1), points.expand(n, -1, -1))
    places = functional.pad(grid, (0, 1), value=1).flatten(1, 2) @ back
    field = 2 * torch.rand(n, 2, height, width, generator=generator) - 1
    if strength:
        reach = min(int(3 * smoothness), (min(height, width) - 1) // 2)  # a wider kernel needs more than one reflection
        field = gaussian_blur(field, [2 * reach + 1] * 2, [smoothness])
    warped = places.view(n, height, width, 2) + strength * field.permute(0, 2, 3, 1)
    return sampled(images, warped)


def grid_of(images: Tensor) -> Tensor:
    """The position of each pixel: (1, H, W, 2), across and down."""
    height, width = images.shape[-2:]
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([across, down], -1)[None].float()


def sampled(images: Tensor, places: Tensor) -> Tensor:
    """Read the images of (N, C, H, W) at ``places`` (N, H, W, 2) in pixels, across and down, bilinear."""
    sides = torch.tensor(images.shape[:-3:-1])  # width, height
    unit = 2 * places / (sides - 1) - 1
    return functional.grid_sample(images, unit, "bilinear", "reflection", align_corners=True)
