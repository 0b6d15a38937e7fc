"""``cifar-cnn predict``: the classes of any images, by the newest run's best checkpoint or another."""

import csv
import json
import os
import sys
import unicodedata
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from tqdm import tqdm

from cifar_cnn.analysis import arguments
from cifar_cnn.data import folders
from cifar_cnn.data.decoding import UNREADABLE, decode_image, why
from cifar_cnn.data.folders import Skipped
from cifar_cnn.errors import InputError
from cifar_cnn.files import replacing
from cifar_cnn.hardware import available_cores
from cifar_cnn.runs.checkpoints import Trained, load_trained
from cifar_cnn.runs.folders import find_checkpoint


def main(args: list[str]) -> int:
    """Run the command; returns the exit status, 1 if some of the files were no images.

    Raises:
        InputError: no image, no checkpoint, or an output that cannot be written.
    """
    options = _options(args)
    trained = load_trained(find_checkpoint(options.ckpt_path))
    # Walked twice, first to count: a million names are then never in memory at once.
    skipped = Skipped()
    count = sum(1 for _ in image_files(options.paths, [], skipped))
    if not count:
        raise InputError(f"no images in {', '.join(options.paths)}" + (f": {skipped}" if skipped else ""))
    unreadable: list[str] = []
    try:
        classified = _write(options, trained, count, unreadable)
    except BrokenPipeError:  # no error, see __main__.py
        raise
    except OSError as error:
        raise InputError(f"cannot write {options.output or 'the table'}: {error.strerror}") from error
    if options.output:
        print(f"{classified:,} image{'s' * (classified != 1)} classified: {options.output}")
    for each in unreadable:
        print(f"cifar-cnn: not an image that can be read: {_line(each)}", file=sys.stderr)
    if skipped:
        print(f"cifar-cnn: {_line(str(skipped))}", file=sys.stderr)
    return 1 if unreadable else 0


def _options(args: list[str]) -> Namespace:
    options = arguments.predict().parse_args(args)
    if options.top < 1 or options.batch_size < 1:
        raise InputError("--top and --batch_size are 1 or more")
    if options.output and (options.output.is_dir() or not options.output.name):
        raise InputError(f"--output names a CSV or JSON file to write, not the folder {options.output}")
    if options.output and options.output.suffix.lower() not in ("", ".csv", ".json"):
        raise InputError(f"--output is a .csv or .json file, not {options.output.name}")
    return options


def _write(options: Namespace, trained: Trained, count: int, unreadable: list[str]) -> int:
    """Classify and write; returns the number of images, and adds the files that are none to ``unreadable``."""
    output: Path | None = options.output
    files, classified = image_files(options.paths, unreadable, Skipped()), 0
    with ExitStack() as stack:
        table: Table
        if output:
            stream = stack.enter_context(replacing(output, "w", newline="", encoding="utf-8"))
            table = (JSONTable if output.suffix.lower() == ".json" else CSVTable)(stream, trained.class_names)
        else:
            table = TerminalTable(trained.class_names, options.top)
        pool = stack.enter_context(ThreadPoolExecutor(available_cores()))
        # Among the lines of a table in the same terminal the bar would be torn apart.
        hidden = None if output or not sys.stdout.isatty() else True
        bar = stack.enter_context(tqdm(total=count, desc="Predicting", unit=" images", disable=hidden))
        while batch := list(islice(files, options.batch_size)):
            for path, probabilities in _predict(trained, batch, pool, unreadable):
                table.row(_text(path), probabilities)
                classified += 1
            bar.update(len(batch))
        table.close()
    return classified


def image_files(paths: list[str], unreadable: list[str], skipped: Skipped) -> Iterator[Path]:
    """The images meant by ``paths``, one after the other: files as they are named, folders searched in order of name.

    Args:
        paths: files, whatever they are called, and folders, in which images are known by the ending of their name.
        unreadable: folders that cannot be read are added.
        skipped: counts the other files in the folders.

    Raises:
        InputError: there is nothing of that name.
    """
    for name in paths:
        path = Path(name).expanduser()
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
            return decode_image(path, trained.image_size)
        except UNREADABLE as error:
            return _text(path) + why(error)

    images = list(pool.map(decode, files))  # threads, since Pillow decodes without holding the interpreter's lock
    unreadable += [image for image in images if isinstance(image, str)]
    good = [(path, image) for path, image in zip(files, images, strict=True) if not isinstance(image, str)]
    if not good:
        return []
    batch = torch.from_numpy(np.stack([image for _, image in good])).permute(0, 3, 1, 2)
    return list(zip((path for path, _ in good), trained.probabilities(batch).tolist(), strict=True))


def _text(path: Path) -> str:
    """A path as text that can be written as UTF-8, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _line(text: str) -> str:
    """A path as a part of one line: control characters, which a file's name may hold, would rule the terminal."""
    return "".join(repr(char)[1:-1] if unicodedata.category(char) == "Cc" else char for char in text)


def _best(probabilities: list[float]) -> list[int]:
    return sorted(range(len(probabilities)), key=lambda label: -probabilities[label])


class Table(Protocol):
    """Takes one row an image, and writes it at once."""

    def row(self, path: str, probabilities: list[float]) -> None:
        """Write the probabilities of one image, one a class."""

    def close(self) -> None:
        """Write what stands after the last row."""


class TerminalTable:
    """The most probable classes of each image; its path stands last, where its length moves nothing."""

    def __init__(self, class_names: tuple[str, ...], top: int) -> None:
        self.class_names = class_names
        self.top = min(top, len(class_names))
        self.width = max(map(len, class_names))

    def row(self, path: str, probabilities: list[float]) -> None:
        """Print one line."""
        columns = [f"{self.class_names[i]:<{self.width}} {probabilities[i]:6.1%}" for i in _best(probabilities)]
        print(*columns[: self.top], _line(path), sep="   ")

    def close(self) -> None:
        """Nothing stands after the last row."""


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
        """Nothing stands after the last row."""


class JSONTable:
    """An array of objects with path, class, probability, and probabilities by class name."""

    def __init__(self, stream: IO[str], class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self.stream = stream
        self.separator = "[\n"

    def row(self, path: str, probabilities: list[float]) -> None:
        """Write one object, on a line of its own."""
        values = [round(value, 6) for value in probabilities]
        best = _best(probabilities)[0]
        named = dict(zip(self.class_names, values, strict=True))
        content = {"path": path, "class": self.class_names[best], "probability": values[best], "probabilities": named}
        self.stream.write(self.separator + json.dumps(content, ensure_ascii=False))
        self.separator = ",\n"

    def close(self) -> None:
        """End the array."""
        self.stream.write("[]\n" if self.separator == "[\n" else "\n]\n")
