"""Assemble the sections of a report and write the page."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from cifar_cnn.analysis.network.layers import layers_of
from cifar_cnn.analysis.numbers import count
from cifar_cnn.analysis.pages import render
from cifar_cnn.analysis.report import (
    calibration,
    cam,
    classes,
    curves,
    filters,
    layers,
    maps,
    mistakes,
    robustness,
    theory,
)
from cifar_cnn.analysis.report.environment import facts
from cifar_cnn.analysis.report.material import Material
from cifar_cnn.analysis.report.overview import basis, tiles
from cifar_cnn.analysis.shown import SPLIT_NAMES, find_shown, or_reason
from cifar_cnn.base.files import write
from cifar_cnn.base.paths import relative
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.runs.run import RunFolder
from cifar_cnn.runs.schemas import read_config

log = logging.getLogger("cifar_cnn")

# In the order of the page. A new section is a module with a SECTION, a template, and an entry here.
SECTIONS = (
    curves.SECTION,
    classes.SECTION,
    calibration.SECTION,
    robustness.SECTION,
    mistakes.SECTION,
    filters.SECTION,
    maps.SECTION,
    cam.SECTION,
    layers.SECTION,
    theory.SECTION,
)


def try_to_write_report(
    folder: Path, datamodule: CIFAR10DataModule | None = None, backbone: nn.Module | None = None
) -> Path | None:
    """Write a run's report; if that fails, log a warning and return None.

    Args:
        folder: the run's folder.
        datamodule: a data module that has the run's images in memory.
        backbone: the network, if it cannot be rebuilt from the run's checkpoint.
    """
    try:
        return write_report(RunFolder(folder, datamodule=datamodule, backbone=backbone))
    except Exception as error:  # a failed report must not end a training
        log.warning("No report was written: %s (%s); run `cifar-cnn report` to try again", error, type(error).__name__)
        return None


def write_report(run: RunFolder) -> Path:
    """Write report.html into the run's folder, replacing an older one.

    Raises:
        OSError: the folder cannot be written.
    """
    page = render("page.html.j2", content(run))
    path = run.folder / "report.html"
    write(path, page)
    return path


def content(run: RunFolder) -> dict[str, Any]:
    """The variables of the page's template.

    A section that fails, for example because the images are missing, is left out, and ``missing`` contains a line with
    the reason.
    """
    missing: list[str] = []
    if or_reason("Command, seed and environment", lambda: run.record, missing) is None:
        run = run.without_record()
    metrics = or_reason("Learning curves", lambda: curves.read_metrics(run.folder / "metrics.csv"), missing) or {}
    shown = find_shown(run)
    missing += shown.missing
    shape = (run.trained.channels, run.trained.image_size, run.trained.image_size)
    network_layers = or_reason("Layers", lambda: layers_of(run.trained.classifier.backbone, shape), missing)
    material = Material(run, shown, metrics, network_layers)
    fit = run.record
    return {
        "title": run.title,
        "config_name": run.label,
        "basis": basis(run),
        "run": run.folder.name,
        "split": SPLIT_NAMES[shown.split],
        "tiles": tiles(material),
        "sections": _sections(material, missing),
        "facts": facts(material),
        "command": "\n".join(part["command"] for part in run.sessions if "command" in part),
        "program": str(fit.get("command", "")).partition(" fit")[0] or "cifar-cnn",
        "config_path": relative(run.folder / "config.yaml"),
        "config": or_reason("Config", partial(_config_text, run), missing) or "",
        "missing": missing,
        "count": count,
    }


def _config_text(run: RunFolder) -> str:
    """The text of config.yaml with its comments."""
    read_config(run.folder)  # raises if the file is damaged
    return (run.folder / "config.yaml").read_text(encoding="utf-8")


def _sections(material: Material, missing: list[str]) -> list[dict[str, Any]]:
    """Make the sections that have content; the reasons for the others are added to ``missing``."""
    found = []
    for section in SECTIONS:
        make: Callable[[], Any] = partial(section.content, material)
        if shown := or_reason(section.subject, make, missing):
            template = f"{section.id}.html.j2"
            found.append({"id": section.id, "name": section.name, "template": template, "content": shown})
    return found
