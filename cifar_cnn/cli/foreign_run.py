"""What ``fit``, ``validate`` and ``test`` leave out of a checkpoint and config.yaml that somebody else has trained."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cifar_cnn.cli import given_values
from cifar_cnn.distributed import prints_messages
from cifar_cnn.paths import relative
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.runs.folders import run_of
from cifar_cnn.runs.schemas import read_config
from cifar_cnn.trust import ownership

log = logging.getLogger("cifar_cnn")


def images_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The arguments of the data module in a checkpoint, without what somebody else's may not decide."""
    data = checkpoint.content["datamodule_hyper_parameters"]
    if ownership.may_download(checkpoint.content):
        return data
    kept, left_out = ownership.without_locations(data)
    _tell(checkpoint.path, left_out, "as options")
    return kept


def own_config(options: list[str], command: str, checkpoint: Checkpoint | None) -> Path | None:
    """The config.yaml of the run that a fit resumes; None for other commands and if the options name a config.

    Raises:
        InputError: the config is damaged.
    """
    run = run_of(checkpoint.path) if checkpoint else None
    is_given = {word.split("=")[0] for word in options} & {"-c", "--config"}
    if command != "fit" or run is None or is_given:
        return None
    read_config(run)
    return run / "config.yaml"


@contextmanager
def with_own_config(options: list[str], path: Path | None) -> Iterator[list[str]]:
    """The options of a fit that resumes a run, with the run's config, if any.

    Args:
        options: the words after the command.
        path: from :func:`own_config`.
    """
    if path is None:
        yield options
        return
    text = path.read_text(encoding="utf-8")
    if ownership.is_own_text(text):
        yield ["--config", str(path), *options]
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_text(_without_parts(text, path), encoding="utf-8")
        yield ["--config", str(copy), *options]


def decides_images(options: list[str], path: Path | None, checkpoint: Checkpoint | None) -> bool:
    """Whether somebody else's checkpoint or config.yaml names the images of a command, and not the options.

    Args:
        options: the words after the command.
        path: the run's config, from :func:`own_config`.
        checkpoint: that the command uses, if any.
    """
    if checkpoint is None or ownership.trusts_this_package():
        return False
    if ownership.is_own(checkpoint.content) and (path is None or ownership.is_own_text(path.read_text("utf-8"))):
        return False
    named = [given_values.name_and_value(words) for words in given_values.split_options(options)]
    configs = [given_values.load(value) for name, value in named if name in ("-c", "--config")]
    in_configs = any(isinstance(each, dict) and "source" in (each.get("data") or {}) for each in configs)
    return not (in_configs or any(name == "--data" or name.startswith("--data.source") for name, _ in named))


def _without_parts(text: str, path: Path) -> str:
    config = yaml.safe_load(text)
    config["trainer"], left_out = ownership.without_parts(config.get("trainer") or {})
    if not ownership.trusts_this_package():
        config["data"], locations = ownership.without_locations(config.get("data") or {})
        left_out += locations
    _tell(path, left_out, f"with --config {relative(path)}")
    return yaml.safe_dump(config, sort_keys=False)


def _tell(path: Path, left_out: list[str], how: str) -> None:
    if left_out and prints_messages():
        log.warning(
            "%s was not written by a run of yours: it is used without %s. To use them, give them %s",
            *(relative(path), ", ".join(left_out), how),
        )
