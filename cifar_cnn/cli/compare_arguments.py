"""The options of ``cifar-cnn compare``. Does not import torch, so that help and errors appear at once."""

import json
from pathlib import Path
from typing import Any

from cifar_cnn.cli.argument_parser import ArgumentParser
from cifar_cnn.runs.folders import RUNS


def compare() -> ArgumentParser:
    """The options of ``cifar-cnn compare``."""
    parser = ArgumentParser(
        "compare",
        "Compare runs, or configs (first trained with several seeds each): mean and standard deviation of the test\n"
        "accuracy, and the difference between each pair with confidence intervals.\n\n"
        "A page (compare.html), tables (Markdown, CSV, JSON) and plots are written to lightning_logs/compare_N. To\n"
        "resume an interrupted comparison, repeat the command. Options with a dot, such as --trainer.max_epochs 5,\n"
        "are passed to each fit.",
        [
            "lightning_logs/version_0 lightning_logs/version_1 --ensemble",
            "simple_cnn_a simple_cnn_batchnorm --seeds 3 --jobs 2",
            "configs/simple_cnn_*.yaml --trainer.max_epochs 5 --data.source ImageFolder --data.source.root DIR",
        ],
    )
    parser.add_argument(
        "items",
        nargs="+",
        metavar="RUN_OR_CONFIG",
        help="folders of runs (tested first if necessary), or configs (files, or names from `cifar-cnn configs`)",
    )
    _add_runs(parser)
    _add_engine(parser)
    parser.add_argument("--ensemble", action="store_true", help="add the ensemble of all runs: mean of probabilities")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.5,
        metavar="X",
        help="test for equivalence: differences below X percentage points count as none (default: 0.5)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help=f"folder for the results and runs (default: {RUNS}/compare_N)"
    )
    return parser


def _add_runs(parser: ArgumentParser) -> None:
    """Add the options that decide how often a config is trained."""
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="train each config with the seeds 0 to N-1 (default: 3, with --folds 1)"
    )
    parser.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="cross-validation: train each config N times, each time validating on another of N parts of the training "
        "images",
    )


def _add_engine(parser: ArgumentParser) -> None:
    """Add the options that decide where the trainings run."""
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="run N trainings at a time, which share the cores and GPUs (default: 1). With fewer threads, sums of "
        "floating-point numbers are rounded differently, so the results are not exactly those of --jobs 1",
    )
    parser.add_argument(
        "--executor",
        metavar="NAME",
        help="submit each training as a job through submitit instead: slurm, or local to try it out. "
        "--executor.NAME VALUE passes any parameter to submitit, such as --executor.timeout_min 240 "
        "--executor.slurm_partition gpu --executor.gpus_per_node 1",
    )


def split_executor(options: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate the parameters of the executor from options of ``fit``.

    Args:
        options: options with a dot and their values, as separate words or as ``--name=value``.

    Returns:
        The options of ``fit``, and the parameters by name. A value that is valid JSON is a number, truth value, list or
        dict; all others are strings, such as a time limit ``2:00:00``.
    """
    of_fit: list[str] = []
    parameters: dict[str, Any] = {}
    rest = iter(options)
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            value = next(rest)
        if name.startswith("--executor."):
            parameters[name.removeprefix("--executor.")] = _value(value)
        else:
            of_fit += [word] if equals else [word, value]
    return of_fit, parameters


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
