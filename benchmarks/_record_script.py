"""Run a copy of a published speedrun script on a CPU: KellerJordan/cifar10-airbench's or hiverge/cifar10-speedrun's.

The scripts need a GPU with float16. They are not part of this project: the user passes the path of a copy. It runs in
eager mode with the changes of CHANGES, and with images from a folder in the form in which it would store the downloaded
ones. Nothing else is changed: this project's settings of the allocator and of float32 products do not apply.

``python -m benchmarks._record_script SCRIPT ROOT SEED PRECISION STEPS`` runs it in the current folder, which must be
empty, and prints a JSON object. STEPS is 0 for a complete run.
"""

import contextlib
import json
import re
import statistics
import sys
import time
import traceback
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks._measure import run
from cifar_cnn.base.errors import InputError
from cifar_cnn.data import ImageFolder
from cifar_cnn.data.sources import Split

# Regular expressions and their replacements. HALF and CpuTimer are defined for the script.
CHANGES = {
    r'torch\.device\("cuda"\)': 'torch.device("cpu")',
    r"\.cuda\(\)": "",
    r"torch\.cuda\.Event\(enable_timing=True\)": "CpuTimer()",
    r"torch\.cuda\.(synchronize|empty_cache|_sleep)\(": "ignored(",
    r"\.half\(\)": ".to(HALF)",
    r"torch\.half\b": "HALF",
}
SPLITS: tuple[Split, ...] = ("train", "test")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
NEEDED = ("CifarNet", "Muon", "evaluate", "main")


class CpuTimer:
    """Replaces a timing event of CUDA."""

    def record(self) -> None:
        """Remember the current time."""
        self.seconds = time.perf_counter()

    def elapsed_time(self, end: "CpuTimer") -> float:
        """Milliseconds until ``end``."""
        return 1e3 * (end.seconds - self.seconds)


class EnoughSteps(Exception):
    """Ends a script after the requested number of steps."""


class Watch:
    """Records the end of each step and the results of a script.

    Args:
        names: the names of the script; its optimizer and its evaluation are wrapped.
        steps: number of steps after which the script is stopped; 0: it is not.
    """

    def __init__(self, names: dict[str, Any], steps: int) -> None:
        self.steps = steps
        self.ends: list[float] = []
        self.evaluation_seconds = 0.0  # between the first and the last step
        self.accuracies: dict[int, float] = {}  # the latest, by level of test-time augmentation
        self._step, self._evaluate = names["Muon"].step, names["evaluate"]
        names["Muon"].step = lambda optimizer: self._after_step(self._step(optimizer))
        names["evaluate"] = self._timed_evaluation
        self._pending = 0.0

    def _after_step(self, result: Any) -> Any:
        self.ends.append(time.perf_counter())
        self.evaluation_seconds += self._pending
        self._pending = 0.0
        if len(self.ends) == self.steps:
            raise EnoughSteps
        return result

    def _timed_evaluation(self, model: Any, loader: Any, tta_level: int = 0) -> float:
        start = time.perf_counter()
        accuracy = self.accuracies[tta_level] = self._evaluate(model, loader, tta_level)
        self._pending += time.perf_counter() - start
        return accuracy

    @property
    def step_seconds(self) -> list[float]:
        """Duration of each step but the first; the first step of an epoch includes the augmentation of all images."""
        return [end - start for start, end in pairwise(self.ends)]


def adapted(source: str) -> str:
    """The source of a script for a GPU, changed to run on a CPU.

    Raises:
        InputError: the script needs a GPU after all changes.
    """
    for pattern, replacement in CHANGES.items():
        source = re.sub(pattern, replacement, source)
    if left := re.search(r".*\bcuda\b.*", source):
        raise InputError(f"the script needs a GPU even with all changes: {left[0].strip()}")
    return source


def script_names(script: Path, precision: str) -> dict[str, Any]:
    """Execute the definitions of a script, without its main part, and return its names.

    Args:
        script: path of the script.
        precision: what replaces float16: ``32-true``, ``bf16-true``, or ``bf16-mixed`` for float32 with autocast.

    Raises:
        InputError: the script cannot be read or is of another kind.
    """
    try:
        source = script.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{script} cannot be read: {error}") from error
    half = torch.bfloat16 if precision == "bf16-true" else torch.float32
    names: dict[str, Any] = {"__name__": "record", "HALF": half, "CpuTimer": CpuTimer, "ignored": lambda *_: None}
    exec(compile(adapted(source), str(script), "exec"), names)
    if missing := [name for name in NEEDED if name not in names]:
        raise InputError(f"{script} is not a script like airbench94_muon.py: it does not define {missing[0]}")
    if precision == "bf16-mixed":
        network = names["CifarNet"]
        forward = torch.autocast("cpu", torch.bfloat16)(network.forward)
        network.forward = lambda *args, **options: forward(*args, **options).float()
    return names


def store_images(root: Path, folder: Path) -> None:
    """Write the images of an ImageFolder to ``cifar10/train.pt`` and ``cifar10/test.pt``, as the scripts do."""
    source = ImageFolder(root)
    (folder / "cifar10").mkdir()
    for split in SPLITS:
        images = source.load(split)
        stored = {"images": images.images.permute(0, 2, 3, 1).contiguous(), "labels": images.labels.long()}
        torch.save({**stored, "classes": list(images.class_names)}, folder / "cifar10" / f"{split}.pt")


def run_script(script: Path, seed: int, precision: str, steps: int = 0) -> dict[str, Any]:
    """Train and test with a script, on the images in the current folder.

    Args:
        script: path of the script.
        seed: seed of the weights and augmentations.
        precision: see :func:`script_names`.
        steps: number of steps after which it is stopped; 0 for a complete run.

    Returns:
        ``steps``: of a complete run; ``seconds_per_step``: median. For a complete run also ``seconds``: from the start
        of the first step to the end of the last, without evaluations, the first step taken as long as the median;
        ``accuracy`` and ``accuracy_without_tta``.
    """
    names = script_names(script, precision)
    watch = Watch(names, steps)
    torch.manual_seed(seed)
    network = names["CifarNet"]().to(memory_format=torch.channels_last)
    total = None
    with torch.compiler.set_stance("force_eager"), contextlib.redirect_stdout(sys.stderr):
        try:
            names["main"](seed, network)
        except EnoughSteps as stop:
            total = _total_steps(stop)
    if len(watch.ends) < 2:
        raise InputError(f"{script} has made {len(watch.ends)} steps, but at least 2 are needed")
    per_step = statistics.median(watch.step_seconds)
    if total is not None:
        return {"steps": total, "seconds_per_step": per_step}
    seconds = sum(watch.step_seconds) + per_step - watch.evaluation_seconds
    accuracies = {"accuracy": watch.accuracies.get(2), "accuracy_without_tta": watch.accuracies.get(0)}
    return {"seconds": seconds, "steps": len(watch.ends), "seconds_per_step": per_step, **accuracies}


def _total_steps(stop: EnoughSteps) -> int | None:
    """The number of steps that the stopped script would have made."""
    frames = [frame for frame, _ in traceback.walk_tb(stop.__traceback__)]
    return next(
        (frame.f_locals["total_train_steps"] for frame in frames if "total_train_steps" in frame.f_locals), None
    )


def main(args: list[str]) -> None:
    """Run a script and print its results."""
    script, root, seed, precision, steps = args
    store_images(Path(root), Path())
    sys.argv = [script]  # the script reads its own source
    print(json.dumps(run_script(Path(script), int(seed), precision, int(steps))))


if __name__ == "__main__":
    run(main)
