"""Initialize a run with the weights of another run."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.distributed import prints_messages
from cifar_cnn.runs.checkpoints import read_checkpoint
from cifar_cnn.runs.folders import find_checkpoint

log = logging.getLogger("cifar_cnn")


def load_initial_weights(model: ImageClassifier) -> None:
    """Load the weights of the run that ``model.init_from`` names, once, and log the tensors that were skipped.

    Only tensors are read from the checkpoint; no code that it names is imported.

    Raises:
        InputError: there is no such run, or none of its tensors fit the model.
    """
    if model.init_from is None:
        return
    name = os.fspath(model.init_from)
    if name in ("best", "last"):
        raise InputError(f"model.init_from: give a run's folder or a checkpoint, not {name!r}")
    try:
        path = find_checkpoint(name)
        weights = read_checkpoint(path)["state_dict"]
    except InputError as error:
        raise InputError(f"model.init_from: {error}") from error
    taken, reasons = _compared(model.state_dict(), weights)
    if not taken:
        first = next(iter(reasons.items()), None)
        hint = f" ({_plain(first[0])}: {first[1]})" if first else ""
        raise InputError(f"model.init_from: no tensor of {path} fits this {type(model.backbone).__name__}{hint}")
    model.load_state_dict({**model.state_dict(), **taken})
    model.init_from = None  # another fit of the same object continues from its own weights
    if prints_messages():
        rest = "; ".join(f"{_plain(name)} ({reason})" for name, reason in reasons.items())
        log.info(
            "Initial weights: %d of %d tensors from %s%s",
            *(len(taken), len(taken) + len(reasons), _short(path), f"; skipped: {rest}" if rest else ""),
        )


def _compared(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors that fit, and for each other tensor the reason why it does not."""
    taken, reasons = {}, {}
    for name, tensor in own.items():
        if name not in weights:
            reasons[name] = "not in the checkpoint"
        elif weights[name].shape != tensor.shape:
            reasons[name] = f"{_shape(weights[name])} there, {_shape(tensor)} here"
        else:
            taken[name] = weights[name]
    reasons |= {name: "not in this network" for name in weights if name not in own}
    return taken, reasons


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _plain(name: str) -> str:
    return name.removeprefix("backbone.")


def _short(path: Path) -> str:
    return min(str(path), relative(path), key=len)
