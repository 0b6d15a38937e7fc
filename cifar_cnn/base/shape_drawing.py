"""Draw images of ten shapes."""

import numpy as np


def draw_shapes(labels: np.ndarray, size: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Draw one shape per image, with random position, size, rotation and pair of colors.

    Args:
        labels: (N,), indices into ``SHAPES``.
        size: side of the images in pixels.
        noise: standard deviation of the pixel noise; pixel values range from 0 to 255.
        rng: random number generator.

    Returns:
        uint8, (N, 3, size, size).
    """
    n = len(labels)
    # Coordinates of each pixel relative to the shape, whose radius is 1.
    radius = rng.uniform(0.45, 0.8, n)
    center = rng.uniform(-1, 1, (n, 2)) * (1 - 0.8 * radius)[:, None]
    turn = rng.uniform(0, 2 * np.pi, n)
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    dy, dx = np.broadcast_arrays(axis[:, None] - center[:, 0, None, None], axis[None, :] - center[:, 1, None, None])
    cos, sin = (f(turn)[:, None, None] / radius[:, None, None] for f in (np.cos, np.sin))
    x, y = cos * dx + sin * dy, cos * dy - sin * dx

    inside = np.zeros((n, size, size))
    for label, distance_to in enumerate(SHAPES.values()):
        rows = labels == label
        distance = distance_to(x[rows], y[rows])
        # A soft edge of one pixel.
        inside[rows] = (0.5 - distance * radius[rows, None, None] * size / 2).clip(0, 1)

    colors = rng.uniform(0, 255, (n, 2, 3))
    colors[:, 1] = (colors[:, 0] + rng.uniform(70, 185, (n, 3))) % 255  # the two colors differ
    colors = np.take_along_axis(colors, rng.permuted(np.tile([0, 1], (n, 1)), axis=1)[:, :, None], axis=1)
    front, back = colors[:, 0, :, None, None], colors[:, 1, :, None, None]
    picture = back + (front - back) * inside[:, None] + rng.normal(0, noise, (n, 3, size, size))
    return picture.clip(0, 255).astype(np.uint8)


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    return np.maximum(abs(x) - width, abs(y) - height)


def _polygon(x: np.ndarray, y: np.ndarray, sides: int, depth: float) -> np.ndarray:
    """Distance to a star with ``sides`` tips and inner corners at ``depth`` times the radius (1: a polygon)."""
    sector = 2 * np.pi / sides
    angle = abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)
    r = np.hypot(x, y)
    px, py = r * np.cos(angle), r * np.sin(angle)
    # The edge from the tip (1, 0) to the inner corner at half a sector.
    inner = depth * np.cos(sector / 2)
    qx, qy = inner * np.cos(sector / 2), inner * np.sin(sector / 2)
    return ((px - 1) * qy - py * (qx - 1)) / np.hypot(qy, qx - 1)


# Signed distances (negative inside) in a frame where the shape has radius 1.
SHAPES = {
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
