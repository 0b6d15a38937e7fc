"""The test images on which two networks differ most, with thumbnails."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cifar_cnn.analysis.compare.networks import Network, Pair, same_images
from cifar_cnn.analysis.report.pictures import thumbnail
from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.predictions import FILE_NAME
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.predictions import read_predictions
from cifar_cnn.runs.run import RunFolder

SHOWN = 12  # images for each side of a pair
MOST_PAIRS = 28  # of eight networks; more would make the page large


@dataclass(frozen=True)
class Answers:
    """The answers of a network's runs to the test images.

    Attributes:
        share: the share of the runs that classify each image correctly: float, (N,).
        common: the most frequent wrong class of each image, or its label if no run is wrong: int, (N,).
    """

    share: np.ndarray
    common: np.ndarray


def disagreements(pairs: list[Pair]) -> dict[str, Any]:
    """Find the images that one network of a pair classifies better, for each pair tested on the same images.

    Returns:
        ``pairs`` for the template, and ``missing``: sentences that say what is not shown and why.
    """
    shown = [(a, b) for a, b, _ in pairs if same_images(a, b)][:MOST_PAIRS]
    if not shown:
        return {"pairs": [], "missing": []}
    images, missing = _test_images(shown[0][0])
    if images is not None and any(not same_images(shown[0][0], network) for pair in shown for network in pair):
        images, missing = None, "The pairs were tested on different images, so no pictures are shown."
    networks = {id(network): network for pair in shown for network in pair}
    answers = {key: _answers(network) for key, network in networks.items()}
    names = RunFolder(shown[0][0].first.folder).result["class_names"]
    labels = read_predictions(shown[0][0].first.folder / FILE_NAME).labels.numpy()
    left_out = len(pairs) - len(shown)
    return {
        "pairs": [
            {
                "a": a.name,
                "b": b.name,
                "sides": [
                    _side(x, y, answers[id(x)], answers[id(y)], images, labels, names) for x, y in ((a, b), (b, a))
                ],
            }
            for a, b in shown
        ],
        "missing": [line for line in (missing, f"{left_out} other pairs are not shown." if left_out else "") if line],
    }


def _side(
    better: Network,
    worse: Network,
    right: Answers,
    wrong: Answers,
    images: ImageSet | None,
    labels: np.ndarray,
    names: list[str],
) -> dict[str, Any]:
    """The images that most runs of ``better`` and fewer than half of the runs of ``worse`` classify correctly."""
    gap = right.share - wrong.share
    found = np.flatnonzero((right.share > 0.5) & (wrong.share < 0.5))
    largest = found[np.argsort(-gap[found], kind="stable")]
    return {
        "better": better.name,
        "worse": worse.name,
        "count": len(found),
        "images": [
            {
                "index": int(i),
                "src": thumbnail(images.images[i]) if images is not None else "",
                "true": names[labels[i]],
                "said": names[wrong.common[i]],
            }
            for i in largest[:SHOWN]
        ],
    }


def _answers(network: Network) -> Answers:
    found = [read_predictions(run.folder / FILE_NAME) for run in network.runs.values()]
    labels = found[0].labels.numpy()
    classes = np.stack([each.classes.numpy() for each in found])
    votes = np.zeros((len(labels), found[0].logits.shape[1]), int)
    for each in classes:
        votes[np.arange(len(labels)), each] += each != labels
    return Answers((classes == labels).mean(0), np.where(votes.any(1), votes.argmax(1), labels))


def _test_images(network: Network) -> tuple[ImageSet | None, str]:
    """The test images of a network, or None and a sentence that says why they are missing."""
    run = RunFolder(network.first.folder)
    try:
        images = run.images("test")
    except InputError as error:
        return None, f"The test images cannot be shown: {error}. Their positions in the test set are given instead."
    if images.sha256() != run.result["tested_on"]["sha256"]:
        return None, "The test images have changed since the test. Their positions in the test set are given instead."
    return images, ""
