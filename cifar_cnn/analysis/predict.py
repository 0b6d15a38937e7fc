"""``cifar-cnn predict``: the classes of any images, by the newest run's best checkpoint or another."""

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cifar_cnn.analysis.trained import Trained, load_trained
from cifar_cnn.data.sources import UNREADABLE, decode_image, is_image_name
from cifar_cnn.errors import InputError
from cifar_cnn.runs import find_checkpoint


def parser() -> argparse.ArgumentParser:
    """The options of ``cifar-cnn predict``."""
    parser = argparse.ArgumentParser(
        prog="cifar-cnn predict",
        description="Classify images. Example: cifar-cnn predict photo.jpg holiday/ --output classes.csv",
    )
    parser.add_argument("paths", nargs="+", metavar="IMAGE_OR_FOLDER", help="images, or folders to search for them")
    parser.add_argument(
        "--ckpt_path", default="best", help="checkpoint or run folder (default: best of the newest run)"
    )
    parser.add_argument("--top", type=int, default=3, help="classes shown of each image (default: 3)")
    parser.add_argument("--output", type=Path, help="CSV file for the class and all probabilities of each image")
    parser.add_argument("--batch_size", type=int, default=256, help="images at a time (default: 256)")
    return parser


def main(args: list[str]) -> int:
    """Run the command; returns the exit status, 1 if some of the files were no images.

    Raises:
        InputError: no image, no checkpoint, or an output that cannot be written.
    """
    options = parser().parse_args(args)
    if options.top < 1 or options.batch_size < 1:
        raise InputError("--top and --batch_size are 1 or more")
    if options.output and (options.output.is_dir() or not options.output.name):
        raise InputError(f"--output names a CSV file to write, not the folder {options.output}")
    trained = load_trained(find_checkpoint(options.ckpt_path))
    files = list(_files(options.paths))
    if not files:
        raise InputError(f"no images in {', '.join(options.paths)}")

    broken: list[Path] = []
    # Written under another name and then renamed: an interrupted run leaves no half of a table.
    part = options.output.with_name(options.output.name + ".part") if options.output else None
    try:
        with part.open("w", newline="", encoding="utf-8") if part else nullcontext() as stream:
            table = csv.writer(stream) if stream else None
            if table:
                table.writerow(["path", "class", "probability", *trained.class_names])
            starts = range(0, len(files), options.batch_size)
            for start in tqdm(starts, "Predicting", unit=" batches", disable=None if table else True):
                rows = _predict(trained, files[start : start + options.batch_size], broken)
                for path, probabilities in rows:
                    best = probabilities.argsort(descending=True)[: options.top].tolist()
                    if table:
                        values = [f"{value:.6f}" for value in probabilities.tolist()]
                        table.writerow([path, trained.class_names[best[0]], values[best[0]], *values])
                    else:
                        shown = ", ".join(f"{trained.class_names[i]} {probabilities[i]:.1%}" for i in best)
                        print(f"{path}: {shown}")
        if part:
            part.replace(options.output)
            print(f"{len(files) - len(broken)} images classified: {options.output}")
    except BrokenPipeError:  # what reads our output (head, a closed pager) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        raise InputError(f"cannot write {options.output}: {error.strerror}") from error
    finally:
        if part:
            part.unlink(missing_ok=True)
    for path in broken:
        print(f"cifar-cnn: not an image that can be read: {path}", file=sys.stderr)
    return 1 if broken else 0


def _files(paths: list[str]) -> Iterator[Path]:
    for name in paths:
        path = Path(name)
        if path.is_dir():
            for folder, folders, files in os.walk(path):
                folders.sort()
                for file in sorted(files):
                    if is_image_name(file):
                        yield Path(folder, file)
        elif path.exists():
            yield path
        else:
            raise InputError(f"no file or folder {path}")


def _predict(trained: Trained, files: list[Path], broken: list[Path]) -> list[tuple[Path, Tensor]]:
    good, images = [], []
    for path in files:
        try:
            images.append(decode_image(path, trained.image_size))
            good.append(path)
        except UNREADABLE:
            broken.append(path)
    if not good:
        return []
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return list(zip(good, trained.probabilities(batch), strict=True))
