"""Who has trained a checkpoint or written a config: this user's runs sign what later commands act on.

What a checkpoint or a run's config.yaml of somebody else may import is in :mod:`cifar_cnn.trust.names`. Of what it may
import, it may not use the parts that send requests or write files: its images are not downloaded, their cache lies in
the user's cache folder, and the callbacks, loggers, profilers and plugins of its config.yaml are left out. The user can
allow them: by ``CIFAR_CNN_TRUST`` with the name of their package, or by naming them on the command line.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import LightningDataModule
from torchvision.datasets import CIFAR10

from cifar_cnn.parts import record_known
from cifar_cnn.trust import signing

VARIABLE = "CIFAR_CNN_TRUST"
KEY = "own_code"  # in a checkpoint
_SIGNED = ("packages", "code", "data")
_DATA = LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY
_LINE = "# Signed by the account that trained this run: "  # the last of a config.yaml
_TRAINER = (  # the options of the Trainer that name parts, or places to write to
    *("callbacks", "logger", "profiler", "plugins", "strategy", "accelerator"),
    *("default_root_dir", "model_registry"),
)


def sign(checkpoint: dict[str, Any], packages: Iterable[str], code: Mapping[str, str]) -> None:
    """Add to a checkpoint of this user what it was trained with, signed if the user has a folder for the key.

    Args:
        checkpoint: that is about to be saved.
        packages: beyond :data:`cifar_cnn.trust.names.KNOWN` that its run has imported by name.
        code: SHA-256 of the user's own files among them, see :mod:`cifar_cnn.trust.user_code`.
    """
    content = {"packages": sorted(packages), "code": dict(code), "data": _digest(checkpoint)}
    checkpoint[KEY] = {**content, "signature": signing.signed(content)}


def is_own(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this user has trained a checkpoint, with the packages, code and images that it names."""
    try:
        content = {name: checkpoint[KEY][name] for name in _SIGNED}
        same = all(map(is_path, content["packages"])) and content["data"] == _digest(checkpoint)
        return same and signing.is_signed(content, checkpoint[KEY]["signature"])
    except (KeyError, TypeError, ValueError):  # it has none, or something else
        return False


def signed_packages(checkpoint: Mapping[str, Any]) -> list[str]:
    """The packages that this user has trained a checkpoint with."""
    return checkpoint[KEY]["packages"] if is_own(checkpoint) else []


def may_act(checkpoint: Mapping[str, Any]) -> bool:
    """Whether the images that a checkpoint names may be downloaded, and cached where it says."""
    return is_own(checkpoint) or trusts_parts()


def trusts_parts() -> bool:
    """Whether the user lets this project's parts act for any checkpoint."""
    return is_in("cifar_cnn", trusted_packages())


def trusted_packages() -> list[str]:
    """The packages that the user has named in the environment variable."""
    return [name for each in os.environ.get(VARIABLE, "").split(",") if is_path(name := each.strip())]


def signed_text(text: str) -> str:
    """A config with a last line by which :func:`is_own_text` knows it; as it is where the user has no key."""
    signature = signing.signed(text)
    return f"{text}{_LINE}{signature}\n" if signature else text


def is_own_text(text: str) -> bool:
    """Whether this user's run has written a config."""
    config, _, signature = text.rpartition(_LINE)
    return signing.is_signed(config, signature.strip())


def without_locations(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The data section of a config without the addresses and cache of its source, and the names of these options."""
    source = data.get("source")
    arguments = source.get("init_args") if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or not isinstance(arguments, Mapping):
        return dict(data), []
    kept = {name: value for name, value in arguments.items() if name not in ("url", "cache")}
    usual = (None, CIFAR10.url)
    left_out = [f"data.source.{name}" for name in arguments if name not in kept and arguments[name] not in usual]
    return {**data, "source": {**source, "init_args": kept}}, left_out


def without_parts(trainer: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The trainer section of a config without the parts that act, and the names of these options.

    Parts of packages beyond Lightning and this project are kept: whether they may be imported is decided elsewhere.
    """
    kept, left_out = dict(trainer), []
    for name in _TRAINER:
        value = kept.get(name)
        each = value if isinstance(value, list) else [value]
        allowed = [part for part in each if _is_allowed(name, part)]
        if len(allowed) < len(each):
            kept[name] = allowed if isinstance(value, list) and allowed else None
            left_out.append(f"trainer.{name}")
    return {name: value for name, value in kept.items() if name not in _TRAINER or value is not None}, left_out


def _is_allowed(name: str, part: Any) -> bool:
    if part is None or isinstance(part, bool):
        return True
    path = part.get("class_path") if isinstance(part, Mapping) else part
    if name in ("strategy", "accelerator") and isinstance(path, str) and "." not in path and path is part:
        return True  # such as ddp
    if name in ("default_root_dir", "model_registry") or not isinstance(path, str):
        return False
    path = path if "." in path else f"lightning.pytorch.{path}"
    return is_in(path, trusted_packages()) or not is_in(path, ("cifar_cnn", "lightning", "torch", "torchvision"))


def is_in(name: str, packages: Iterable[str]) -> bool:
    """Whether an import path is a package of these, or in one."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def is_path(name: Any) -> bool:
    """Whether a value is an import path, or a name alone."""
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _digest(checkpoint: Mapping[str, Any]) -> str:
    """Of the arguments of the data module, which name the images."""
    arguments, _ = record_known({**checkpoint.get(_DATA, {}), "_instantiator": None})
    return hashlib.sha256(json.dumps(arguments, skipkeys=True, default=str).encode()).hexdigest()
