"""Measure the accuracy under the common corruptions: a table, a plot and corruptions.json."""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import replacing, write_json
from cifar_cnn.base.tables import text_table
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.schemas import CorruptionResult
from cifar_cnn.subsets.splitting import random_order

if TYPE_CHECKING:
    from cifar_cnn.base.figures import PlainFigure

_BATCH = 500  # images; the random numbers depend on it
_PANELS = {
    "Noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "Blur": ("defocus_blur", "gaussian_blur", "motion_blur", "zoom_blur"),
    "Light and color": ("fog", "brightness", "contrast", "saturate"),
    "Shape and file": ("elastic_transform", "pixelate", "jpeg_compression"),
}


def measure_corruptions(run: RunFolder, images: ImageSet, most: int | None = None, seed: int = 0) -> CorruptionResult:
    """Measure the accuracy of a run's network under each corruption and severity.

    Args:
        run: the run; its test-time augmentation is used.
        images: the test images.
        most: measure on a random sample of this many images, the same each time; by default on all.
        seed: seed of the corruptions.

    Raises:
        InputError: ``most`` is below 1, or the images are neither RGB nor gray.
    """
    trained = run.trained
    if trained.channels not in (1, 3):
        raise InputError(f"corruptions exist for RGB and gray images; these have {trained.channels} channels")
    if most is not None and most < 1:
        raise InputError(f"the number of images must be 1 or more, not {most}")
    sample = images if most is None or most >= len(images) else images.subset(random_order(len(images))[:most])
    pixels, labels = sample.images.cpu(), sample.labels.cpu()

    def accuracy(name: str, severity: int) -> float:
        generator, correct = _generator(seed, name, severity), 0
        for batch, truth in zip(pixels.split(_BATCH), labels.split(_BATCH), strict=True):
            seen = corrupt(batch, name, severity, generator) if severity else batch
            correct += int((trained.logits(seen).argmax(1) == truth).sum())
        return correct / len(labels)

    names = tqdm(CORRUPTIONS, "Corruptions", disable=None)
    found = {name: [accuracy(name, severity) for severity in SEVERITIES] for name in names}
    return {
        "clean": accuracy("", 0),
        "mean": float(np.mean(list(found.values()))),
        "accuracy": found,
        "images": len(labels),
        "images_sha256": images.sha256(),
        "seed": seed,
        "tta": trained.classifier.tta,
        "checkpoint_checksum": checksum(run.checkpoint),
    }


def _generator(seed: int, name: str, severity: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, zlib.crc32(name.encode()), severity]).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


def write_corruptions(path: Path, result: CorruptionResult) -> None:
    """Write the JSON file, and the plot as a PNG beside it.

    Raises:
        OSError: a file cannot be written.
    """
    write_json(path, result)
    with replacing(path.with_suffix(".png")) as file:
        file.write(charts.png(plot_corruptions(result)))


def corruption_lines(result: CorruptionResult) -> list[str]:
    """A table of corruptions and severities for the terminal."""
    rows = [["accuracy", *(f"severity {each}" for each in SEVERITIES), "mean"]]
    for name, values in result["accuracy"].items():
        rows.append([name.replace("_", " "), *(f"{each:.2%}" for each in [*values, float(np.mean(values))])])
    means = np.mean(list(result["accuracy"].values()), axis=0)
    rows.append(["all", *(f"{each:.2%}" for each in [*means, result["mean"]])])
    clean = f"{result['images']:,} test images, without corruption: {result['clean']:.2%}"
    return [clean, *text_table(rows, left={0})]


def plot_corruptions(result: CorruptionResult) -> "PlainFigure":
    """Draw accuracy over severity, in one panel for each kind of corruption; severity 0 is the clean images."""
    with charts.chart(12, 3, panels=len(_PANELS)) as (figure, panels):
        for axes, (title, names) in zip(panels, _PANELS.items(), strict=True):
            series = {
                name.replace("_", " "): ([0, *SEVERITIES], [result["clean"], *result["accuracy"][name]])
                for name in names
                if name in result["accuracy"]
            }
            curves = charts.draw_lines(axes, title, "severity", series, percent=True, markers=True)
            axes.set_ylim(0, 1)
            axes.legend(curves.values(), curves.keys(), loc="lower left")
        return figure
