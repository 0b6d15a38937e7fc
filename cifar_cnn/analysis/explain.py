"""``cifar-cnn explain``: equivariance, invariance, parameter sharing and local connectivity of a trained network."""

import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cifar_cnn.analysis import charts
from cifar_cnn.analysis.network.layers import Layer, Sharing, layers_of, sharing_of
from cifar_cnn.analysis.network.maps import map_layers, outputs_of
from cifar_cnn.analysis.shown import SPLIT_NAMES, normalised
from cifar_cnn.data import ImageSet
from cifar_cnn.data.images import random_order
from cifar_cnn.errors import InputError
from cifar_cnn.files import write
from cifar_cnn.runs.checkpoints import Trained
from cifar_cnn.runs.run import RunFolder, Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SHIFT = 8  # pixels
BATCH = 250  # images at a time
POOLINGS = {"flatten": "flatten", "max_pool": "max-pool", "average": "average"}


@dataclass(frozen=True)
class Equivariance:
    """How far the feature maps of a shifted image are from the shifted feature maps.

    Attributes:
        layers: whose maps.
        errors: for each layer the relative error at each shift of 0 to MAX_SHIFT pixels: the norm of the difference
            over the norm of the shifted maps, where both have values; NaN where the maps are too small to be shifted.
        examples: for each layer and shift, of the first image the shifted map, the map of the shifted image, both
            (H, W), of the channel that varies most.
        example: the first image, uint8, (C, H, W).
        images: how many were measured, together.
    """

    layers: list[Layer]
    errors: list[list[float]]
    examples: list[list[tuple[Tensor, Tensor]]]
    example: Tensor
    images: int


@dataclass(frozen=True)
class Invariance:
    """What stays the same when images are shifted by 0 to MAX_SHIFT pixels, each in one of four directions.

    Attributes:
        features: by pooling (the keys of POOLINGS, and ``head`` for what the network's own head makes of the last
            maps) the change of the features at each shift. 1 is the change from an image to an unrelated one.
        head: name of the module that pools in the network.
        same_class: share of the images whose predicted class is that of the unshifted image, at each shift.
        accuracy: at each shift.
        images: how many.
    """

    features: dict[str, list[float]]
    head: str
    same_class: list[float]
    accuracy: list[float]
    images: int


@dataclass(frozen=True)
class Theory:
    """The three together."""

    equivariance: Equivariance
    invariance: Invariance
    sharing: list[Sharing]


def explain(trained: Trained, image_set: ImageSet, images: int, layers: list[Layer] | None = None) -> Theory:
    """Measure a trained network on a random sample of ``images`` images; equivariance on up to 32 of them.

    Args:
        trained: the network.
        image_set: the images to choose from.
        images: how many.
        layers: of the network, where they are known already.

    Raises:
        InputError: the network has no feature maps.
    """
    network = trained.classifier.backbone
    layers = layers_of(network, tuple(image_set.images.shape[1:])) if layers is None else layers
    if not any(layer.is_map for layer in layers):
        raise InputError(f"{type(network).__name__} has no feature maps to explain")
    some = image_set.subset(random_order(len(image_set))[:images])
    shown = map_layers(network, layers, 12)
    return Theory(
        measure_equivariance(trained, some.images[: max(1, min(32, len(some) // 3))], shown),
        measure_invariance(trained, some, layers),
        sharing_of(network, layers),
    )


def shift(images: Tensor, pixels: int, direction: tuple[int, int]) -> Tensor:
    """Move images; what comes in at the other side mirrors what lies there.

    Args:
        images: (N, C, H, W), any dtype.
        pixels: how far, less than H and W.
        direction: (down, right), each -1, 0 or 1.
    """
    if not pixels:
        return images
    height, width = images.shape[-2:]
    padded = functional.pad(images.float(), (pixels,) * 4, "reflect")
    top, left = pixels * (1 - direction[0]), pixels * (1 - direction[1])
    return padded[..., top : top + height, left : left + width].to(images.dtype)


def measure_equivariance(trained: Trained, images: Tensor, layers: list[Layer]) -> Equivariance:
    """Shift images to the right and compare the layers' maps; between two places of a map lies the mean of them.

    Args:
        trained: the network.
        images: uint8, (N, C, H, W).
        layers: of the network, whose outputs are maps.
    """
    shifts = range(min(MAX_SHIFT, images.shape[-1] - 1) + 1)
    plain = _maps(trained, images, layers)
    errors: list[list[float]] = [[] for _ in layers]
    examples: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
    channels = [maps[0].std((1, 2)).argmax() for maps in plain]
    for pixels in shifts:
        moved = _maps(trained, shift(images, pixels, (0, 1)), layers)
        for index, layer in enumerate(layers):
            expected, actual = shifted_maps(plain[index], pixels / layer.field.stride), moved[index]
            lost = actual.shape[-1] - expected.shape[-1]
            overlap = actual[..., lost:]
            norm = expected.norm().item()
            errors[index].append((overlap - expected).norm().item() / norm if norm else math.nan)
            blank = torch.full_like(actual[0, 0], math.nan)
            blank[:, lost:] = expected[0, channels[index]]
            examples[index].append((blank.cpu(), actual[0, channels[index]].cpu()))
    return Equivariance(layers, errors, examples, images[0], len(images))


def shifted_maps(maps: Tensor, places: float) -> Tensor:
    """Maps (N, C, H, W) moved to the right by so many places, without the places that nothing was moved to."""
    whole = math.floor(places)
    part = places - whole
    width = maps.shape[-1]
    if not part:
        return maps[..., : max(width - whole, 0)]
    right, left = maps[..., 1 : max(width - whole, 1)], maps[..., : max(width - whole - 1, 0)]
    return (1 - part) * right + part * left


def measure_invariance(trained: Trained, image_set: ImageSet, layers: list[Layer]) -> Invariance:
    """Shift each image up, down, left or right, in turn, and see what features and prediction do.

    Args:
        trained: the network.
        image_set: the images.
        layers: all of the network's.
    """
    last, layout = max((index, layer.layout) for index, layer in enumerate(layers) if layer.layout is not None)
    head = layers[min(last + 1, len(layers) - 1)]
    names = [layers[last].name, head.name]
    images, labels = image_set.images, image_set.labels
    plain: dict[str, Tensor] = {}
    unrelated: dict[str, float] = {}
    found: dict[str, list[float]] = {}
    classes = []
    for pixels in range(min(MAX_SHIFT, images.shape[-1] - 1) + 1):
        moved = torch.empty_like(images)
        for turn, direction in enumerate(((0, 1), (1, 0), (0, -1), (-1, 0))):
            moved[turn::4] = shift(images[turn::4], pixels, direction)
        collected: dict[str, list[Tensor]] = {}
        logits = []
        with torch.inference_mode(), outputs_of(trained.classifier.backbone, names) as outputs:
            for batch in moved.split(BATCH):
                logits.append(trained.classifier(normalised(trained, batch)).cpu())
                maps = layout.maps(outputs[names[0]])
                features = {
                    "flatten": maps.flatten(1),
                    "max_pool": maps.amax((2, 3)),
                    "average": maps.mean((2, 3)),
                    "head": outputs[names[1]].flatten(1),
                }
                for name, values in features.items():
                    collected.setdefault(name, []).append(values.float().cpu())
        classes.append(torch.cat(logits).argmax(1))
        for name, parts in collected.items():
            pooled = torch.cat(parts)
            if not pixels:
                plain[name] = pooled
                # Folders list their images class by class: half a set away is another class.
                unrelated[name] = _mean_distance(pooled, pooled.roll(max(len(pooled) // 2, 1), 0))
            change = _mean_distance(pooled, plain[name]) / unrelated[name] if unrelated[name] else math.nan
            found.setdefault(name, []).append(change)
    return Invariance(
        found,
        head.name,
        [(each == classes[0]).float().mean().item() for each in classes],
        [(each == labels).float().mean().item() for each in classes],
        len(labels),
    )


def _mean_distance(a: Tensor, b: Tensor) -> float:
    return (a - b).norm(dim=1).mean().item()


@torch.inference_mode()
def _maps(trained: Trained, images: Tensor, layers: list[Layer]) -> list[Tensor]:
    network: nn.Module = trained.classifier.backbone
    with outputs_of(network, [layer.name for layer in layers]) as outputs:
        trained.classifier(normalised(trained, images))
    return [layer.layout.maps(outputs[layer.name]).float() for layer in layers if layer.layout is not None]


Curves = dict[str, tuple[range, list[float]]]


def feature_curves(curves: dict[str, Invariance]) -> Curves:
    """How much the features change with the shift: of one network pooled in three ways, of several each one's own.

    Args:
        curves: by the name of the run.
    """
    if len(curves) == 1:
        (only,) = curves.values()
        series = {label: only.features[name] for name, label in POOLINGS.items()}
    else:
        series = {name: each.features["head"] for name, each in curves.items()}
    return {name: (range(len(values)), values) for name, values in series.items()}


def prediction_curves(curves: dict[str, Invariance]) -> Curves:
    """How many predictions stay the same with the shift, and for a single network its accuracy."""
    if len(curves) == 1:
        (only,) = curves.values()
        series = {"same as unshifted": only.same_class, "accuracy": only.accuracy}
    else:
        series = {name: each.same_class for name, each in curves.items()}
    return {name: (range(len(values)), values) for name, values in series.items()}


FEATURES = "Change of the pooled features"
UNIT = "1 = to an unrelated image"
SHIFT = "shift, pixels"


def feature_chart(curves: dict[str, Invariance]) -> "Figure":
    """:func:`feature_curves` as a chart."""
    figure = charts.lines(FEATURES, SHIFT, feature_curves(curves), False, True, 0)
    figure.axes[0].set_ylabel(UNIT)
    return figure


def prediction_chart(curves: dict[str, Invariance]) -> "Figure":
    """:func:`prediction_curves` as a chart."""
    return charts.lines("Predictions", SHIFT, prediction_curves(curves), True, True, 0)


def side_by_side_chart(curves: dict[str, Invariance]) -> "Figure":
    """Features and predictions of several networks over the shift, a line a network."""
    with charts.chart(8.4, 3.3, panels=2) as (figure, (left, right)):
        names = charts.draw_lines(left, FEATURES, SHIFT, feature_curves(curves), markers=True, bottom=0)
        left.set_ylabel(UNIT)
        title = "Predictions of the same class as unshifted"
        charts.draw_lines(right, title, SHIFT, prediction_curves(curves), percent=True, markers=True, bottom=0)
        charts.legend_below(figure, names)
        return figure


def equivariance_chart(equivariance: Equivariance, pixels: tuple[int, ...] = (3, 4)) -> "Figure":
    """The shifted maps, the maps of the shifted image and their difference: a row a layer, for some shifts."""
    pixels = tuple(shift for shift in pixels if shift < len(equivariance.errors[0]))
    rows = len(equivariance.layers)
    # The shifted, nothing moved there: the colour of the axes shows through.
    with charts.chart(0.9 + 4.1 * len(pixels), 0.75 + 1.42 * (rows + 1), panels=0) as (figure, _):
        blocks = figure.subfigures(1, len(pixels), squeeze=False)[0]
        for block, by in zip(blocks, pixels, strict=True):
            block.suptitle(f"shifted by {by} pixels", fontsize=10, fontweight="bold")
            grid = block.subplots(rows + 1, 3, squeeze=False)
            for axes in grid.flat:
                axes.set(xticks=[], yticks=[], facecolor=charts.LINE)
                axes.grid(False)
                axes.spines[:].set_visible(False)
            images = [
                each.permute(1, 2, 0).numpy()
                for each in (equivariance.example, shift(equivariance.example[None], by, (0, 1))[0])
            ]
            for axes, image, title in zip(grid[0], images, ("image", "image, shifted"), strict=False):
                axes.imshow(image, interpolation="nearest")
                axes.set_title(title, fontsize=8.5, fontweight="normal", loc="center")
            grid[0][2].set_visible(False)
            for row, (layer, examples) in enumerate(zip(equivariance.layers, equivariance.examples, strict=True), 1):
                for axes, picture in zip(grid[row], example_pictures(*examples[by]), strict=True):
                    axes.imshow(picture, interpolation="nearest")
                grid[row][2].set_xlabel(
                    f"error {equivariance.errors[row - 1][by]:.1%}", fontsize=8.5, color=charts.TEXT
                )
                if block is blocks[0]:
                    name = layer.name if len(layer.name) <= 22 else f"…{layer.name[-21:]}"  # as a row is high
                    grid[row][0].set_ylabel(f"{name}\n{layer.kind}, stride {layer.field.stride}", fontsize=8)
            for axes, title in zip(grid[1], ("map, shifted", "map of shifted image", "difference"), strict=True):
                axes.set_title(title, fontsize=8.5, fontweight="normal", loc="center")
        return figure


def example_pictures(expected: Tensor, actual: Tensor) -> list[np.ndarray]:
    """The shifted map, the map of the shifted image and their difference, on one scale: uint8 RGBA, (H, W, 4) each."""
    low, high = actual.min().item(), actual.max().item()
    reach = (high - low) / 2  # a difference of half the range is red or blue in full
    pictures = [charts.colored(each.numpy(), low, high) for each in (expected, actual)]
    pictures.append(charts.colored((actual - expected).nan_to_num().numpy(), -reach, reach, "RdBu_r"))
    opaque = np.full((*actual.shape, 1), 255, np.uint8)
    partly = opaque * ~expected.isnan().numpy()[..., None]
    return [np.concatenate(each, 2) for each in zip(pictures, (partly, opaque, partly), strict=True)]


def explain_runs(runs: list[RunFolder], images: int = 1000, output: Path | None = None) -> Path:
    """Measure and print the theory of several runs, and write pictures and numbers.

    Args:
        runs: drawn side by side.
        images: how many of each run's test or validation images to measure on; 2 or more.
        output: the folder to write into; None: ``explain`` in the folder of the first run.

    Returns:
        The folder.

    Raises:
        InputError: a run has no images, or the folder cannot be written.
    """
    output = output or runs[0].folder / "explain"
    there = next(each for each in (output, *output.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):  # measuring takes minutes
        raise InputError(f"cannot write into {output}: name a folder with --output")
    theories: dict[str, Theory] = {}
    digests = set()
    for label, run in zip(labels_of(runs), runs, strict=True):
        split = split_to_look_at(run)
        image_set = run.images(split)
        digests.add(hashlib.sha256(image_set.images.numpy().tobytes()).digest())
        chosen = f"{min(images, len(image_set)):,} {SPLIT_NAMES[split]} images"
        print(f"{label}: {run.title}, on {chosen}\n" if label != run.title else f"{label}, on {chosen}\n")
        theories[label] = explain(run.trained, image_set, images)
        print(as_text(theories[label]))
    if len(runs) > 1:
        print(side_by_side({label: theory.invariance for label, theory in theories.items()}))
        if len(digests) > 1:
            print("Not all were measured on the same images; between other images, a difference says little.\n")
    try:
        output.mkdir(parents=True, exist_ok=True)
        curves = {label: theory.invariance for label, theory in theories.items()}
        if len(runs) > 1:
            write(output / "side_by_side.png", charts.png(side_by_side_chart(curves)))
        else:
            write(output / "features.png", charts.png(feature_chart(curves)))
            write(output / "predictions.png", charts.png(prediction_chart(curves)))
        for label, theory in theories.items():
            name = "equivariance_" + re.sub(r"[^\w.-]+", "_", label) if len(runs) > 1 else "equivariance"
            write(output / f"{name}.png", charts.png(equivariance_chart(theory.equivariance)))
        numbers = {label: as_numbers(theory) for label, theory in theories.items()}
        write(output / "explain.json", json.dumps(numbers, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"cannot write into {output}: {error.strerror}; name a folder with --output") from error
    return output


def labels_of(runs: list[RunFolder]) -> list[str]:
    """What to call runs: by their config, where that does not tell them apart by their network, seed or folder.

    Raises:
        InputError: a run is given twice.
    """
    folders = [os.path.relpath(run.folder) for run in runs]
    if twice := {folder for folder in folders if folders.count(folder) > 1}:
        raise InputError(f"given twice: {', '.join(sorted(twice))}")
    configs = [run.label for run in runs]
    numbers = [run.record.get("seed") for run in runs]
    named = zip(configs, numbers, strict=True)
    seeds = [f"{name} seed {seed}" if name and seed is not None else "" for name, seed in named]
    for labels in (configs, [run.title for run in runs], seeds):
        if all(labels) and len(set(labels)) == len(runs):
            return labels
    return folders


def split_to_look_at(run: RunFolder) -> Split:
    """Test images for a run that has been tested; before that they are left alone."""
    return "test" if (run.folder / "test.json").is_file() else "val"


def as_text(theory: Theory) -> str:
    """The numbers as a table for the terminal."""
    shifts = range(len(theory.invariance.same_class))
    width = max(24, *(len(layer.name) for layer in theory.equivariance.layers))
    head = " ".join(f"{shift:>6}" for shift in shifts)
    lines = ["Equivariance: difference between the maps of a shifted image and the shifted maps, by pixels of shift"]
    lines.append(f"  {'layer':{width}} {head}   stride")
    for layer, errors in zip(theory.equivariance.layers, theory.equivariance.errors, strict=True):
        cells = " ".join(f"{error:6.1%}" if math.isfinite(error) else "     -" for error in errors)
        lines.append(f"  {layer.name:{width}} {cells}   {layer.field.stride}")
    lines += ["", "Invariance: change of the last features by pixels of shift (1.00: as to another image)"]
    lines.append(f"  {'':{width}} {head}")
    for name in (*POOLINGS, "head"):
        label = f"own head ({theory.invariance.head})" if name == "head" else name
        lines.append(f"  {label:{width}} " + " ".join(f"{v:6.2f}" for v in theory.invariance.features[name]))
    rows = {"same predicted class": theory.invariance.same_class, "accuracy": theory.invariance.accuracy}
    lines += [f"  {name:{width}} " + " ".join(f"{v:6.1%}" for v in values) for name, values in rows.items()]
    lines += ["", "Parameter sharing and local connectivity, beside a fully connected layer of the same sizes"]
    lines.append(f"  {'layer':{width}} {'parameters':>12} {'fully':>16} {'connections':>14} {'fully':>16}")
    for each in theory.sharing:
        numbers = f"{each.parameters:>12,} {each.full_parameters:>16,}"
        lines.append(f"  {each.name:{width}} {numbers} {each.connections:>14,} {each.full_connections:>16,}")
    return "\n".join(lines) + "\n"


def side_by_side(curves: dict[str, Invariance]) -> str:
    """What a shift changes in several networks, as tables for the terminal with a line a network."""
    width = max(24, *map(len, curves))
    head = " ".join(f"{pixels:>6}" for pixels in range(max(len(each.same_class) for each in curves.values())))
    lines = [f"Side by side, by pixels of shift\n  {'':{width}} {head}"]
    lines.append("change of the pooled features (1.00: as to another image)")
    for name, each in curves.items():
        lines.append(f"  {name:{width}} " + " ".join(f"{value:6.2f}" for value in each.features["head"]))
    lines.append("same predicted class as unshifted")
    for name, each in curves.items():
        lines.append(f"  {name:{width}} " + " ".join(f"{value:6.1%}" for value in each.same_class))
    lines.append("accuracy")
    for name, each in curves.items():
        lines.append(f"  {name:{width}} " + " ".join(f"{value:6.1%}" for value in each.accuracy))
    return "\n".join(lines) + "\n"


def as_numbers(theory: Theory) -> dict[str, object]:
    """All numbers, for a file; what could not be measured is null."""

    def finite(values: list[float]) -> list[float | None]:
        return [round(value, 6) if math.isfinite(value) else None for value in values]

    equivariance, invariance = theory.equivariance, theory.invariance
    return {
        "equivariance_error": {
            layer.name: finite(errors) for layer, errors in zip(equivariance.layers, equivariance.errors, strict=True)
        },
        "equivariance_images": equivariance.images,
        "feature_change": {name: finite(values) for name, values in invariance.features.items()},
        "same_class": finite(invariance.same_class),
        "accuracy": finite(invariance.accuracy),
        "invariance_images": invariance.images,
        "layers": {
            each.name: {
                "parameters": each.parameters,
                "fully_connected_parameters": each.full_parameters,
                "connections": each.connections,
                "fully_connected_connections": each.full_connections,
            }
            for each in theory.sharing
        },
    }
