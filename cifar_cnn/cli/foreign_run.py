"""Settings that ``fit``, ``validate`` and ``test`` ignore in another user's checkpoint and config.yaml."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cifar_cnn.base.paths import relative
from cifar_cnn.cli import given_values
from cifar_cnn.distributed import prints_messages
from cifar_cnn.runs.checkpoints import Checkpoint
from cifar_cnn.runs.folders import run_of
from cifar_cnn.runs.schemas import read_config
from cifar_cnn.trust import ownership

log = logging.getLogger("cifar_cnn")


def images_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The data module's arguments in a checkpoint; without its locations (folders, URLs) if it is another user's."""
    data = checkpoint.content["datamodule_hyper_parameters"]
    if ownership.may_download(checkpoint.content):
        return data
    kept, left_out = ownership.without_locations(data)
    _tell(checkpoint.path, left_out, "as options")
    return kept


def own_config(options: list[str], command: str, checkpoint: Checkpoint | None) -> Path | None:
    """The config.yaml of the run that ``fit`` resumes; None for other commands or if the options name a config.

    Raises:
        InputError: the config is invalid.
    """
    run = run_of(checkpoint.path) if checkpoint else None
    is_given = {word.split("=")[0] for word in options} & {"-c", "--config"}
    if command != "fit" or run is None or is_given:
        return None
    read_config(run)
    return run / "config.yaml"


@contextmanager
def with_own_config(options: list[str], path: Path | None) -> Iterator[list[str]]:
    """Add the config of a resumed run to the options, without the settings to ignore.

    Args:
        options: the command line after the command.
        path: from :func:`own_config`; None adds nothing.
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
    """Whether another user's checkpoint or config.yaml selects the images of a command, rather than its options.

    Args:
        options: the command line after the command.
        path: the run's config, from :func:`own_config`.
        checkpoint: the checkpoint of the command, if any.
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
            "%s is not from one of your runs: ignoring its %s. To use these settings, pass them %s",
            *(relative(path), ", ".join(left_out), how),
        )
