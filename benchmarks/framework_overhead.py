"""Measure the overhead of the Trainer and its default callbacks over a bare loop, in seconds per step.

Ours: ``Trainer.fit`` of a shipped config with progress bar, loggers, checkpoints, metrics and pictures.
Other: a loop of forward, backward, clipping, optimizer and schedule step over the same batches of the same data module,
with copies of network and optimizer in the same layout and precision. It prints, logs and saves nothing.

The two alternate epoch by epoch within one fit. A measurement takes ``--steps`` batches, from the start of the epoch to
the end of its last batch; start-up is not included. The Trainer's work at the end of an epoch except validation
(averages, loggers, two checkpoints) is measured separately as ``epoch_end_seconds``; ``ratio_of_an_epoch`` is the ratio
for an epoch of 45,000 images including its end. ``largest_weight_difference`` is the difference between the two
networks after all measurements; it is 0 on a CPU, where both do exactly the same computation.
"""

import contextlib
import statistics
import tempfile
import warnings
from itertools import islice

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Trainer

from benchmarks._commands import fit_command
from benchmarks._measure import comparison, now, only_json_on_stdout, parser, print_result, run, summary
from benchmarks._ours import Turns, copy_of, fit_in_turns, largest_difference, steps_a_round
from cifar_cnn.classifier import ImageClassifier

STEPS = {"simple_cnn_a": 100, "resnet18_200": 5, "speedrun": 3}
GOALS = {"simple_cnn_a": 1.05}
EPOCH = 45_000  # images


class BareLoop:
    """A bare loop over the batches that a Trainer trains on.

    Args:
        steps: batches per measurement.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.difference = 0.0

    def turn(self, trainer: Trainer, pl_module: ImageClassifier) -> float:
        """Train on the epoch that the Trainer is about to train on; return the seconds."""
        if trainer.current_epoch == 0:
            schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
            copies = copy_of(pl_module.backbone, pl_module.loss, *trainer.optimizers, *schedules)
            self.backbone, self.loss, self.optimizer, *self.schedules = copies
        else:
            states = (backbone.state_dict().values() for backbone in (self.backbone, pl_module.backbone))
            self.difference = largest_difference(*states)
        for ours, theirs in zip(self.backbone.parameters(), pl_module.backbone.parameters(), strict=True):
            ours.requires_grad_(theirs.requires_grad)  # a callback may have frozen some
        data = trainer.datamodule  # type: ignore[attr-defined]
        device = pl_module.device
        # The schedule's copy warns because the optimizer's copy lacks the wrapper that counts its steps.
        warnings.filterwarnings("ignore", r"Seems like `optimizer.step\(\)` has been overridden")
        mixed = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(str(trainer.precision))
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        start = now()
        for batch in islice(data.train_dataloader(), self.steps):
            batch = data.on_after_batch_transfer(move_data_to_device(batch, device), 0)
            with torch.autocast(device.type, mixed) if mixed else contextlib.nullcontext():
                logits = self.backbone(batch.images.contiguous(memory_format=pl_module.memory_format))
                loss = self.loss(logits, batch.labels)
            self.optimizer.zero_grad()
            loss.backward()
            if trainer.gradient_clip_val:
                torch.nn.utils.clip_grad_norm_(params, trainer.gradient_clip_val)
            self.optimizer.step()
            for schedule in self.schedules:
                schedule.step()
        return now() - start


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--configs", nargs="+", default=list(STEPS), help=f"default: {' '.join(STEPS)}")
    options_parser.add_argument("--steps", type=int, help="batches per measurement (default: by config and device)")
    options = options_parser.parse_args(args)
    options.rounds = 2 if options.quick else options.rounds
    torch.set_num_threads(options.threads)
    comparisons = []
    for config in options.configs:
        steps = steps_a_round(options, config, STEPS)
        bare = BareLoop(steps)
        turns = Turns({"bare loop": bare.turn})
        with only_json_on_stdout(), tempfile.TemporaryDirectory() as folder:
            fit_in_turns(fit_command(options, folder, config), steps, options.rounds, turns)
        ours, other = ([seconds / steps for seconds in side] for side in (turns.epochs, turns.turns["bare loop"]))
        ratio_of_an_epoch = statistics.median(
            (a * EPOCH / turns.batch_size + end) / (b * EPOCH / turns.batch_size)
            for a, b, end in zip(ours, other, turns.epoch_ends, strict=True)
        )
        comparisons.append(
            comparison(
                config,
                "s/step",
                ours,
                {"bare loop": other},
                higher_is_better=False,
                goal=("at most", GOALS.get(config, 1.02)),
                ratio_of_an_epoch=round(ratio_of_an_epoch, 4),
                epoch_end_seconds=summary(turns.epoch_ends),
                largest_weight_difference=bare.difference,
                steps=steps,
                batch_size=turns.batch_size,
                precision=turns.precision,
            )
        )
    print_result("framework_overhead", comparisons, options)


if __name__ == "__main__":
    run(main)
