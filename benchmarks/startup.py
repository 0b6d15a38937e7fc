"""Measure the seconds from the start of a command to its end, or to the end of the first training step.

Ours: ``cifar-cnn`` with --help, fit --help, an unknown command or option, and fit --print_config; the first step is
that of simple_cnn_a on 50,000 images in memory.
Other: ``python -c 'import lightning.pytorch.cli'``, an import that every training command needs.

All commands take turns.
"""

import os
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks._commands import CONFIGS, fit_command, process
from benchmarks._measure import Goal, comparison, interleave, parser, print_result, run

GOAL: Goal = ("at most", 1.2)
CONFIG = "simple_cnn_a"
CONFIG_PATH = str(CONFIGS / f"{CONFIG}.yaml")
# Arguments, exit status and goal. The arguments of first_step depend on the options.
COMMANDS: dict[str, tuple[list[str], int, Goal | None]] = {
    "help": (["--help"], 0, GOAL),
    "fit_help": (["fit", "--help"], 0, GOAL),
    "unknown_command": (["fti"], 2, GOAL),
    "unknown_option": (["fit", "--config", CONFIG_PATH, "--trainer.max_epoch", "3"], 2, GOAL),
    "print_config": (["fit", "--config", CONFIG_PATH, "--print_config"], 0, None),
    "first_step": ([], 0, None),
}


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="default: all")
    options = options_parser.parse_args(args)
    options.rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:

        def seconds(args: list[str], status: int = 0) -> Callable[[], float]:
            return lambda: process(args, folder, options.threads, status).seconds

        sides = {"import": seconds(["-c", "import lightning.pytorch.cli"])}
        for name in options.commands:
            arguments, status, _ = COMMANDS[name]
            if name == "first_step":
                ending = "--trainer.callbacks+=benchmarks._first_step.ExitAfterFirstStep"
                arguments = fit_command(options, os.path.join(folder, "runs"), CONFIG, ending)
            sides[name] = seconds(["-m", "cifar_cnn", *arguments], status)
        values = interleave(sides, options.rounds, warm_up=not options.quick)
    other = {"import lightning.pytorch.cli": values.pop("import")}
    comparisons: list[dict[str, Any]] = [
        comparison(name, "s", ours, other, higher_is_better=False, goal=COMMANDS[name][2])
        for name, ours in values.items()
    ]
    print_result("startup", comparisons, options)


if __name__ == "__main__":
    run(main)
