"""The facts needed to judge and reproduce a run: backbone, images, seed, hardware, versions, commit."""

from typing import Any

from cifar_cnn.analysis.report.material import Material
from cifar_cnn.analysis.shown import SPLIT_NAMES
from cifar_cnn.runs.schemas import FitRecord


def facts(material: Material) -> dict[str, str]:
    """The environment of the run, by name."""
    run, fit = material.run, material.run.record
    source = type(run.datamodule.source).__name__
    found = {
        "Backbone": _described(run.model_config, "backbone", type(material.network).__name__),
        "Images": _described(run.data_config, "source", source),
    }
    if material.predictions:
        found["Shown here"] = f"{len(material.predictions.labels):,} {SPLIT_NAMES[material.shown.split]} images"
    return found | {
        "Checkpoint": run.checkpoint.name,
        "Seed": seed_of(fit),
        "Hardware": fit.get("hardware", "not recorded"),
        "Precision": fit.get("precision", "not recorded"),
        "Versions": ", ".join(f"{k} {v}" for k, v in fit.get("versions", {}).items()) or "not recorded",
        "Packages": fit.get("packages", "not recorded"),
        "Commit": fit.get("git_commit") or "not recorded",
        "Working folder": working_folder(fit),
        "Trained": trained_when(fit),
    }


def _described(config: dict[str, Any], part: str, default: str) -> str:
    """Class and options of a part of a config; ``default`` for a part that was given as a Python object."""
    value = config.get(part)
    if not isinstance(value, dict):
        return default
    arguments = (value.get("init_args") or {}) | (value.get("dict_kwargs") or {})
    options = ", ".join(f"{key} {option}" for key, option in arguments.items() if option is not None)
    name = value.get("class_path", default)
    return f"{name} ({options})" if options else name


def working_folder(fit: FitRecord) -> str:
    """The commit of the working folder and its changes; ``fit`` is the content of fit.json."""
    folder = fit.get("working_folder")
    if not folder:
        return "not in a git repository" if "working_folder" in fit else "not recorded"
    untracked = len(folder.get("untracked", []))
    found = [f"commit {folder.get('commit')}"]
    found += [f"changes in {folder['diff']}"] if folder.get("diff") else ["no changes to tracked files"]
    found += [f"{untracked} untracked file{'s' * (untracked > 1)}"] if untracked else []
    return ", ".join(found)


def seed_of(fit: FitRecord) -> str:
    """The seed of a run, such as ``seed 3``; ``fit`` is the content of fit.json."""
    if "seed" not in fit:
        return "not recorded"
    order = f" (image order and augmentation: seed {fit['order_seed']})" if "order_seed" in fit else ""
    if fit["seed"] is None:
        return f"not seeded{order}"
    return f"seed {fit['seed']}{order if fit.get('order_seed', fit['seed']) != fit['seed'] else ''}"


def trained_when(fit: FitRecord) -> str:
    """When a training finished; if it has not, when it started."""
    if finished := fit.get("finished"):
        return finished.replace("T", " ")
    if started := fit.get("started"):
        return f"unfinished: started {started.replace('T', ' ')}, and still running or interrupted"
    return "not recorded"
