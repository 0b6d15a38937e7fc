"""Check that a set of images fits into memory before it is created."""

import os
from pathlib import Path

from cifar_cnn.base.errors import InputError


def check_memory(images: int, size: int, more: int = 0, resizable: bool = True) -> None:
    """Check that a set of images fits into memory, including the copy made by the training and validation split.

    Args:
        images: number of images.
        size: side in pixels.
        more: additional bytes that are needed to create them.
        resizable: whether the source has an ``image_size``.

    Raises:
        InputError: the images do not fit.
    """
    needed = 2 * images * 3 * size**2 + more
    available = available_memory()
    if available is not None and needed > available:
        raise InputError(
            f"{images:,} images of {size}x{size} pixels need {in_words(needed)} of memory; {in_words(available)} are "
            f"available: {'lower image_size or ' if resizable else ''}use fewer images",
            options=["data.source.image_size"] if resizable else [],
        )


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Number of bytes that this process may still use, given the system and its container; None if unknown.

    Args:
        meminfo: file with the memory of the system on Linux.
        cgroup: folder of the control group (version 2), with ``memory.max`` and ``memory.current`` in bytes.
    """
    found = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, ValueError, LookupError):  # not Linux: the machine's memory is the limit
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        files = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        used = int((cgroup / "memory.current").read_text()) - int(files.get("file", 0))  # the file cache can be freed
        found.append(max(0, int((cgroup / "memory.max").read_text()) - used))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        pass
    return min(found, default=None)


def in_words(count: int) -> str:
    """Format a number of bytes, such as ``3.2 GB``."""
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:,.{0 if power == 0 else 1}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
