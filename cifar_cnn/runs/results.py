"""Name the files of a test, so that only the standard test of a run writes test.json."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from cifar_cnn.data import CIFAR10, ImageSet, Source
from cifar_cnn.errors import InputError
from cifar_cnn.files import read_json
from cifar_cnn.runs.folders import result_path

_RESERVED = ("best", "last", "previous", "partial")  # which have a meaning of their own in these files' names


class ResultFiles:
    """Where a test writes its figures and predictions.

    A test of the run's own images writes ``test.json``, one of other images ``test_NAME.json``. Own are the images
    whose fingerprint stands in ``test.json``; before the first test, those of the source that the run was trained with.

    Args:
        name: of the images; by default other images are named by their fingerprint.
        other_source: whether the images come from another source than those of the training.

    Raises:
        InputError: ``name`` cannot be part of a file's name.
    """

    def __init__(self, name: str | None = None, other_source: bool = False) -> None:
        if name is not None and (not re.fullmatch(r"\w[\w.-]*", name) or name in _RESERVED):
            raise InputError(
                f"--name is a word of letters, digits, '_', '-' and '.', none of {', '.join(_RESERVED)}; not {name!r}"
            )
        self._given = name
        self._other_source = other_source
        self._known: tuple[ImageSet, str] | None = None  # the newest image set and its fingerprint

    @property
    def is_named(self) -> bool:
        """Whether the user has named the images."""
        return self._given is not None

    def path(self, trainer: Trainer, suffix: str, image_set: ImageSet, tested: int) -> Path | None:
        """The file of a test.

        Args:
            trainer: that tests.
            suffix: the end of the file's name, such as ``.json``.
            image_set: all test images.
            tested: how many of them are tested.

        Returns:
            None where no checkpoint of a run is tested.
        """
        if not trainer.ckpt_path or (own := result_path(trainer.ckpt_path, suffix)) is None:
            return None
        name = self._given or self._other_name(own.parent, image_set)
        return result_path(trainer.ckpt_path, suffix, name, tested < len(image_set))

    def tested_on(self, source: Source, image_set: ImageSet) -> dict[str, Any]:
        """What ``test.json`` says of the images: class and folder of their source, number and fingerprint."""
        root = getattr(source, "root", None)
        return {
            "source": f"{type(source).__module__}.{type(source).__qualname__}",
            "root": os.path.abspath(root) if isinstance(root, (str, os.PathLike)) else None,
            "images": len(image_set),
            "sha256": self._sha256(image_set),
        }

    def _other_name(self, run: Path, image_set: ImageSet) -> str:
        own = (read_json(run / "test.json").get("tested_on") or {}).get("sha256")
        other = own != self._sha256(image_set) if own else self._other_source
        return f"images_{self._sha256(image_set)[:8]}" if other else ""

    def _sha256(self, image_set: ImageSet) -> str:
        if self._known is None or self._known[0] is not image_set:
            self._known = image_set, image_set.sha256()
        return self._known[1]


def is_other_source(source: Source, given: Mapping[str, Any], trained: Mapping[str, Any] | None) -> bool:
    """Whether a source gives other images than the one of the training, as far as their arguments tell.

    Args:
        source: of the test.
        given: ``class_path`` and ``init_args`` of it.
        trained: the same of the training; None where that is not known, which is taken for the same.
    """
    if not trained:
        return False
    module, _, name = str(trained.get("class_path")).rpartition(".")
    if getattr(sys.modules.get(module), name, None) is not type(source):
        return True
    if isinstance(source, CIFAR10):  # its archive is the same everywhere, by its md5
        return False
    return _arguments(given) != _arguments(trained)


def _arguments(source: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that decide which images a source gives."""
    arguments = {
        name: value
        for name, value in dict(source.get("init_args") or {}).items()
        if value is not None and name not in ("cache", "class_names")
    }
    if "root" in arguments:
        arguments["root"] = os.path.abspath(os.path.expanduser(arguments["root"]))
    return arguments
