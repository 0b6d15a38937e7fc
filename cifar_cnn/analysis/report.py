"""A run as one page, report.html in its folder, that needs no network and no other file."""

import logging
import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.calibration import bins_of
from cifar_cnn.analysis.explain import SPLIT_NAMES, Theory, example_pictures, explain, feature_chart, prediction_chart
from cifar_cnn.analysis.network.layers import Layer, layers_of
from cifar_cnn.analysis.network.maps import grad_cam, last_maps, map_layers, outputs_of
from cifar_cnn.analysis.shown import Shown, find_shown, normalised
from cifar_cnn.analysis.statistics import wilson_interval
from cifar_cnn.callbacks.confusion_figure import worst_confusions
from cifar_cnn.data import CIFAR10DataModule, ImageSet
from cifar_cnn.errors import InputError
from cifar_cnn.files import write
from cifar_cnn.runs.metric_rows import metric_rows
from cifar_cnn.runs.predictions import Predictions
from cifar_cnn.runs.run import RunFolder, Split

log = logging.getLogger("cifar_cnn")

BINS = 15  # of the calibration error, as in Guo et al. (2017)
MISTAKES = 24  # pictures of the most confident
FILTER_FRAMES = 20  # epochs in the strip of filters
TABLE_CLASSES = 20  # more of them are no readable confusion matrix
PAIRS = 8  # of classes, the most frequent confusions, beside the matrix
MANY_PAIRS = 30  # in place of a matrix
THEORY_MACS = 60e9  # multiply-adds to spend on equivariance and invariance: a second or two on a laptop
THEORY_IMAGES = (12, 500)  # the fewest that say something, the most that are worth the time
THEORY_PASSES = 13  # an image: a shift each for invariance, and for equivariance of each third image

Metrics = dict[str, tuple[list[float], list[float]]]


def try_to_write_report(
    folder: Path, datamodule: CIFAR10DataModule | None = None, backbone: nn.Module | None = None
) -> Path | None:
    """Write a run's report; whatever goes wrong, a warning says so and nothing else happens.

    Args:
        folder: the run's.
        datamodule: one that has the run's images in memory.
        backbone: the network, where the run's checkpoint cannot name it.
    """
    try:
        return write_report(RunFolder(folder, datamodule=datamodule, backbone=backbone))
    except Exception as error:  # the training is worth more than any page about it
        log.warning("No report was written: %s (%s); `cifar-cnn report` tries again", error, type(error).__name__)
        return None


def write_report(run: RunFolder) -> Path:
    """Write report.html into the run's folder, in place of an older one.

    Raises:
        OSError: the folder cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # a report alone needs it

    environment = Environment(
        loader=PackageLoader("cifar_cnn.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(content(run))
    path = run.folder / "report.html"
    write(path, page)
    return path


def content(run: RunFolder) -> dict[str, Any]:
    """All that the template shows. What cannot be had, of an unusual network or without the images, is None, with
    a line in ``missing``."""
    missing: list[str] = []

    def part(name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except InputError as error:
            missing.append(f"{name}: {error}")
        except Exception as error:  # any nn.Module can be a backbone: one section less is better than no report
            log.debug("no %s in the report", name, exc_info=True)
            missing.append(f"{name}: not possible for this run ({type(error).__name__}: {error})")
        return None

    network = run.trained.classifier.backbone
    metrics = part("Learning curves", lambda: read_metrics(run.folder / "metrics.csv")) or {}
    fit = run.record
    found = find_shown(run)
    missing += found.missing
    split, images, predictions = found.split, found.images, found.predictions

    side = run.trained.image_size
    layers = part("Layers", lambda: layers_of(network, (3, side, side)))
    macs = sum(layer.macs for layer in layers) if layers else 0
    affordable = int(THEORY_MACS / (THEORY_PASSES * macs)) if macs else 100
    theory_images = int(np.clip(affordable, *THEORY_IMAGES))
    theory = part("Theory", lambda: explain(run.trained, images, theory_images, layers)) if images is not None else None
    names = run.trained.class_names
    return {
        "title": run.title,
        "config_name": run.label,
        "basis": basis(run, fit),
        "run": run.folder.name,
        "split": SPLIT_NAMES[split],
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "tiles": tiles(run, metrics, fit, found, macs),
        "facts": facts(run, fit, predictions, split),
        "curves": part("Learning curves", lambda: curves(metrics, run.begun.get("learning_rate"))),
        "confusion": part("Confusion", lambda: confusion(predictions, names)) if predictions else None,
        "calibration": part("Calibration", lambda: calibration(predictions)) if predictions else None,
        "mistakes": part("Mistakes", lambda: mistakes(predictions, images, names)) if predictions and images else None,
        "filters": part("Filters", lambda: filters(run.folder / "filters")),
        "maps": part("Feature maps", lambda: feature_maps(run, images, layers)) if images and layers else None,
        "cam": part("Grad-CAM", lambda: cam(run, images, predictions)) if predictions and images else None,
        "layers": layers,
        "totals": {"parameters": sum(p.numel() for p in network.parameters()), "macs": macs},
        "image_size": side,
        "theory": part("Theory", lambda: theory_content(theory)) if theory else None,
        "command": "\n".join(part["command"] for part in [*fit.get("earlier", []), fit] if "command" in part),
        "program": str(fit.get("command", "")).partition(" fit")[0] or "cifar-cnn",
        "config_path": os.path.relpath(run.folder / "config.yaml"),
        "config": (run.folder / "config.yaml").read_text(encoding="utf-8"),
        "missing": missing,
        "count": count,
    }


def read_metrics(path: Path) -> Metrics:
    """The epochs (counted from 1; fractions within one) and values of each column of a metrics.csv."""
    rows = [row for row in metric_rows(path) if row.get("epoch") and row.get("step")]
    ends = [(int(row["step"]) + 1) / (int(row["epoch"]) + 1) for row in rows if row.get("epoch_seconds")]
    steps_an_epoch = ends[-1] if ends else None
    metrics: Metrics = {}
    for row in rows:
        for name, value in row.items():
            if name in ("epoch", "step") or not value:
                continue
            within = name == "lr" or name.endswith("_step")
            if within and steps_an_epoch is None:
                continue
            # A rate that is logged at a step was that of the step, at an epoch's end that of the step to come.
            done = int(row["step"]) + (name != "lr" or bool(row.get("epoch_seconds")))
            x = done / steps_an_epoch if within and steps_an_epoch else int(row["epoch"]) + 1
            xs, ys = metrics.setdefault(name, ([], []))
            xs.append(x)
            ys.append(float(value))
    return metrics


def count(number: float) -> str:
    """A large number, short: 4.19 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:,.0f} {unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Such as ``38 s``, ``5 min 7 s`` or ``2 h 3 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def tiles(
    run: RunFolder,
    metrics: Metrics,
    fit: dict[str, Any],
    shown: Shown,
    macs: int,
) -> list[dict[str, str]]:
    """The headline figures: name, value and what the value is of."""
    found, test = [], shown.test
    if test:
        note = _test_note(test, test.get("tta", run.trained.classifier.tta))
        found.append({"name": "Test accuracy", "value": f"{test['accuracy']:.2%}", "note": note})
    epochs, values = metrics.get("val/accuracy", ([], []))
    if values:
        best = int(np.argmax(values))
        chosen = f"epoch {epochs[best]:.0f}, the best of {len(values)} and chosen by this figure"
        note = f"{validation_images(fit, shown)}; {chosen}"
        found.append({"name": "Validation accuracy", "value": f"{values[best]:.2%}", "note": note})
    if test and "accuracy_top5" in test and len(run.trained.class_names) > 5:
        value, note = f"{test['accuracy_top5']:.2%}", f"test images; loss {test['loss']:.4f}"
        found.append({"name": "Top-5 accuracy", "value": value, "note": note})
    parameters = sum(parameter.numel() for parameter in run.trained.classifier.backbone.parameters())
    note = f"{count(macs)} multiply-adds an image" if macs else type(run.trained.classifier.backbone).__name__
    found.append({"name": "Parameters", "value": count(parameters), "note": note})
    seconds = metrics.get("epoch_seconds", ([], []))[1]
    if seconds:
        hardware = f" on {fit['hardware']}" if fit.get("hardware") else ""
        note = f"{len(seconds)} epoch{'s' * (len(seconds) > 1)}, validation included,{hardware or ' hardware unknown'}"
        found.append({"name": "Training time", "value": duration(sum(seconds)), "note": note})
    if fit.get("images_per_second"):
        note = "training images; median over the epochs, validation left out"
        found.append({"name": "Images a second", "value": f"{fit['images_per_second']:,.0f}", "note": note})
    return found


def _test_note(test: dict[str, Any], tta: str) -> str:
    """What the test accuracy is of, and how sure it is."""
    n = test["images"]
    low, high = wilson_interval(round(test["accuracy"] * n), n)
    sure = f"{100 * low:.1f} to {100 * high:.1f}\u00a0% with 95\u00a0% confidence"
    note = f"{n:,} test images, which chose nothing; {sure}, as far as the choice of images goes"
    if tta != "none":
        note += f"; test-time augmentation: {tta}"
    if changed := test.get("changed_code"):
        note += f"; tested with code that was changed after the training: {', '.join(changed)}"
    return note


def validation_images(fit: dict[str, Any], shown: Shown) -> str:
    """On how many images the validation accuracy is, such as ``500 of 5,000 validation images``."""
    images = fit.get("images") or {}
    if images.get("validated_on_training"):
        return "the training batches themselves (trainer.overfit_batches)"
    all_images, seen = images.get("validation"), images.get("validated")
    if seen and all_images and seen < all_images:
        return f"{seen:,} of {all_images:,} validation images (trainer.limit_val_batches)"
    if seen is None and shown.split == "val" and shown.predictions is not None:
        seen = len(shown.predictions.labels)
    return f"{seen:,} validation images" if seen else "validation images"


def basis(run: RunFolder, fit: dict[str, Any]) -> str:
    """What the headline figures rest on, in a line: source of the images, seed, hardware, version."""
    source = type(run.datamodule.source).__name__
    found = [f"Images of {source}, {run.trained.image_size} pixels a side"]
    found += [seed_of(fit)] if "seed" in fit else []
    found += [str(fit[name]) for name in ("hardware", "precision") if fit.get(name)]
    found += [f"torch {fit['versions']['torch']}"] if fit.get("versions", {}).get("torch") else []
    line = "; ".join(found) + "."
    if fit.get("started") and not fit.get("finished"):
        line += " The training has not finished: it goes on, or was interrupted."
    return line


def facts(run: RunFolder, fit: dict[str, Any], predictions: Predictions | None, split: Split) -> dict[str, str]:
    """What has to be known to judge the figures."""

    def described(group: dict[str, Any], part: str, default: str) -> str:
        value = group.get(part)
        if not isinstance(value, dict):
            return default
        arguments = (value.get("init_args") or {}) | (value.get("dict_kwargs") or {})
        options = ", ".join(f"{key} {option}" for key, option in arguments.items() if option is not None)
        return f"{value['class_path']} ({options})" if options else value["class_path"]

    found = {
        "Backbone": described(run.model_config, "backbone", type(run.trained.classifier.backbone).__name__),
        "Images": described(run.data_config, "source", type(run.datamodule.source).__name__),
    }
    if predictions:
        found["Shown here"] = f"{len(predictions.labels):,} {SPLIT_NAMES[split]} images"
    found |= {
        "Checkpoint": run.checkpoint.name,
        "Seed": seed_of(fit),
        "Hardware": fit.get("hardware", "not recorded"),
        "Precision": fit.get("precision", "not recorded"),
        "Versions": ", ".join(f"{k} {v}" for k, v in fit.get("versions", {}).items()) or "not recorded",
        "Commit": fit.get("git_commit") or "not recorded",
        "Trained": trained_when(fit),
    }
    return found


def seed_of(fit: dict[str, Any]) -> str:
    """Such as ``seed 3``, or that the run had none."""
    if "seed" not in fit:
        return "not recorded"
    order = f" (order of the images and augmentation: {fit['order_seed']})" if "order_seed" in fit else ""
    if fit["seed"] is None:
        return f"not seeded{order}"
    return f"seed {fit['seed']}{order if fit.get('order_seed', fit['seed']) != fit['seed'] else ''}"


def trained_when(fit: dict[str, Any]) -> str:
    """When a fit ended, or that it has not."""
    if fit.get("finished"):
        return fit["finished"].replace("T", " ")
    if fit.get("started"):
        return f"unfinished: started {fit['started'].replace('T', ' ')}, and still running or interrupted"
    return "not recorded"


def curves(metrics: Metrics, first_rate: float | None = None) -> list[str] | None:
    """Loss, accuracy and learning rate over the epochs; ``first_rate`` is that of the first step."""
    found = []
    for title, suffix, percent in (("Loss", "loss", False), ("Accuracy", "accuracy", True)):
        series = {
            name: metrics[f"{key}/{suffix}"]
            for name, key in (("training", "train"), ("validation", "val"))
            if f"{key}/{suffix}" in metrics
        }
        if series:
            few = len(next(iter(series.values()))[0]) <= 15
            found.append(charts.svg(charts.lines(title, "epoch", series, percent, few), f"{title} over the epochs"))
    epochs, rates = metrics.get("lr", ([], []))
    if first_rate is not None and epochs and epochs[0] > 0:
        epochs, rates = [0.0, *epochs], [first_rate, *rates]
    if len(epochs) > 1:
        chart = charts.lines("Learning rate", "epoch", {"": (epochs, rates)}, bottom=0)
        found.append(charts.svg(chart, "Learning rate over the epochs"))
    return found or None


def confusion(predictions: Predictions, names: tuple[str, ...]) -> dict[str, Any]:
    """The confusion matrix and the table of classes that follows from it.

    None stands for what is not defined: all figures of a class without images, the precision of a class that no image
    was taken for.
    """
    n = len(names)
    matrix = torch.bincount(predictions.labels * n + predictions.classes, minlength=n * n).view(n, n).numpy()
    right, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    f1 = 2 * right / (true + predicted).clip(1)
    wrong = matrix - np.diag(right)
    rows = [
        {
            "name": name,
            "images": int(true[i]),
            "recall": right[i] / true[i] if true[i] else None,
            "precision": right[i] / predicted[i] if true[i] and predicted[i] else None,
            "f1": f1[i] if true[i] else None,
            "mistaken": names[wrong[i].argmax()] if wrong[i].any() else "",
            "times": int(wrong[i].max()),
        }
        for i, name in enumerate(names)
    ]
    few = n <= TABLE_CLASSES
    return {
        "matrix": matrix.tolist() if few else None,
        "shares": (matrix / true.clip(1)[:, None]).tolist() if few else None,
        "names": names,
        "rows": rows,
        "pairs": [
            (names[i], names[j], int(wrong[i, j]), wrong[i, j] / true[i])
            for i, j in worst_confusions(matrix, PAIRS if few else MANY_PAIRS)
        ],
    }


def calibration(predictions: Predictions) -> dict[str, Any]:
    """The reliability diagram and the expected calibration error (ECE)."""
    confidence = predictions.probabilities.amax(1).numpy()
    correct = (predictions.classes == predictions.labels).numpy()
    bins = bins_of(confidence, correct, BINS)
    return {
        "chart": charts.svg(charts.reliability(bins), "Accuracy over confidence"),
        "ece": bins.error,
        "confidence": float(confidence.mean()),
        "accuracy": float(correct.mean()),
        "bins": BINS,
    }


def thumbnail(image: Tensor, side: int = 96) -> str:
    """A uint8 image (3, H, W) as an address to show; larger ones scaled down."""
    pixels = image.permute(1, 2, 0).numpy()
    if max(pixels.shape[:2]) > side:
        pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))
    return charts.picture(pixels)


def mistakes(predictions: Predictions, images: ImageSet, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The wrong answers that the network was surest of."""
    probabilities = predictions.probabilities
    confidence = probabilities.amax(1).masked_fill(predictions.classes == predictions.labels, -1)
    surest = confidence.argsort(descending=True, stable=True)[:MISTAKES].tolist()
    return [
        {
            "src": thumbnail(images.images[i]),
            "true": names[images.labels[i]],
            "predicted": names[predictions.classes[i]],
            "confidence": confidence[i].item(),
            "of_true": probabilities[i, images.labels[i]].item(),
        }
        for i in surest
        if confidence[i] >= 0
    ]


def filters(folder: Path) -> list[dict[str, Any]] | None:
    """The pictures of the filters that the run has drawn, by epoch; evenly chosen where there are many."""
    epochs: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("epoch_*_*.png")):
        if match := re.fullmatch(r"epoch_(\d+)_(first|last)", path.stem):
            epochs.setdefault(int(match[1]), {})[match[2]] = path
    numbers = sorted(epochs)
    if len(numbers) > FILTER_FRAMES:
        numbers = [numbers[round(i * (len(numbers) - 1) / (FILTER_FRAMES - 1))] for i in range(FILTER_FRAMES)]
    frames = []
    for number in numbers:
        pictures = {}
        for place, path in epochs[number].items():
            with Image.open(path) as image:
                pictures[place] = {"src": charts.picture(np.asarray(image.convert("RGB"))), "size": image.size}
        frames.append({"epoch": number, "pictures": pictures})
    return frames or None


def one_of_each_class(images: ImageSet, most: int) -> list[int]:
    """The first image of each of up to ``most`` classes."""
    found = [(images.labels == label).nonzero() for label in range(len(images.class_names))]
    return [int(places[0]) for places in found if len(places)][:most]


@torch.inference_mode()
def feature_maps(run: RunFolder, images: ImageSet, layers: list[Layer], channels: int = 8) -> dict[str, Any]:
    """The first channels of some layers for a few images; each map on a scale of its own.

    Raises:
        InputError: the network has no feature maps.
    """
    network = run.trained.classifier.backbone
    shown = map_layers(network, layers, 5)
    if not shown:
        raise InputError(f"{type(network).__name__} has none")
    places = one_of_each_class(images, 4)
    with outputs_of(network, [layer.name for layer in shown]) as outputs:
        run.trained.classifier(normalised(run, images.images[places]))
    found = []
    for index, place in enumerate(places):
        rows = []
        for layer in shown:
            assert layer.layout is not None
            maps = layer.layout.maps(outputs[layer.name])[index, :channels].float().cpu().numpy()
            rows.append([charts.picture(charts.colored(each, each.min(), each.max())) for each in maps])
        found.append(
            {
                "src": thumbnail(images.images[place]),
                "name": images.class_names[images.labels[place]],
                "rows": rows,
            }
        )
    return {"layers": shown, "images": found, "channels": channels}


def cam(run: RunFolder, images: ImageSet, predictions: Predictions) -> dict[str, Any]:
    """Grad-CAM of the predicted class at the last feature maps, of right answers and of the surest mistakes.

    Raises:
        InputError: the network has no feature maps.
    """
    network = run.trained.classifier.backbone
    last = last_maps(network, normalised(run, images.images[:1]), len(images.class_names))
    if last is None:
        raise InputError(f"{type(network).__name__} has no feature maps that its answer depends on")
    right = predictions.classes == predictions.labels
    confidence = predictions.probabilities.amax(1)
    few = 6
    places = [place for place in one_of_each_class(images, len(images.class_names)) if right[place]][:few]
    wrong = confidence.masked_fill(right, -1).argsort(descending=True, stable=True)[:few].tolist()
    places += [place for place in wrong if not right[place]]
    pixels = normalised(run, images.images[places])
    heat = grad_cam(network, last.name, pixels, predictions.classes[places].to(pixels.device), last.layout)
    found = []
    for place, each in zip(places, heat.cpu().numpy(), strict=True):
        factor = max(1, 96 // images.images.shape[-1])
        shown = images.images[place].permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1)
        size = (shown.shape[1], shown.shape[0])
        large = np.asarray(Image.fromarray(each.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
        overlay = 0.5 * shown + 0.5 * charts.colored(large, 0, 1, "turbo")
        found.append(
            {
                "src": thumbnail(images.images[place]),
                "heat": charts.picture(overlay.round().astype(np.uint8)),
                "predicted": images.class_names[predictions.classes[place]],
                "true": images.class_names[images.labels[place]],
                "right": bool(right[place]),
            }
        )
    return {"layer": last.name, "images": found}


def theory_content(theory: Theory) -> dict[str, Any]:
    """Equivariance, invariance and sharing, as the template shows them."""
    equivariance, invariance = theory.equivariance, theory.invariance
    frames = [
        [[charts.picture(each) for each in example_pictures(*examples[shift])] for examples in equivariance.examples]
        for shift in range(len(equivariance.errors[0]))
    ]
    curve = {"": invariance}
    return {
        "layers": equivariance.layers,
        "errors": equivariance.errors,
        "frames": frames,
        "images": equivariance.images,
        "features": charts.svg(feature_chart(curve), "Change of the pooled features over the shift"),
        "predictions": charts.svg(prediction_chart(curve), "Predictions over the shift"),
        "invariance": invariance,
        "sharing": theory.sharing,
    }
