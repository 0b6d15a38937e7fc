"""Classify images and print a table, or write it as CSV or JSON."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from tqdm import tqdm

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import replacing
from cifar_cnn.base.image_files import folders
from cifar_cnn.base.image_files.decoding import UNREADABLE, check_decodable, decode_image, why
from cifar_cnn.base.image_files.folders import Skipped
from cifar_cnn.base.paths import expanded
from cifar_cnn.base.tables import printable
from cifar_cnn.hardware import available_cores
from cifar_cnn.runs.checkpoints import Trained


@dataclass(frozen=True)
class Classified:
    """The outcome of classifying files.

    Attributes:
        count: number of classified images.
        unreadable: files and folders that could not be read.
        skipped: files in folders that are not images.
    """

    count: int
    unreadable: list[str]
    skipped: Skipped


def classify_files(
    trained: Trained, paths: list[str], output: Path | None = None, top: int = 3, batch_size: int = 256
) -> Classified:
    """Classify images and print a table, or write one.

    Args:
        trained: the network.
        paths: images, and folders to search for images.
        output: file to write instead of printing: JSON if its name ends with ``.json``, else CSV.
        top: number of classes to print for each image.
        batch_size: images in a forward pass.

    Raises:
        InputError: there are no images, the network does not take RGB or gray ones, or ``output`` cannot be
            written.
    """
    check_decodable(trained.channels)
    # The first walk only counts, so that a million names are never in memory at once.
    skipped = Skipped()
    count = sum(1 for _ in image_files(paths, [], skipped))
    if not count:
        raise InputError(f"no images in {', '.join(paths)}" + (f": {skipped}" if skipped else ""))
    unreadable: list[str] = []
    files, classified = image_files(paths, unreadable, Skipped()), 0
    try:
        with ExitStack() as stack:
            table = stack.enter_context(_table(output, trained.class_names, top))
            pool = stack.enter_context(ThreadPoolExecutor(available_cores()))
            # In one terminal, the table's lines and a progress bar would garble each other.
            hidden = None if output or not sys.stdout.isatty() else True
            bar = stack.enter_context(tqdm(total=count, desc="Predicting", unit=" images", disable=hidden))
            while batch := list(islice(files, batch_size)):
                for path, probabilities in _predict(trained, batch, pool, unreadable):
                    table.row(_text(path), probabilities)
                    classified += 1
                bar.update(len(batch))
    except BrokenPipeError:  # not an error, see __main__.py
        raise
    except OSError as error:
        raise InputError(f"cannot write {output or 'the table'}: {error.strerror}") from error
    return Classified(classified, unreadable, skipped)


@contextmanager
def _table(output: Path | None, class_names: tuple[str, ...], top: int) -> Iterator["Table"]:
    if output is None:
        yield TerminalTable(class_names, top)
        return
    with replacing(output, "w", newline="", encoding="utf-8") as stream:
        table: Table = (JSONTable if output.suffix.lower() == ".json" else CSVTable)(stream, class_names)
        yield table
        table.close()


def image_files(paths: list[str], unreadable: list[str], skipped: Skipped) -> Iterator[Path]:
    """Yield the images in ``paths``: named files in their order, and the images in folders in the order of their names.

    Args:
        paths: files with any name, and folders. In folders, images are recognized by their file extensions.
        unreadable: list to which unreadable folders are added.
        skipped: counts the files in folders that are not images.

    Raises:
        InputError: a path does not exist.
    """
    for name in paths:
        path = expanded(name)
        if path.is_dir():
            yield from folders.image_files(path, skipped, lambda error: unreadable.append(_text(Path(error.filename))))
        elif path.exists():
            yield path
        else:
            raise InputError(f"no file or folder {path}")


def _predict(
    trained: Trained, files: list[Path], pool: ThreadPoolExecutor, unreadable: list[str]
) -> list[tuple[Path, list[float]]]:
    def decode(path: Path) -> np.ndarray | str:
        try:
            return decode_image(path, trained.image_size, trained.channels)
        except UNREADABLE as error:
            return _text(path) + why(error)

    images = list(pool.map(decode, files))  # threads suffice: Pillow releases the interpreter's lock while it decodes
    unreadable += [image for image in images if isinstance(image, str)]
    good = [(path, image) for path, image in zip(files, images, strict=True) if not isinstance(image, str)]
    if not good:
        return []
    batch = torch.from_numpy(np.stack([image for _, image in good])).permute(0, 3, 1, 2)
    return list(zip((path for path, _ in good), trained.probabilities(batch).tolist(), strict=True))


def _text(path: Path) -> str:
    """A path as text that can be encoded as UTF-8, whatever bytes it contains."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _best(probabilities: list[float]) -> list[int]:
    return sorted(range(len(probabilities)), key=lambda label: -probabilities[label])


class Table(Protocol):
    """A table with one row per image; rows are written as they are added."""

    def row(self, path: str, probabilities: list[float]) -> None:
        """Write the probabilities of one image."""

    def close(self) -> None:
        """Write the text that follows the last row."""


class TerminalTable:
    """The most probable classes of each image, then its path, so that long paths do not move the columns."""

    def __init__(self, class_names: tuple[str, ...], top: int) -> None:
        self.class_names = class_names
        self.top = min(top, len(class_names))
        self.width = max(map(len, class_names))

    def row(self, path: str, probabilities: list[float]) -> None:
        """Print one line."""
        columns = [f"{self.class_names[i]:<{self.width}} {probabilities[i]:6.1%}" for i in _best(probabilities)]
        print(*columns[: self.top], printable(path), sep="   ")

    def close(self) -> None:
        """Do nothing: no text follows the last row."""


class CSVTable:
    """Columns path, class, probability, and the probability of each class."""

    def __init__(self, stream: IO[str], class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self.writer = csv.writer(stream)
        self.writer.writerow(["path", "class", "probability", *class_names])

    def row(self, path: str, probabilities: list[float]) -> None:
        """Write one line."""
        values = [f"{value:.6f}" for value in probabilities]
        best = _best(probabilities)[0]
        self.writer.writerow([path, self.class_names[best], values[best], *values])

    def close(self) -> None:
        """Do nothing: no text follows the last row."""


class JSONTable:
    """An array of objects with path, class, probability, and probabilities by class name."""

    def __init__(self, stream: IO[str], class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self.stream = stream
        self.separator = "[\n"

    def row(self, path: str, probabilities: list[float]) -> None:
        """Write one object on its own line."""
        values = [round(value, 6) for value in probabilities]
        best = _best(probabilities)[0]
        named = dict(zip(self.class_names, values, strict=True))
        content = {"path": path, "class": self.class_names[best], "probability": values[best], "probabilities": named}
        self.stream.write(self.separator + json.dumps(content, ensure_ascii=False))
        self.separator = ",\n"

    def close(self) -> None:
        """End the array."""
        self.stream.write("[]\n" if self.separator == "[\n" else "\n]\n")
