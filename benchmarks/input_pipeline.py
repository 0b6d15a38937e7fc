"""Measure images per second from memory to normalized training batches, randomly cropped (4 pixels) and flipped.

Ours: the batches of the data module as the Trainer receives them, in channels_last layout.
Other: torchvision's RandomCrop, RandomHorizontalFlip, ToTensor and Normalize on each Pillow image, in a DataLoader with
the better of 0 and 2 workers; with one thread, only 0 workers. The start of the workers is not included. Both sides
leave the batches on the CPU and train nothing.

Further rows add one augmentation each: torchvision's RandAugment, TrivialAugmentWide, ColorJitter or RandomErasing on
each image, or MixUp or CutMix on each batch.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks._commands import fit_command
from benchmarks._conventional import WORKERS, Conventional
from benchmarks._measure import Goal, comparison, interleave, only_json_on_stdout, parser, print_result, run, seconds_of
from benchmarks._ours import with_command
from cifar_cnn.cli import CLI
from cifar_cnn.data import CIFAR10DataModule

# The options of each further augmentation, as in torchvision's conventional scripts.
AUGMENTATIONS = {
    "RandAugment": ("transforms", "RandAugment"),
    "TrivialAugmentWide": ("transforms", "TrivialAugmentWide"),
    "ColorJitter": (
        "transforms",
        "{class_path: ColorJitter, init_args: {brightness: 0.4, contrast: 0.4, saturation: 0.4}}",
    ),
    "RandomErasing": ("normalized_transforms", "RandomErasing"),
    "MixUp": ("mix", "MixUp"),
    "CutMix": ("mix", "CutMix"),
}


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--batch_size", type=int, default=256, help="images per batch (default: 256)")
    options_parser.add_argument("--steps", type=int, default=100, help="batches per measurement (default: 100)")
    options = options_parser.parse_args(args)
    if options.quick:
        options.rounds, options.steps, options.batch_size = 1, 2, 16
    comparisons: list[dict[str, Any]] = []

    with only_json_on_stdout(), tempfile.TemporaryDirectory() as folder, Conventional(options.threads) as script:
        augment = ("--data.augment.crop", 4, "--data.augment.flip", "true", "--data.batch_size", options.batch_size)
        with_command(
            fit_command(options, folder, "simple_cnn_a", *augment),
            lambda cli: comparisons.extend(_crop_and_flip(cli, script, options)),
        )
        for name, (option, value) in AUGMENTATIONS.items():
            command = fit_command(options, folder, "simple_cnn_a", *augment, f"--data.augment.{option}", value)
            with_command(command, lambda cli, name=name: comparisons.append(_further(cli, script, options, name)))  # type: ignore[misc]
    print_result("input_pipeline", comparisons, options)


def _crop_and_flip(cli: CLI, script: Conventional, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compare crop and flip with one thread and with all."""
    data = _set_up(cli)
    script.start(data, cli.model.backbone, torch.device("cpu"))
    for threads in sorted({1, options.threads}):
        name = f"{threads} thread{'s' * (threads != 1)}"
        goal: Goal = ("at least", 4 if threads == 1 else 8)
        yield _compared(name, data, script, options, threads, options.steps, goal=goal)


def _further(cli: CLI, script: Conventional, options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Compare crop, flip and one more augmentation, with all threads."""
    return _compared(name, _set_up(cli), script, options, options.threads, max(options.steps // 10, 2), name)


def _compared(
    title: str,
    data: CIFAR10DataModule,
    script: Conventional,
    options: argparse.Namespace,
    threads: int,
    steps: int,
    augmentation: str = "",
    goal: Goal | None = None,
) -> dict[str, Any]:
    torch.set_num_threads(threads)
    script.threads = threads
    images = steps * options.batch_size

    def other(workers: int) -> float:
        return images / script.seconds("load", workers, options.batch_size, steps, augmentation)

    forms = {f"{n} workers": partial(other, n) for n in (WORKERS if threads > 1 else (0,))}
    values = interleave({"ours": lambda: images / seconds_of(partial(_load, data, steps)), **forms}, options.rounds)
    ours = values.pop("ours")
    return comparison(title, "images/s", ours, values, higher_is_better=True, goal=goal, batch_size=options.batch_size)


def _set_up(cli: CLI) -> CIFAR10DataModule:
    data = cli.datamodule
    data.trainer = cli.trainer
    data.prepare_data()
    data.setup("fit")
    return data


def _load(data: CIFAR10DataModule, steps: int) -> None:
    """Load batches as the Trainer does."""
    done = 0
    while done < steps:
        for batch in data.train_dataloader():
            batch = data.on_before_batch_transfer(batch, 0)
            data.on_after_batch_transfer(batch, 0).images.contiguous(memory_format=torch.channels_last)
            done += 1
            if done == steps:
                break


if __name__ == "__main__":
    run(main)
