"""Temperature scaling: one number, fitted on validation images, by which the logits are divided.

Source: Guo et al., On Calibration of Modern Neural Networks (2017), https://arxiv.org/abs/1706.04599.
"""

import math
from typing import cast

from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

from cifar_cnn.analysis.shown import fits
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.probability_scores import score_sums, scores
from cifar_cnn.base.tables import text_table
from cifar_cnn.data import ImageSet
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.run import RunFolder, Split
from cifar_cnn.runs.schemas import CalibrationResult, CalibrationScores


def measure_calibration(run: RunFolder, images: ImageSet) -> CalibrationResult:
    """Fit a temperature on a run's validation images, and score the test images with and without it.

    Args:
        run: the run; both use its test-time augmentation.
        images: the test images.

    Raises:
        InputError: the run has no validation images.
    """
    if not len(run.datamodule.image_set("val")):
        raise InputError(
            f"{run.name} has no validation images (data.val_size is 0): a temperature is fitted on images that were "
            "not trained on"
        )
    validation = run.images("val")
    temperature = fit_temperature(_logits(run, "val", validation), validation.labels)
    logits = _logits(run, "test", images)
    return {
        "temperature": temperature,
        "before": calibration_scores(logits, images.labels),
        "after": calibration_scores(logits / temperature, images.labels),
        "validation_images": len(validation),
        "images": len(images),
        "images_sha256": images.sha256(),
        "tta": run.model.tta,
        "checkpoint_checksum": checksum(run.checkpoint),
    }


def _logits(run: RunFolder, split: Split, images: ImageSet) -> Tensor:
    """The logits of all images: those that the run's folder holds, if the network gives the same, or new ones."""
    stored, tta = run.predictions(split), run.model.tta
    known = stored is not None and stored.indices is None and (split == "test" or tta == "none")
    if known and run.model.tta_fraction == 1 and fits(run, stored, images, tta):  # type: ignore[arg-type]
        return stored.logits  # type: ignore[union-attr]
    return run.logits(images.images)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that minimizes the negative log-likelihood, from 0.05 to 20.

    Args:
        logits: (N, num_classes).
        labels: int64, (N,).
    """
    values = logits.double()

    def loss(log_temperature: float) -> float:
        return functional.cross_entropy(values / math.exp(log_temperature), labels).item()

    found = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-5})
    return math.exp(found.x)


def calibration_scores(logits: Tensor, labels: Tensor) -> CalibrationScores:
    """Score probabilities; see :class:`cifar_cnn.base.probability_scores.ProbabilityScores`.

    Args:
        logits: (N, num_classes).
        labels: int64, (N,).
    """
    found = scores(*score_sums(logits.double(), labels))
    return cast(CalibrationScores, {name: value.item() for name, value in found.items()})


def calibration_lines(result: CalibrationResult) -> list[str]:
    """A table of the scores for the terminal."""
    rows = [["", "NLL", "Brier score", "ECE"]]
    for name, found in (("as trained", result["before"]), ("with temperature", result["after"])):
        rows.append([name, f"{found['nll']:.4f}", f"{found['brier']:.4f}", f"{found['ece']:.2%}"])
    head = (
        f"Temperature {result['temperature']:.3f}, fitted on {result['validation_images']:,} validation images; "
        f"{result['images']:,} test images:"
    )
    return [head, *text_table(rows, left={0})]
