"""Measure the peak resident memory of a fit, compared with imports, images and network alone, in MiB.

Ours: the process ``cifar-cnn fit`` with simple_cnn_a and all defaults, on 50,000 images: some steps of training,
validation, checkpoints, pictures.
Other: a process that only parses the same command, imports the libraries, loads the images and creates the network.

The second row compares the difference between the two with the size of the training images as float32.
"""

import os
import sys
import tempfile
from collections.abc import Callable

from benchmarks._commands import fit_command, process
from benchmarks._measure import comparison, interleave, parser, print_result, run

MIB = 2**20
CONFIG = "simple_cnn_a"


def main(args: list[str]) -> None:
    """Run the benchmark or, with ``--load COMMAND...``, its other side."""
    if args[:1] == ["--load"]:
        load(args[1:])
        return
    options_parser = parser(__doc__)
    options_parser.add_argument("--steps", type=int, default=40, help="training steps of the fit (default: 40)")
    options = options_parser.parse_args(args)
    if options.quick:
        options.rounds, options.steps = 1, 2
    with tempfile.TemporaryDirectory() as folder:
        length = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", options.steps)
        command = fit_command(options, os.path.join(folder, "runs"), CONFIG, *length)

        def peak(*args: str) -> Callable[[], float]:
            return lambda: process([*args, *command], folder, options.threads).peak / MIB

        sides = {"ours": peak("-m", "cifar_cnn"), "other": peak("-m", "benchmarks.memory", "--load")}
        values = interleave(sides, options.rounds, warm_up=False)
        with open(os.path.join(folder, "output.txt"), encoding="utf-8") as output:
            float_set = 4 * int(output.read().split()[-1]) / MIB  # printed by the last process, `load`
    beyond = [a - b for a, b in zip(values["ours"], values["other"], strict=True)]
    comparisons = [
        comparison("fit", "MiB", values["ours"], {"imports, data, network": values["other"]}, higher_is_better=False),
        comparison(
            "beyond imports, data, network",
            "MiB",
            beyond,
            {"the set as float32": [float_set] * len(beyond)},
            higher_is_better=False,
            goal=("at most", 1.0),
        ),
    ]
    print_result("memory", comparisons, options)


def load(command: list[str]) -> None:
    """Import the libraries, load the images, create the network, and print the number of values of the images."""
    from benchmarks._ours import with_command  # not at the top: the measuring process must stay small

    sizes = []
    with_command(command, lambda cli: sizes.append(cli.datamodule.source.load("train").images.numel()))
    print(sizes[0], file=sys.stdout)


if __name__ == "__main__":
    run(main)
