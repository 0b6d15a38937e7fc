"""The environment of a run: the state of the working folder's git repository, and the installed packages."""

import functools
import importlib.metadata
import json
import os
from itertools import count
from pathlib import Path
from typing import Any

from cifar_cnn.base.files import write
from cifar_cnn.base.git import compares_files_safely, git

MOST = 1_000_000  # bytes of a diff that are kept
_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty", "HEAD")
NAMES = 100  # of untracked files


def keep_working_folder(run: Path, folder: Path) -> dict[str, Any] | None:
    """Keep the changes to tracked files in ``git.diff``, in the run's folder.

    Untracked files are named, not copied.

    Args:
        run: the run's folder.
        folder: the working folder.

    Returns:
        ``folder``: the root of the repository; ``commit``; ``diff``: name of the file, or None without changes;
        ``diff_truncated``: whether it lacks bytes beyond the first million, or all of them because the repository's
        config names filters to run; ``untracked``: up to 100 names. None outside of git.

    Raises:
        OSError: the file cannot be written.
    """
    root, _ = git(folder, "rev-parse", "--show-toplevel")
    commit, _ = git(folder, "rev-parse", "--verify", "HEAD")
    if not root or not commit:
        return None
    top = Path(os.fsdecode(root).rstrip("\n"))
    diff, missing = git(top, *_DIFF, most=MOST) if compares_files_safely(top) else (b"", -1)
    names, _ = git(top, "ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z")
    return {
        "folder": str(top),
        "commit": commit.decode().strip(),
        "diff": _keep(run, "git.diff", diff) if diff else None,
        "diff_truncated": missing != 0,
        "untracked": [name.decode("utf-8", "backslashreplace") for name in names.split(b"\0") if name][:NAMES],
    }


def keep_packages(run: Path) -> str:
    """Keep the versions of all installed packages in ``packages.txt``, in the run's folder, as ``pip freeze`` does.

    Returns:
        The name of the file.

    Raises:
        OSError: the file cannot be written.
    """
    return _keep(run, "packages.txt", "".join(f"{line}\n" for line in installed_packages()).encode())


@functools.cache  # reading the metadata takes a tenth of a second
def installed_packages() -> tuple[str, ...]:
    """A line such as ``torch==2.11.0`` for each installed package; for one from an address or a folder, its address."""
    lines: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        name, version = package.metadata["Name"], package.version
        if name and name.lower() not in lines:  # the first in the search path is the one that is imported
            lines[name.lower()] = _line(name, version, package.read_text("direct_url.json"))
    return tuple(line for _, line in sorted(lines.items()))


def _line(name: str, version: str, direct_url: str | None) -> str:
    try:
        source = json.loads(direct_url or "")
        if source.get("dir_info", {}).get("editable"):
            return f"-e {source['url']}  # {name}=={version}"
        return f"{name} @ {source['url']}  # {version}"
    except (ValueError, KeyError, AttributeError):  # an ordinary package has no such file
        return f"{name}=={version}"


def _keep(run: Path, name: str, content: bytes) -> str:
    """Write a file into the run's folder; a resumed run keeps a different earlier file and gets one with a number."""
    stem, _, suffix = name.partition(".")
    for number in count():
        path = run / (f"{stem}_{number}.{suffix}" if number else name)
        if not path.exists():
            write(path, content)
        elif path.read_bytes() != content:
            continue
        return path.name
    raise AssertionError
