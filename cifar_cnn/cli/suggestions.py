"""Suggest valid names for an unknown name."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from cifar_cnn.base import packaged_configs

# Names that other programs use for these options, without sections.
_MEANT = {
    **dict.fromkeys(("epochs", "epoch", "num_epochs", "n_epochs", "nb_epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("steps", "iterations", "num_steps", "max_iter"), "trainer.max_steps"),
    **dict.fromkeys(("lr", "learning_rate", "rate", "base_lr"), "model.optimizer.lr"),
    **dict.fromkeys(("wd", "weight_decay", "l2"), "model.optimizer.weight_decay"),
    **dict.fromkeys(("momentum", "mom"), "model.optimizer.momentum"),
    **dict.fromkeys(("optimizer", "optim", "opt", "optimiser"), "model.optimizer"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "sched", "lr_schedule"), "model.schedule"),
    **dict.fromkeys(("loss", "criterion", "loss_function", "loss_fn"), "model.loss"),
    **dict.fromkeys(("arch", "net", "network", "backbone", "model_name", "architecture"), "model.backbone"),
    **dict.fromkeys(("dropout", "drop", "drop_rate", "p_drop"), "model.backbone.dropout"),
    **dict.fromkeys(("classes", "n_classes", "nb_classes"), "model.backbone.num_classes"),
    **dict.fromkeys(("batch", "bs", "batchsize", "train_batch_size"), "data.batch_size"),
    **dict.fromkeys(("val_batch_size", "test_batch_size"), "data.eval_batch_size"),
    **dict.fromkeys(("dataset", "data_source"), "data.source"),
    **dict.fromkeys(
        ("data_dir", "data_path", "data_root", "datadir", "dir", "folder", "path", "root"), "data.source.root"
    ),
    **dict.fromkeys(("val_split", "val_ratio", "validation_size", "valid_size"), "data.val_size"),
    **dict.fromkeys(("seed", "random_seed", "manual_seed"), "seed_everything"),
    **dict.fromkeys(("gpus", "gpu", "num_gpus", "ngpu", "n_gpus", "num_devices", "nproc"), "trainer.devices"),
    **dict.fromkeys(("device", "cuda", "cpu", "mps", "use_cuda"), "trainer.accelerator"),
    **dict.fromkeys(("amp", "fp16", "bf16", "dtype", "half", "mixed_precision"), "trainer.precision"),
    **dict.fromkeys(("grad_clip", "clip", "clip_grad", "max_grad_norm", "clip_grad_norm"), "trainer.gradient_clip_val"),
    **dict.fromkeys(("accum", "accumulate", "grad_accum", "grad_accum_steps"), "trainer.accumulate_grad_batches"),
    **dict.fromkeys(("out", "output", "output_dir", "out_dir", "save_dir", "log_dir"), "trainer.default_root_dir"),
    **dict.fromkeys(("resume", "resume_from", "continue"), "ckpt_path last"),
    **dict.fromkeys(("ckpt", "weights", "load", "resume_from_checkpoint", "checkpoint_path"), "ckpt_path"),
    **dict.fromkeys(("cfg", "conf", "yaml", "config_file"), "config"),
    **dict.fromkeys(("progress_bar", "progress", "quiet"), "trainer.enable_progress_bar"),
    **dict.fromkeys(("debug", "dry_run"), "trainer.fast_dev_run"),
    **dict.fromkeys(("hflip", "horizontal_flip", "random_flip"), "data.augment.flip"),
    **dict.fromkeys(("random_crop", "padding"), "data.augment.crop"),
    **dict.fromkeys(("test", "test_after"), "test_after_fit"),
}
_WITHOUT_OPTION = {
    **dict.fromkeys(
        ("workers", "num_workers", "n_workers", "threads"),
        "there are no worker processes: all images stay in memory",
    ),
    **dict.fromkeys(
        ("pin_memory", "persistent_workers", "prefetch", "shuffle"),
        "batches are made from images in memory, in a new random order each epoch",
    ),
}


def option(name: str, options: Iterable[str], command: str = "fit") -> str:
    """Suggest an option with the same meaning, the same last part or a similar spelling.

    Args:
        name: the name as typed, such as ``--epochs`` or ``trainer.max_epoch``.
        options: all valid options, without dashes.
        command: the command, for the hint at its help.
    """
    dashes = "--" if name.startswith("--") else ""
    options = sorted(set(options))
    typed = name.removeprefix("--").replace("-", "_")
    section, dot, _ = typed.partition(".")
    last = typed.rpartition(".")[2].lower()
    near = [each for each in options if not dot or each.startswith(f"{section}.")]
    meant = _MEANT.get(last, "")
    if typed in options:
        found = [typed]
    elif meant.split(" ")[0] in near:
        found = [meant]
    elif last in _WITHOUT_OPTION:
        return _WITHOUT_OPTION[last]
    else:
        found = [each for each in near if each.rpartition(".")[2] == last][:3]
    owner, _, lacking = meant.rpartition(".")
    if not found and near and owner in ("model.optimizer", "model.backbone", "data.source"):
        return f"the class selected by --{owner} has no {lacking}"
    found = found or similar(typed, options, cutoff=0.7)
    found = found or [each for each in options if similar(last, [each.rpartition(".")[2]], cutoff=0.8)][:3]
    if found:
        return f"nearest: {', '.join(dashes + each for each in found)}"
    return f"`cifar-cnn {command} --help all` lists all"


def argument(name: str, owner: str, options: Iterable[str]) -> str:
    """Suggest an argument of the selected class.

    Args:
        name: the name as typed, such as ``widht``.
        owner: the option that selects the class, such as ``model.backbone``.
        options: all valid options, such as ``model.backbone.width``.
    """
    own = [each.removeprefix(f"{owner}.") for each in options if each.startswith(f"{owner}.")]
    if not own:
        return f"name the class first, with --{owner}"
    meant = _MEANT.get(name.lower(), "").removeprefix(f"{owner}.")
    found = [meant] if meant in own else similar(name, own)
    return f"nearest: {', '.join(f'{owner}.{each}' for each in found)}" if found else f"it takes {', '.join(own)}"


def config(name: str) -> str:
    """Suggest a config from the folder ``configs`` or from the package."""
    known = {each: each for each in packaged_configs.names()}
    known |= {path.stem: str(path) for path in Path("configs").glob("*.yaml")}
    found = similar(Path(name).stem, known)
    return f"nearest: {', '.join(map(known.__getitem__, found))}" if found else "`cifar-cnn configs` lists the configs"


def similar(name: str, choices: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The choices with a spelling similar to ``name``, most similar first.

    Args:
        name: the name as typed.
        choices: the valid names.
        most: maximum number of names to return.
        cutoff: minimum similarity, from 0 to 1; see :func:`difflib.get_close_matches`.
    """
    return difflib.get_close_matches(name, list(choices), n=most, cutoff=cutoff)


def nearest(name: str, choices: Iterable[str], command: str = "fit") -> str:
    """Suggest the choices with a similar spelling, or all of them if none is similar and there are at most 12.

    Args:
        name: the name as typed.
        choices: the valid names.
        command: the command, for the hint at its help.
    """
    choices = sorted(set(choices))
    found = similar(name, choices) or (choices if len(choices) <= 12 else [])
    return f"nearest: {', '.join(found)}" if found else f"`cifar-cnn {command} --help all` lists all"
