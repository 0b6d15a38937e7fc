"""Measure images per second of ``test`` and ``predict`` on ResNet-18 with the stem for small images.

``test``. Ours: Trainer.test of the command with all metrics. Other: ToTensor and Normalize on each Pillow image in a
DataLoader (the better of 0 and 2 workers), batches of 100, NCHW float32, counting correct predictions.
``predict``. Ours: the command on a folder of PNG files, from reading the checkpoint to writing the CSV file. Other: the
same loop over torchvision's ImageFolder of that folder, with the network already in memory.

A measurement covers the whole set and includes the start of both sides (workers, loops, and for ``predict`` the
checkpoint).
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks._commands import fit_command
from benchmarks._conventional import WORKERS, Conventional
from benchmarks._measure import comparison, interleave, only_json_on_stdout, parser, print_result, run, seconds_of
from benchmarks._ours import with_command
from cifar_cnn.cli import CLI, arguments
from cifar_cnn.cli.commands import predict
from cifar_cnn.data import ImageSet

CONFIG = "resnet18_200"


def main(args: list[str]) -> None:
    """Run the benchmark."""
    options_parser = parser(__doc__)
    options_parser.add_argument("--batches", type=int, default=4, help="batches of 500 images (default: 4)")
    options = options_parser.parse_args(args)
    if options.quick:
        options.rounds, options.batches = 1, 1
    torch.set_num_threads(options.threads)
    with only_json_on_stdout(), tempfile.TemporaryDirectory() as folder:
        comparisons = measure(options, folder)
    print_result("inference", comparisons, options)


def measure(options: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    """Run both comparisons, with a network trained for one step.

    Args:
        options: options of the benchmark.
        folder: folder for the run, the image files and the table.
    """
    fit = fit_command(options, folder, CONFIG)
    one = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1")
    with_command([*fit, *one], lambda cli: cli.trainer.fit(cli.model, datamodule=cli.datamodule))
    checkpoint = str(next(Path(folder).glob("lightning_logs/*/checkpoints/best.ckpt")))
    comparisons: list[dict[str, Any]] = []

    def compare(cli: CLI) -> None:
        def test() -> None:
            cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)

        test()  # loads the images
        data = cli.datamodule
        test_set = data.source.load("test")
        tested = test_set.subset(torch.arange(min(options.batches * data.eval_batch_size, len(test_set))))
        n = len(tested)
        files = str(Path(folder, "images"))
        write_images(tested, Path(files))
        words = [files, "--ckpt_path", checkpoint, "--output", str(Path(folder, "classes.csv"))]
        with Conventional(options.threads) as script:
            script.start(data, cli.model.backbone, cli.trainer.strategy.root_device)
            for name, ours, other, what, facts in (
                ("test", test, "test", n, {"precision": str(cli.trainer.precision)}),
                ("predict", partial(predict.run, arguments.parse(["predict", *words])), "test_files", files, {}),
            ):
                sides = {"ours": partial(_rate, n, partial(seconds_of, ours))}
                for workers in WORKERS:
                    sides[f"{workers} workers"] = partial(_rate, n, partial(script.seconds, other, workers, what))
                values = interleave(sides, options.rounds, warm_up=not options.quick)
                comparisons.append(
                    comparison(
                        name,
                        "images/s",
                        values.pop("ours"),
                        values,
                        higher_is_better=True,
                        goal=("at least", 2.0),
                        images=n,
                        **facts,
                    )
                )

    limit = ("--trainer.limit_test_batches", str(options.batches))
    with_command(["test", "--ckpt_path", checkpoint, *fit[3:], *limit], compare)
    return comparisons


def _rate(images: int, seconds: Callable[[], float]) -> float:
    return images / seconds()


def write_images(image_set: ImageSet, folder: Path) -> None:
    """Write PNG files into one folder per class."""
    for index, (image, label) in enumerate(zip(image_set.images, image_set.labels.tolist(), strict=True)):
        path = folder / image_set.class_names[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


if __name__ == "__main__":
    run(main)
