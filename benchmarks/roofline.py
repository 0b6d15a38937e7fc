"""Compare the arithmetic rate of training with that of a matrix product on the same machine, in GFLOP/s.

Ours: ``Trainer.fit`` of a shipped config with all defaults. The operations of a step are counted in forward and
backward by torch.utils.flop_counter: two for each multiply-add of convolutions and matrix products, none for all other
operations and the optimizer. The time is that of the whole step.
Other: a product of two float32 matrices of ``--size``, with the same number of threads. If we train in another
precision, our rate can be higher; the rate of a bfloat16 product is given as ``bfloat16_product``.
"""

import copy
import tempfile

import torch
from lightning.pytorch import Trainer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._commands import fit_command
from benchmarks._measure import comparison, only_json_on_stdout, parser, print_result, run, seconds_of, summary
from benchmarks._ours import Turn, Turns, fit_in_turns, steps_a_round
from cifar_cnn.classifier import ImageClassifier

STEPS = {"resnet18_200": 5, "resnet18_lab": 20, "simple_cnn_a": 50}
GOALS = {"resnet18_200": 0.85}


def step_flop(pl_module: ImageClassifier, batch_size: int, image_size: int) -> int:
    """Floating-point operations of one training step, counted without computing any."""
    backbone, loss = copy.deepcopy(pl_module.backbone).to("meta"), copy.deepcopy(pl_module.loss).to("meta")
    images = torch.empty(batch_size, 3, image_size, image_size, device="meta")
    labels = torch.empty(batch_size, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        loss(backbone(images), labels).backward()
    return counter.get_total_flops()


def product(size: int, dtype: torch.dtype, flop: float) -> Turn:
    """A measurement of matrix products with about ``flop`` operations; it returns the seconds per 10^9 operations."""

    def turn(trainer: Trainer, pl_module: ImageClassifier) -> float:
        a, b = (torch.randn(size, size, device=pl_module.device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        each = 2 * size**3
        times = max(1, round(flop / each))

        def work() -> None:
            for _ in range(times):
                torch.mm(a, b, out=out)

        torch.mm(a, b, out=out)
        return seconds_of(work) / (times * each) * 1e9

    return turn


class Flop:
    """Counts the operations of a training step once; its measurement takes no time."""

    def __init__(self) -> None:
        self.of_a_step = 0

    def turn(self, trainer: Trainer, pl_module: ImageClassifier) -> float:
        """Count the operations in the first round."""
        if not self.of_a_step:
            data = trainer.datamodule  # type: ignore[attr-defined]
            self.of_a_step = step_flop(pl_module, data.batch_size, data.train_images.shape[-1])
        return 0.0


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--configs", nargs="+", default=["resnet18_200"], help="default: resnet18_200")
    options_parser.add_argument("--steps", type=int, help="batches per measurement (default: by config and device)")
    options_parser.add_argument("--size", type=int, default=2048, help="rows of the matrices (default: 2048)")
    options = options_parser.parse_args(args)
    if options.quick:
        options.rounds, options.size = 1, 128
    torch.set_num_threads(options.threads)
    amount = 1e8 if options.quick else 1e13 if torch.cuda.is_available() else 3e11  # takes about a second
    comparisons = []
    for config in options.configs:
        steps = steps_a_round(options, config, STEPS)
        flop = Flop()
        turns = Turns(
            {
                "flop": flop.turn,
                "float32 product": product(options.size, torch.float32, amount),
                "bfloat16 product": product(options.size, torch.bfloat16, amount),
            }
        )
        with only_json_on_stdout(), tempfile.TemporaryDirectory() as folder:
            fit_in_turns(fit_command(options, folder, config), steps, options.rounds, turns)
        rates = {name: [1 / seconds for seconds in turns.turns[name]] for name in turns.turns if name != "flop"}
        comparisons.append(
            comparison(
                config,
                "GFLOP/s",
                [flop.of_a_step * steps / seconds / 1e9 for seconds in turns.epochs],
                {"float32 product": rates["float32 product"]},
                higher_is_better=True,
                goal=("at least", GOALS[config]) if config in GOALS else None,
                bfloat16_product=summary(rates["bfloat16 product"]),
                gflop_an_image=round(flop.of_a_step / turns.batch_size / 1e9, 4),
                steps=steps,
                batch_size=turns.batch_size,
                precision=turns.precision,
            )
        )
    print_result("roofline", comparisons, options)


if __name__ == "__main__":
    run(main)
