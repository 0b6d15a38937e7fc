"""Tell whether the user trained a checkpoint or wrote a config: each run signs both with the user's key.

:mod:`cifar_cnn.trust.names` decides what somebody else's checkpoint or config.yaml may import. This module also keeps
it from sending requests and writing files: its images are not downloaded, their cache is placed in the user's cache
folder, and the callbacks, loggers, profilers and plugins in its config.yaml are ignored. The user can allow them by
adding their package to ``CIFAR_CNN_TRUST``, or by naming them on the command line.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import LightningDataModule

from cifar_cnn.parts import record_known
from cifar_cnn.trust import signing

VARIABLE = "CIFAR_CNN_TRUST"
KEY = "own_code"  # key of a checkpoint
_SIGNED = ("packages", "code", "data")
_DATA = LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY
_LINE = "# Signed by the account that trained this run: "  # start of the last line of a config.yaml
_TRAINER = (  # the Trainer's arguments that name classes or output locations
    *("callbacks", "logger", "profiler", "plugins", "strategy", "accelerator"),
    *("default_root_dir", "model_registry"),
)


def sign(checkpoint: dict[str, Any], packages: Iterable[str], code: Mapping[str, str]) -> None:
    """Record in a checkpoint the code and images it was trained with, signed if the user has a folder for the key.

    Args:
        checkpoint: the checkpoint, before it is saved.
        packages: packages that the run imported by name and that are not in :data:`cifar_cnn.trust.names.KNOWN`.
        code: SHA-256 of the user's own files in these packages, see :mod:`cifar_cnn.trust.user_code`.
    """
    content = {"packages": sorted(packages), "code": dict(code), "data": _digest(checkpoint)}
    checkpoint[KEY] = {**content, "signature": signing.signed(content)}


def is_own(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this user trained a checkpoint with the packages, code and images that it names."""
    try:
        content = {name: checkpoint[KEY][name] for name in _SIGNED}
        same = all(map(is_path, content["packages"])) and content["data"] == _digest(checkpoint)
        return same and signing.is_signed(content, checkpoint[KEY]["signature"])
    except (KeyError, TypeError, ValueError):  # no signature, or a malformed one
        return False


def signed_packages(checkpoint: Mapping[str, Any]) -> list[str]:
    """The packages that this user trained a checkpoint with; empty for somebody else's checkpoint."""
    return checkpoint[KEY]["packages"] if is_own(checkpoint) else []


def may_download(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint may cause downloads, from its own address, and choose the location of the image cache."""
    return is_own(checkpoint) or trusts_this_package()


def trusts_this_package() -> bool:
    """Whether the user has listed this package in the environment variable."""
    return is_in("cifar_cnn", trusted_packages())


def trusted_packages() -> list[str]:
    """The packages that the user has listed in the environment variable."""
    return [name for each in os.environ.get(VARIABLE, "").split(",") if is_path(name := each.strip())]


def signed_text(text: str) -> str:
    """A config with a signature as its last line, for :func:`is_own_text`; unchanged if the user has no key."""
    signature = signing.signed(text)
    return f"{text}{_LINE}{signature}\n" if signature else text


def is_own_text(text: str) -> bool:
    """Whether a run of this user wrote a config."""
    config, _, signature = text.rpartition(_LINE)
    return signing.is_signed(config, signature.strip())


def without_locations(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Remove the ``url`` and ``cache`` of the source from the data section of a config; also return the names removed.

    Values equal to the default are removed too, but not listed.
    """
    source = data.get("source")
    arguments = source.get("init_args") if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or not isinstance(arguments, Mapping):
        return dict(data), []
    kept = {name: value for name, value in arguments.items() if name not in ("url", "cache")}
    left_out = [f"data.source.{name}" for name in arguments if name not in kept and arguments[name] is not None]
    return {**data, "source": {**source, "init_args": kept}}, left_out


def without_parts(trainer: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Remove callbacks, loggers and similar parts from the trainer section of a config; also return the names removed.

    Parts from packages other than this one, Lightning, torch and torchvision are kept: the import rules of
    :mod:`cifar_cnn.trust.names` apply to them.
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
    """Whether an import path is one of the packages or inside one of them."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def is_path(name: Any) -> bool:
    """Whether a value is an import path or a single name."""
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _digest(checkpoint: Mapping[str, Any]) -> str:
    """SHA-256 of the data module's arguments, which identify the images."""
    arguments, _ = record_known({**checkpoint.get(_DATA, {}), "_instantiator": None})
    return hashlib.sha256(json.dumps(arguments, skipkeys=True, default=str).encode()).hexdigest()
