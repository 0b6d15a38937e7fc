"""What the benchmarks share: options, the clock, medians with their spread, and the JSON object."""

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

# torch is imported only where it is needed: the benchmarks that measure other processes must be small ones themselves.

Goal = tuple[Literal["at least", "at most"], float]


def parser(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks have; those of its own are added by each."""
    parser = argparse.ArgumentParser(
        description=(description or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each side (default: {rounds})")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of images, weights and order (default: 0)")
    parser.add_argument("--root", type=Path, help="folder with train/<class>/ and test/<class>/; else random images")
    parser.add_argument("--precision", help="of our side, as --trainer.precision has it (default: the device's)")
    parser.add_argument("--quick", action="store_true", help="one small round: shows that it runs, measures nothing")
    return parser


@contextlib.contextmanager
def only_json_on_stdout() -> Iterator[None]:
    """What the commands under measurement print goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def now() -> float:
    """Seconds, once the GPU, if there is one, has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    start = now()
    work()
    return now() - start


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Let the sides take turns, A B A B ..., so that what slows the machine for a while slows both.

    Args:
        sides: each does its work once and returns what is measured of it: seconds, or a rate.
        rounds: values of each.
        warm_up: a first round is run and not counted.
    """
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + warm_up):
        for name, side in sides.items():
            value = side()
            if number >= warm_up:
                values[name].append(value)
    return values


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median and spread, to four digits."""
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
    """One side by side.

    The ratio is ours / other, taken round by round and then the median of those: neighbours in time met the same
    machine. Of several others the one with the best median counts.

    Args:
        name: what was run.
        unit: of the values.
        ours: one value a round.
        others: the other side, in one or several forms, with one value a round each.
        higher_is_better: rates; otherwise times or sizes.
        goal: of the ratio.
        more: what else is worth knowing.
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
    """Print the benchmark's JSON object: what was compared, with which options, on what."""
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
    """Run a benchmark as a program: what the user has to mend is one line and status 2."""
    from cifar_cnn.errors import InputError

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
