"""Measure images per second in training: a shipped config compared with a conventional script with the same network.

Ours: ``Trainer.fit`` of a shipped config with all defaults, in the default precision of the device.
Other: torchvision's transforms per image (crop, flip, ToTensor, Normalize) in a DataLoader with the better of 0 and 2
workers; NCHW, float32, SGD, and a plain loop with running loss and accuracy.

The sides alternate epoch by epoch; the other side runs in a separate process. A measurement takes ``--steps`` batches;
start-up, start of the workers, ends of epochs and validation are not included. ``epoch_seconds`` is the time for 50,000
images at that rate.
"""

import tempfile

import torch
from lightning.pytorch import Trainer

from benchmarks._commands import fit_command
from benchmarks._conventional import WORKERS, Conventional
from benchmarks._measure import comparison, only_json_on_stdout, parser, print_result, run
from benchmarks._ours import Turn, Turns, fit_in_turns, steps_a_round
from cifar_cnn.classifier import ImageClassifier

STEPS = {"simple_cnn_a": 50, "resnet18_lab": 20, "resnet18_200": 5}
GOALS = {"simple_cnn_a": 3.0, "resnet18_200": 2.0}
EPOCH = 50_000  # images


def conventional_turn(script: Conventional, workers: int, steps: int) -> Turn:
    """A measurement of the conventional script with a copy of the network that a Trainer trains."""

    def turn(trainer: Trainer, pl_module: ImageClassifier) -> float:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not script.started:
            script.start(data, pl_module.backbone, pl_module.device)
        return script.seconds("train", workers, data.batch_size, steps)

    return turn


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--configs", nargs="+", default=list(STEPS), help=f"default: {' '.join(STEPS)}")
    options_parser.add_argument("--steps", type=int, help="batches per measurement (default: by config and device)")
    options = options_parser.parse_args(args)
    options.rounds = 1 if options.quick else options.rounds
    torch.set_num_threads(options.threads)
    comparisons = []
    for config in options.configs:
        steps = steps_a_round(options, config, STEPS)
        with only_json_on_stdout(), tempfile.TemporaryDirectory() as folder, Conventional(options.threads) as script:
            turns = Turns({f"{workers} workers": conventional_turn(script, workers, steps) for workers in WORKERS})
            fit_in_turns(fit_command(options, folder, config), steps, options.rounds, turns)
        images = steps * turns.batch_size
        result = comparison(
            config,
            "images/s",
            [images / seconds for seconds in turns.epochs],
            {name: [images / seconds for seconds in turn] for name, turn in turns.turns.items()},
            higher_is_better=True,
            goal=("at least", GOALS[config]) if config in GOALS else None,
            steps=steps,
            batch_size=turns.batch_size,
            precision=turns.precision,
        )
        result["epoch_seconds"] = {side: round(EPOCH / result[side]["median"], 2) for side in ("ours", "other")}
        comparisons.append(result)
    print_result("training", comparisons, options)


if __name__ == "__main__":
    run(main)
