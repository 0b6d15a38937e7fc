"""Images a second in training: a shipped config against the conventional script with the same network.

Ours: ``Trainer.fit`` of a shipped config with all defaults, in the precision that is the device's default.
Other: torchvision's transforms an image (crop, flip, ToTensor, Normalize) in a DataLoader with 0 and with 2 workers,
of which the better counts; NCHW, float32, SGD and a plain loop with running loss and accuracy.

The sides alternate within one fit. A turn is ``--steps`` batches; start-up, workers' start, epoch ends and validation
count for neither side. ``epoch_seconds`` is what 50,000 images take at that rate.
"""

import copy
import tempfile
from collections.abc import Mapping

import torch
from lightning.pytorch import Trainer

from benchmarks._commands import fit_command
from benchmarks._conventional import Batches, Images, Training, train_transform
from benchmarks._measure import comparison, only_json_on_stdout, parser, print_result, run
from benchmarks._ours import Turn, Turns, fit_in_turns, steps_a_round
from cifar_cnn.classifier import ImageClassifier

STEPS = {"simple_cnn_a": 50, "resnet18_lab": 20, "resnet18": 5}
GOALS = {"simple_cnn_a": 3.0, "resnet18": 2.0}
EPOCH = 50_000  # images


class ConventionalScript:
    """Turns of the conventional script with a copy of the network that a Trainer fits.

    Args:
        steps: batches a turn.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.batch_size = 0
        self._training: Training | None = None

    def turns(self) -> Mapping[str, Turn]:
        """With 0 and with 2 workers; both train the same copy."""
        return {f"{workers} workers": self._turn(workers) for workers in (0, 2)}

    def _turn(self, workers: int) -> Turn:
        def turn(trainer: Trainer, pl_module: ImageClassifier) -> float:
            data = trainer.datamodule  # type: ignore[attr-defined]
            if self._training is None:
                backbone = copy.deepcopy(pl_module.backbone).to(memory_format=torch.contiguous_format)
                self._training = Training(backbone)
                self.batch_size = data.batch_size
                image_set = data.source.load("train")
                self._images = Images(image_set, train_transform(image_set.images.shape[-1], data.mean_std))
            return Batches(self._images, self.batch_size, workers).seconds(self.steps, self._training.step)

        return turn


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--configs", nargs="+", default=list(STEPS), help=f"default: {' '.join(STEPS)}")
    options_parser.add_argument("--steps", type=int, help="batches a turn (default: by config and device)")
    options = options_parser.parse_args(args)
    options.rounds = 1 if options.quick else options.rounds
    torch.set_num_threads(options.threads)
    comparisons = []
    for config in options.configs:
        steps = steps_a_round(options, config, STEPS)
        script = ConventionalScript(steps)
        turns = Turns(script.turns())
        with only_json_on_stdout(), tempfile.TemporaryDirectory() as folder:
            fit_in_turns(fit_command(options, folder, config), steps, options.rounds, turns)
        images = steps * script.batch_size
        result = comparison(
            config,
            "images/s",
            [images / seconds for seconds in turns.epochs],
            {name: [images / seconds for seconds in turn] for name, turn in turns.turns.items()},
            higher_is_better=True,
            goal=("at least", GOALS[config]) if config in GOALS else None,
            steps=steps,
            batch_size=script.batch_size,
            precision=turns.precision,
        )
        result["epoch_seconds"] = {side: round(EPOCH / result[side]["median"], 2) for side in ("ours", "other")}
        comparisons.append(result)
    print_result("training", comparisons, options)


if __name__ == "__main__":
    run(main)
