"""The head of a report: the headline figures and the conditions under which they were measured."""

import numpy as np

from cifar_cnn.analysis.numbers import count, duration
from cifar_cnn.analysis.report.environment import seed_of
from cifar_cnn.analysis.report.material import Material
from cifar_cnn.analysis.shown import Shown
from cifar_cnn.base.sizes import count_parameters
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.schemas import FitRecord, ImagesRecord, TestResult

Tile = dict[str, str]


def tiles(material: Material) -> list[Tile]:
    """The headline figures: the name and value of each, and a note on how it was measured."""
    makers = (_test_accuracy, _validation_accuracy, _top5_accuracy, _parameters, _training_time, _speed)
    return [tile for make in makers if (tile := make(material))]


def _tile(name: str, value: str, note: str) -> Tile:
    return {"name": name, "value": value, "note": note}


def _test_accuracy(material: Material) -> Tile | None:
    test = material.shown.test
    if not test:
        return None
    return _tile("Test accuracy", f"{test['accuracy']:.2%}", _test_note(test))


def _test_note(test: TestResult) -> str:
    """The number of test images and the confidence interval of the test accuracy."""
    n = test["images"]
    low, high = test["accuracy_interval"]
    interval = f"95\u00a0% confidence interval over test images: {100 * low:.1f} to {100 * high:.1f}\u00a0%"
    note = f"{n:,} test images, never used for model selection; {interval}"
    if test["tta"] != "none":
        some = f" of the least confident {test['tta_fraction']:.0%}" if test["tta_fraction"] < 1 else ""
        note += f"; test-time augmentation{some}: {test['tta']}"
    if changed := test["changed_code"]:
        note += f"; tested with code that was changed after the training: {', '.join(changed)}"
    return note


def _validation_accuracy(material: Material) -> Tile | None:
    epochs, values = material.metrics.get("val/accuracy", ([], []))
    if not values:
        return None
    best = int(np.argmax(values))
    chosen = f"epoch {epochs[best]:.0f}, the best of {len(values)}, selected by this accuracy"
    note = f"{validation_images(material.run.record, material.shown)}; {chosen}"
    return _tile("Validation accuracy", f"{values[best]:.2%}", note)


def validation_images(fit: FitRecord, shown: Shown) -> str:
    """The images of the validation accuracy, such as ``500 of 5,000 validation images``."""
    images = fit.get("images") or ImagesRecord()
    if images.get("validated_on_training"):
        return "the training batches themselves (trainer.overfit_batches)"
    all_images, seen = images.get("validation"), images.get("validated")
    if seen and all_images and seen < all_images:
        return f"{seen:,} of {all_images:,} validation images (trainer.limit_val_batches)"
    if seen is None and shown.split == "val" and shown.predictions is not None:
        seen = len(shown.predictions.labels)
    return f"{seen:,} validation images" if seen else "validation images"


def _top5_accuracy(material: Material) -> Tile | None:
    test = material.shown.test
    if test is None or len(material.class_names) <= 5:
        return None
    loss = f"{test['loss']:.4f}" if test["loss"] is not None else "not finite"
    return _tile("Top-5 accuracy", f"{test['accuracy_top5']:.2%}", f"test images; loss {loss}")


def _parameters(material: Material) -> Tile:
    macs = material.macs
    note = f"{count(macs)} multiply-adds per image" if macs else type(material.network).__name__
    return _tile("Parameters", count(count_parameters(material.network)), note)


def _training_time(material: Material) -> Tile | None:
    seconds = material.metrics.get("epoch_seconds", ([], []))[1]
    if not seconds:
        return None
    hardware = material.run.record.get("hardware")
    where = f" on {hardware}" if hardware else " hardware unknown"
    note = f"{len(seconds)} epoch{'s' * (len(seconds) > 1)}, including validation,{where}"
    return _tile("Training time", duration(sum(seconds)), note)


def _speed(material: Material) -> Tile | None:
    speed = material.run.record.get("images_per_second")
    if not speed:
        return None
    return _tile("Images per second", f"{speed:,.0f}", "training images; median over epochs, excluding validation")


def _choice(images: ImagesRecord) -> list[str]:
    """How the training images were chosen, and how many of their labels are wrong."""
    found = []
    if "train_of" in images:
        found.append(f"trained on {images.get('train', 0):,} of {images['train_of']:,} images")
    if "fold" in images:
        found.append(f"validated on fold {images['fold']}")
    if "labels_changed" in images:
        share = images["labels_changed"] / max(images.get("train", 0), 1)
        found.append(f"{images['labels_changed']:,} training labels ({share:.1%}) changed by label noise")
    return found


def basis(run: RunFolder) -> str:
    """The conditions of the headline figures in one line: source of the images, seed, hardware, version."""
    fit = run.record
    source, side = type(run.datamodule.source).__name__, run.trained.image_size
    found = [f"Images from {source}, {side} x {side} pixels", *_choice(fit.get("images") or ImagesRecord())]
    found += [seed_of(fit)] if "seed" in fit else []
    found += [name for name in (fit.get("hardware"), fit.get("precision")) if name]
    found += [f"torch {fit['versions']['torch']}"] if fit.get("versions", {}).get("torch") else []
    line = "; ".join(found) + "."
    if fit.get("started") and not fit.get("finished"):
        line += " Training has not finished: it is still running or was interrupted."
    return line
