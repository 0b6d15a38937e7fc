"""Run command lines in processes and measure them. This module imports neither torch nor Lightning."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cifar_cnn.base.errors import InputError

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def fit_command(options: argparse.Namespace, folder: str, config: str, *more: Any) -> list[str]:
    """The arguments of ``cifar-cnn`` that train a shipped config on the benchmark's images.

    Args:
        options: options of the benchmark.
        folder: folder for the files of the run.
        config: name of the config, without ``.yaml``.
        more: additional options of the command.
    """
    source = ["--data.source", "benchmarks._ours.RandomImages", "--data.source.seed", options.seed]
    if options.root:
        source = ["--data.source", "ImageFolder", "--data.source.root", options.root.resolve()]
    elif options.quick:
        source += ["--data.source.train_size", 300, "--data.source.test_size", 20]
        source += ["--data.val_size", 40, "--data.batch_size", 16]
    precision = ["--trainer.precision", options.precision] if options.precision else []
    given = ["--seed_everything", options.seed, "--trainer.default_root_dir", folder, *source, *precision, *more]
    path = CONFIGS / f"{config}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise InputError(f"no config {config}; available: {known}")
    return ["fit", "--config", str(path), *map(str, given)]


def process_environment() -> dict[str, str]:
    """The environment for processes that import this checkout of the project from any folder."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


class Finished(NamedTuple):
    """The time and memory that a process took."""

    seconds: float  # from its start to its end
    peak: int  # peak resident memory in bytes


def process(args: Sequence[str], folder: str, threads: int, status: int = 0) -> Finished:
    """Run ``python ARGS`` in ``folder``, without output.

    On Linux, a process inherits the peak memory of the process that starts it, so this process must be small.

    Raises:
        RuntimeError: the process exits with another status; the message contains its output.
    """
    environment = {**process_environment(), "OMP_NUM_THREADS": str(threads)}
    with open(os.path.join(folder, "output.txt"), "w+", encoding="utf-8") as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *args], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, wait_status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(wait_status)
        if child.returncode != status:
            output.seek(0)
            raise RuntimeError(
                f"python {' '.join(args)} exited with status {child.returncode}: {output.read()[-3000:]}"
            )
    return Finished(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
