"""The images and predictions that a report shows: those of the test, or of the validation if there is no test."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.predictions import FILE_NAME, VAL_FILE_NAME
from cifar_cnn.data import ImageSet
from cifar_cnn.data.augment import normalize
from cifar_cnn.runs.checkpoints import Trained
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.predictions import Predictions, load_predictions, read_predictions
from cifar_cnn.runs.run import RunFolder, Split
from cifar_cnn.runs.schemas import TestResult
from cifar_cnn.tta import TTA, logits_with_tta

log = logging.getLogger("cifar_cnn")

SPLIT_NAMES: dict[Split, str] = {"test": "test", "val": "validation"}
SAMPLE = 8  # images whose stored predictions are checked against the network


@dataclass(frozen=True)
class Shown:
    """The images and predictions that a report shows.

    Attributes:
        split: split of the images.
        images: the images in the order of the predictions; None if they cannot be read.
        predictions: predictions of the network; None if there are none.
        test: content of test.json; None if no test is shown.
        missing: one line for each reason why a value is None or no test is shown.
    """

    split: Split
    images: ImageSet | None = None
    predictions: Predictions | None = None
    test: TestResult | None = None
    missing: list[str] = field(default_factory=list)


def find_shown(run: RunFolder) -> Shown:
    """Choose the test if it used the current best checkpoint and the run's own images, else the validation."""
    try:
        test = run.result
    except InputError as error:
        return _validation(run, [f"Test results: {error}"])
    if not test:
        return _validation(run, [])
    try:
        predictions = read_predictions(run.folder / FILE_NAME, len(run.trained.class_names))
    except InputError as error:
        reason = error if (run.folder / FILE_NAME).exists() else "no predictions were saved"
        return _validation(run, [f"Test results: {reason}; run `cifar-cnn test` again"])
    try:
        images = run.images("test")
    except InputError as error:
        return Shown("test", None, predictions, test, [f"Pictures of test images: {error}"])
    if test["tested_on"]["sha256"] != images.sha256():
        return _validation(
            run, ["Test results: the run's test images have changed since the test; run `cifar-cnn test` again"]
        )
    is_of_best = test["checkpoint_checksum"] == predictions.checkpoint_checksum == checksum(run.checkpoint)
    if not is_of_best or not fits(run, predictions, images, test["tta"]):
        return _validation(run, ["Test results: training continued after the test; run `cifar-cnn test` again"])
    return Shown("test", images, predictions, test)


def _validation(run: RunFolder, missing: list[str]) -> Shown:
    found = load_predictions(run.folder / VAL_FILE_NAME, len(run.trained.class_names))
    found = found if found is not None and found.step == run.step else None
    images = or_reason(f"Pictures of {SPLIT_NAMES['val']} images", lambda: run.images("val"), missing)
    if images is not None:
        some = _images_of(found, images) if found is not None else None
        if found is None or some is None or not fits(run, found, some, "none"):
            some, found = images, or_reason("Predictions", lambda: predict_validation(run, images), missing)
        images = some
    return Shown("val", images, found, None, missing)


def _images_of(predictions: Predictions, images: ImageSet) -> ImageSet | None:
    """The images that predictions were made for; None if their indices are out of range."""
    indices = predictions.indices
    if indices is None:
        return images
    return images.subset(indices) if indices.min() >= 0 and indices.max() < len(images) else None


def or_reason(name: str, make: Callable[[], Any], missing: list[str]) -> Any:
    """Call ``make``; if it fails, add a line that begins with ``name`` to ``missing`` and return None."""
    try:
        return make()
    except Exception as error:  # any nn.Module can be a backbone; a report without one section is better than none
        log.debug("no %s in the report", name, exc_info=True)
        known = isinstance(error, InputError)
        missing.append(
            f"{name}: {error}" if known else f"{name}: not possible for this run ({type(error).__name__}: {error})"
        )
        return None


@torch.inference_mode()
def fits(run: RunFolder, predictions: Predictions, images: ImageSet, tta: TTA) -> bool:
    """Whether predictions were made by the run's network for these images; checks labels and a sample of the logits.

    Args:
        run: the run.
        predictions: predictions in the order of the images.
        images: the images.
        tta: test-time augmentation of the predictions.
    """
    if not torch.equal(predictions.labels, images.labels):
        return False
    sample = torch.linspace(0, len(images) - 1, min(SAMPLE, len(images))).long()
    pixels = normalized(run.trained, images.images[sample])
    kept = predictions.logits[sample]
    # Of a test, some images may have been augmented and others not (tta_fraction).
    found = [each.float().cpu() - kept for each in logits_with_tta(run.trained.classifier, pixels, tta)]
    nearest = torch.stack([each.norm(dim=1) for each in found]).amin(0)
    return bool(nearest.norm() <= 0.05 * kept.norm())  # bfloat16 is accurate to a hundredth


@torch.inference_mode()
def predict_validation(run: RunFolder, images: ImageSet) -> Predictions:
    """Predict the validation images in the precision of the training, and save the predictions for the next report.

    This is needed if the fit saved no predictions for the checkpoint's step.
    """
    classifier = run.trained.classifier
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    precision = run.trained.precision
    with torch.autocast(classifier.device.type, dtypes.get(precision, torch.bfloat16), precision in dtypes):
        logits = [classifier(normalized(run.trained, batch)).float().cpu() for batch in images.images.split(500)]
    predictions = Predictions(torch.cat(logits), images.labels, step=run.step)
    path = run.folder / VAL_FILE_NAME
    try:
        predictions.save(path)
    except OSError:
        log.debug("%s could not be written", path)
    return predictions


def normalized(trained: Trained, images: Tensor) -> Tensor:
    """Convert uint8 images (N, 3, H, W) to the normalized input of a trained network, on its device."""
    device = trained.classifier.device
    return normalize(images.to(device), trained.mean.to(device), trained.std.to(device))
