"""Name the files of a test, so that only the standard test of a run writes test.json."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from cifar_cnn.base.errors import InputError
from cifar_cnn.data import Arrays, ImageSet, Source
from cifar_cnn.data.sources.cifar import OfficialArchive
from cifar_cnn.runs.folders import result_path
from cifar_cnn.runs.schemas import TestedOn, fingerprint_of_tested_images

_RESERVED = ("best", "last", "previous", "partial")  # have a special meaning in these file names


class ResultFiles:
    """Chooses the files to which a test writes its results and predictions.

    A test of the run's own images writes ``test.json``, a test of other images ``test_NAME.json``. The run's own images
    are those whose hash is in ``test.json`` or, before the first test, those of the source used for training.

    Args:
        name: name of the images; by default other images are named by their hash.
        other_source: whether the images come from another source than the training images.

    Raises:
        InputError: ``name`` cannot be part of a file name.
    """

    def __init__(self, name: str | None = None, other_source: bool = False) -> None:
        if name is not None and (not re.fullmatch(r"\w[\w.-]*", name) or name in _RESERVED):
            raise InputError(
                f"--name may contain letters, digits, '_', '-' and '.', and must not be one of {', '.join(_RESERVED)}; "
                f"it is {name!r}"
            )
        self._given = name
        self._other_source = other_source
        self._known: tuple[ImageSet, str] | None = None  # the latest image set and its hash

    @property
    def is_named(self) -> bool:
        """Whether the user has named the images."""
        return self._given is not None

    def path(self, trainer: Trainer, suffix: str, image_set: ImageSet, tested: int) -> Path | None:
        """The file of a test.

        Args:
            trainer: the Trainer that runs the test.
            suffix: end of the file name, such as ``.json``.
            image_set: all test images.
            tested: number of tested images.

        Returns:
            The path; None if the tested checkpoint belongs to no run.
        """
        if not trainer.ckpt_path or (own := result_path(trainer.ckpt_path, suffix)) is None:
            return None
        name = self._given or self._other_name(own.parent, image_set)
        return result_path(trainer.ckpt_path, suffix, name, tested < len(image_set))

    def tested_on(self, source: Source, image_set: ImageSet) -> TestedOn:
        """The entry for the images in ``test.json``: class and folder of their source, their number and hash."""
        files = source.files["test"] if isinstance(source, Arrays) else None
        root = files.images if files else getattr(source, "root", None)
        return {
            "source": f"{type(source).__module__}.{type(source).__qualname__}",
            "root": os.path.abspath(root) if isinstance(root, (str, os.PathLike)) else None,
            "images": len(image_set),
            "sha256": self._sha256(image_set),
        }

    def _other_name(self, run: Path, image_set: ImageSet) -> str:
        own = fingerprint_of_tested_images(run)
        other = own != self._sha256(image_set) if own else self._other_source
        return f"images_{self._sha256(image_set)[:8]}" if other else ""

    def _sha256(self, image_set: ImageSet) -> str:
        if self._known is None or self._known[0] is not image_set:
            self._known = image_set, image_set.sha256()
        return self._known[1]


def is_other_source(source: Source, given: Mapping[str, Any], trained: Mapping[str, Any] | None) -> bool:
    """Whether a source provides other images than the training source, judging by their arguments.

    Args:
        source: the source of the test.
        given: its ``class_path`` and ``init_args``.
        trained: the same for the training source; None if unknown, which counts as the same source.
    """
    if not trained:
        return False
    module, _, name = str(trained.get("class_path")).rpartition(".")
    if getattr(sys.modules.get(module), name, None) is not type(source):
        return True
    return _arguments(given, source) != _arguments(trained, source)


def _arguments(given: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The arguments that determine the test images of a source."""
    arguments = {name: value for name, value in dict(given.get("init_args") or {}).items() if value is not None}
    if isinstance(source, OfficialArchive):  # the MD5 sum guarantees the same archive everywhere
        return {"labels": arguments.get("labels", "fine")}
    ignored = (
        "cache",
        "class_names",
        *(("train", "train_labels", "val", "val_labels") if isinstance(source, Arrays) else ()),
    )
    paths = ("root", "test", "test_labels")
    return {
        name: os.path.abspath(os.path.expanduser(value)) if name in paths and isinstance(value, str) else value
        for name, value in arguments.items()
        if name not in ignored
    }
