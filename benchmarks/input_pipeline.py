"""Measure images per second from memory to normalised training batches, randomly cropped (4 pixels) and flipped.

Ours: the batches of the data module as the Trainer receives them, in channels_last layout.
Other: torchvision's RandomCrop, RandomHorizontalFlip, ToTensor and Normalize on each Pillow image, in a DataLoader with
the better of 0 and 2 workers; with one thread, only 0 workers. The start of the workers is not included. Both sides
leave the batches on the CPU and train nothing.
"""

import tempfile
from functools import partial
from typing import Any

import torch

from benchmarks._commands import fit_command
from benchmarks._conventional import WORKERS, Conventional
from benchmarks._measure import comparison, interleave, only_json_on_stdout, parser, print_result, run, seconds_of
from benchmarks._ours import with_command
from cifar_cnn.cli import CLI


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--batch_size", type=int, default=256, help="images per batch (default: 256)")
    options_parser.add_argument("--steps", type=int, default=100, help="batches per measurement (default: 100)")
    options = options_parser.parse_args(args)
    if options.quick:
        options.rounds, options.steps, options.batch_size = 1, 2, 16
    comparisons: list[dict[str, Any]] = []

    def compare(cli: CLI) -> None:
        data = cli.datamodule
        data.trainer = cli.trainer
        data.prepare_data()
        data.setup("fit")
        script.start(data, cli.model.backbone, torch.device("cpu"))

        def ours() -> float:
            def work() -> None:
                steps = 0
                while steps < options.steps:
                    for batch in data.train_dataloader():
                        data.on_after_batch_transfer(batch, 0).images.contiguous(memory_format=torch.channels_last)
                        steps += 1
                        if steps == options.steps:
                            break

            return options.steps * options.batch_size / seconds_of(work)

        def other(workers: int) -> float:
            return (
                options.steps * options.batch_size / script.seconds("load", workers, options.batch_size, options.steps)
            )

        for threads in sorted({1, options.threads}):
            torch.set_num_threads(threads)
            script.threads = threads
            forms = {f"{n} workers": partial(other, n) for n in (WORKERS if threads > 1 else (0,))}
            values = interleave({"ours": ours, **forms}, options.rounds)
            comparisons.append(
                comparison(
                    f"{threads} thread{'s' * (threads != 1)}",
                    "images/s",
                    values.pop("ours"),
                    values,
                    higher_is_better=True,
                    goal=("at least", 4 if threads == 1 else 8),
                    batch_size=options.batch_size,
                )
            )

    with only_json_on_stdout(), tempfile.TemporaryDirectory() as folder, Conventional(options.threads) as script:
        augment = ("--data.augment.crop", 4, "--data.augment.flip", "true", "--data.batch_size", options.batch_size)
        with_command(fit_command(options, folder, "simple_cnn_a", *augment), compare)
    print_result("input_pipeline", comparisons, options)


if __name__ == "__main__":
    run(main)
