"""Find and create run folders, lightning_logs/version_N."""

import logging
import os
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import expanded, relative

log = logging.getLogger("cifar_cnn")

RUNS = "lightning_logs"
BEST = "best.ckpt"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"  # the checkpoint before last.ckpt

_FOLDERS = ("checkpoints", "code", "explain", "filters")  # written by this project into a run's folder


def run_folders(root: str | os.PathLike = RUNS, kind: str = "version") -> list[Path]:
    """The folders of all runs, or of another kind such as ``ensemble``, under ``root``, oldest first."""
    numbered = [(re.fullmatch(rf"{kind}_(\d+)", path.name), path) for path in Path(root).glob(f"{kind}_*")]
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered if match and path.is_dir())]


def new_run_folder(root: str | os.PathLike = RUNS) -> Path:
    """Create the next version_N. Runs that start at the same time get different folders: mkdir succeeds only once."""
    number = 0
    while True:
        existing = run_folders(root)
        number = max(number, _next_number(existing))
        path = Path(root) / f"version_{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1  # taken by another run or a file
            continue
        except OSError as error:
            raise InputError(
                f"cannot create the run folder {path}: {error.strerror}; choose a writable folder with "
                "--trainer.default_root_dir"
            ) from error
        return path


def same_or_next_folder(root: Path, kind: str, is_same: Callable[[Path], bool]) -> Path:
    """The newest folder ``KIND_N`` under ``root`` that ``is_same`` accepts; otherwise the path of the next one.

    Args:
        root: parent of the folders.
        kind: kind of the folders, such as ``ensemble``.
        is_same: returns whether a folder holds the same content.
    """
    folders = run_folders(root, kind)
    if (same := next(filter(is_same, reversed(folders)), None)) is not None:
        return same
    paths = (root / f"{kind}_{number}" for number in count(_next_number(folders)))
    return next(path for path in paths if not path.exists())  # a file may have that name


def _next_number(folders: list[Path]) -> int:
    """The number after that of the last folder."""
    return int(folders[-1].name.split("_")[1]) + 1 if folders else 0


def run_of(checkpoint: str | os.PathLike) -> Path | None:
    """The run folder that contains a checkpoint; None for a checkpoint outside a run."""
    folder = Path(checkpoint).resolve().parent.parent
    return folder if (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir() else None


def check_links(run: Path) -> None:
    """Check that no link leads out of a run's folder: commands read and write its files under fixed names.

    Folders of loggers that a user has added may hold any links.

    Raises:
        InputError: there is such a link.
    """
    root = os.path.realpath(run)
    for folder, folders, names in os.walk(run):
        for path in (Path(folder, name) for name in [*folders, *names]):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                raise InputError(
                    f"{relative(path)} is a link that leads out of the run's folder; replace it with a copy of what it "
                    "leads to, or delete it"
                )
        if folder == os.fspath(run):
            folders[:] = [name for name in folders if name in _FOLDERS]


def is_best(checkpoint: str | os.PathLike) -> bool:
    """Whether a checkpoint is the best of its run, the one that reports and comparisons use."""
    return Path(checkpoint).name == BEST


def result_path(checkpoint: str | os.PathLike, suffix: str, name: str = "", partial: bool = False) -> Path | None:
    """The file in the run folder to which a test of a checkpoint writes its results.

    ``test.json`` is the test of the best checkpoint on all of the run's own test images. The file name of any other
    test lists the differences in this order: ``test_last_blurred_partial.json``.

    Args:
        checkpoint: the tested checkpoint.
        suffix: end of the file name, such as ``.json``.
        name: name of the test images, if they are not the run's own.
        partial: whether only a subset of the images is tested.

    Returns:
        The path; None for a checkpoint outside a run.
    """
    run = run_of(checkpoint)
    if run is None:
        return None
    parts = ["test", "" if is_best(checkpoint) else Path(checkpoint).stem, name, "partial" if partial else ""]
    return run / ("_".join(filter(None, parts)) + suffix)


def find_checkpoint(name: str, root: str | os.PathLike = RUNS) -> Path:
    """Find the checkpoint called ``name``.

    Args:
        name: ``best`` or ``last`` for the newest run that has such a checkpoint; a checkpoint file; or a run folder,
            for its best checkpoint. If a run was killed before last.ckpt got its final name, ``last`` is previous.ckpt.
        root: the folder of the runs.

    Raises:
        InputError: there is no such checkpoint, or a link leads out of its run, see :func:`check_links`.
    """
    path = _checkpoint_called(name, root)
    folder = path.absolute().parent
    if folder.name == "checkpoints":
        check_links(folder.parent)
    return path


def _checkpoint_called(name: str, root: str | os.PathLike) -> Path:
    if name in ("best", "last"):
        runs = run_folders(root)
        for run in reversed(runs):
            path = _or_previous(run / "checkpoints" / f"{name}.ckpt")
            if path.is_file():
                if name == "last" and run != runs[-1]:
                    log.warning("%s has no checkpoint: using %s", relative(runs[-1]), relative(run))
                return path
        raise InputError(f"no run in {root} has a checkpoint {name}.ckpt yet: train one with `cifar-cnn fit` first")
    path = expanded(name)
    is_run = path.is_dir() or not path.suffix
    path = _or_previous(path / "checkpoints" / BEST if path.is_dir() else path)
    if not path.is_file():
        runs = [run for run in run_folders(root) if list(run.glob("checkpoints/*.ckpt"))][-3:]
        here = runs if is_run or not runs else sorted(runs[-1].glob("checkpoints/*.ckpt"))
        hint = (
            f"the newest here: {', '.join(map(relative, here))}"
            if here
            else f"there are no checkpoints in {root} either"
        )
        raise InputError(f"no checkpoint {path}; {hint}")
    return path


def _or_previous(path: Path) -> Path:
    previous = path.with_name(PREVIOUS)
    return previous if path.name == LAST and not path.is_file() and previous.is_file() else path
