"""Helpers of all benchmarks: options, clock, medians with spread, and the JSON object."""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

# torch is imported only where it is needed, because benchmarks that measure other processes must be small themselves.

Goal = tuple[Literal["at least", "at most"], float]


def parser(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=(description or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"measurements of each side (default: {rounds})")
    parser.add_argument("--threads", type=int, default=2, help="number of torch's threads (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of images, weights and order (default: 0)")
    parser.add_argument("--root", type=Path, help="folder with train/<class>/, test/<class>/ (default: random images)")
    parser.add_argument("--precision", help="--trainer.precision of our side (default: chosen by device)")
    parser.add_argument("--quick", action="store_true", help="one small round, only to check that it runs")
    return parser


@contextlib.contextmanager
def only_json_on_stdout() -> Iterator[None]:
    """Send the output of the measured commands to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def now() -> float:
    """The current time in seconds, after the GPU, if any, has finished its work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(work: Callable[[], object]) -> float:
    """The duration of ``work`` in seconds."""
    start = now()
    work()
    return now() - start


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Let the sides take turns, A B A B ..., so that a temporary slowdown of the machine affects all of them.

    Args:
        sides: each does its work once and returns the measured value: seconds or a rate.
        rounds: number of values of each side.
        warm_up: whether to run a first round that is not counted.
    """
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + warm_up):
        for name, side in sides.items():
            value = side()
            if number >= warm_up:
                values[name].append(value)
    return values


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, range and values, to four digits."""
    return {
        "median": _round(statistics.median(values)),
        "min": _round(min(values)),
        "max": _round(max(values)),
        "values": [_round(value) for value in values],
    }


def comparison(
    name: str,
    unit: str,
    ours: Sequence[float],
    others: Mapping[str, Sequence[float]],
    higher_is_better: bool,
    goal: Goal | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Compare our side with the other side.

    The ratio is the median of ours / other over the rounds, since measurements of the same round see the same state of
    the machine. If the other side has several forms, the one with the best median is used.

    Args:
        name: name of the comparison.
        unit: unit of the values.
        ours: one value per round.
        others: the other side in one or several forms, each with one value per round.
        higher_is_better: True for rates, False for times and sizes.
        goal: goal for the ratio.
        more: additional entries.
    """
    medians = {form: statistics.median(values) for form, values in others.items()}
    best = (max if higher_is_better else min)(medians, key=medians.__getitem__)
    ratio = summary([a / b for a, b in zip(ours, others[best], strict=True)])
    met = None
    if goal is not None:
        met = ratio["median"] >= goal[1] if goal[0] == "at least" else ratio["median"] <= goal[1]
    return {
        "name": name,
        "unit": unit,
        "ours": summary(ours),
        "other": {"form": best, **summary(others[best])},
        "other_forms": {form: summary(values) for form, values in others.items() if form != best},
        "ratio": ratio["median"],
        "ratio_spread": [ratio["min"], ratio["max"]],
        "goal": " ".join(map(str, goal)) if goal else None,
        "met": met,
        **more,
    }


def print_result(benchmark: str, comparisons: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the benchmark's JSON object: comparisons, options and machine."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    print(json.dumps({"benchmark": benchmark, "comparisons": comparisons, "options": given, "machine": machine()}))


def machine() -> dict[str, Any]:
    """Hardware and versions."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model, flags = _cpu()
    return {
        "cpu": model,
        "matrix_instructions": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
        "cores": cores,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "lightning")},
        },
    }


def run(main: Callable[[list[str]], None]) -> None:
    """Run a benchmark as a program; a mistake of the user is reported in one line, with exit status 2."""
    from cifar_cnn.base.errors import InputError

    try:
        main(sys.argv[1:])
    except InputError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        sys.exit(2)


def _cpu() -> tuple[str, set[str]]:
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name") or platform.processor() or platform.machine(), set(facts.get("flags", "").split())


def _round(value: float) -> float:
    return float(f"{value:.4g}")
