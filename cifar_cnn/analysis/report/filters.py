"""Section: the pictures of the filters that were drawn during training."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.report.material import Material, Section

FRAMES = 20  # epochs shown at most


def content(material: Material) -> list[dict[str, Any]] | None:
    """See :func:`filters`."""
    return filters(material.run.folder / "filters")


SECTION = Section("filters", "Filters", "Filters", content)


def filters(folder: Path) -> list[dict[str, Any]] | None:
    """The pictures of filters in a folder, for at most FRAMES evenly chosen epochs."""
    epochs: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("epoch_*_*.png")):
        if match := re.fullmatch(r"epoch_(\d+)_(first|last)", path.stem):
            epochs.setdefault(int(match[1]), {})[match[2]] = path
    numbers = sorted(epochs)
    if len(numbers) > FRAMES:
        numbers = [numbers[round(i * (len(numbers) - 1) / (FRAMES - 1))] for i in range(FRAMES)]
    frames = []
    for number in numbers:
        pictures = {}
        for place, path in epochs[number].items():
            with Image.open(path) as image:
                pictures[place] = {"src": charts.picture(np.asarray(image.convert("RGB"))), "size": image.size}
        frames.append({"epoch": number, "pictures": pictures})
    return frames or None
