"""Our side of the benchmarks: shipped configs, run through the classes of the command line with their defaults."""

import argparse
import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

import cifar_cnn.cli
from benchmarks._measure import now
from cifar_cnn.base.errors import InputError
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import CLI
from cifar_cnn.data import ImageSet, Source
from cifar_cnn.data.sources import Split


class RandomImages(Source):
    """Images of random pixels, by default as many as in CIFAR-10.

    Args:
        train_size: number of training images.
        test_size: number of test images.
        seed: seed of the pixels.
    """

    def __init__(self, train_size: int = 50_000, test_size: int = 10_000, seed: int = 0) -> None:
        self.sizes = {"train": train_size, "test": test_size}
        self.seed = seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """Ten class names."""
        return tuple(f"class {label}" for label in range(10))

    def load(self, split: Split) -> ImageSet:
        """Draw the images: uint8, (N, 3, 32, 32)."""
        generator = torch.Generator().manual_seed(self.seed)
        n = self.sizes[split]
        images = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(n) % 10, self.class_names)


def with_command(args: list[str], use: Callable[[CLI], None]) -> None:
    """Parse and instantiate a command as ``cifar-cnn`` does, then call ``use`` instead of running it.

    Raises:
        InputError: the command failed; the reason is on stderr.
    """

    class Command(CLI):
        def start(self) -> None:
            use(self)

    if cifar_cnn.cli.run(args, Command):
        raise InputError(f"cifar-cnn {' '.join(args)} failed")


Turn = Callable[[Trainer, ImageClassifier], float]


class Turns(Callback):
    """Alternates the epochs of a fit with other work, and measures both. The first round is not counted.

    An epoch is timed from its start to the end of its last training batch. The end of the epoch (averages, logging and
    checkpoints, but not validation) is measured separately.

    Args:
        others: called before each epoch; each does its work once and returns the seconds that it took.
    """

    def __init__(self, others: Mapping[str, Turn]) -> None:
        self.others = others
        self.epochs: list[float] = []
        self.turns: dict[str, list[float]] = {name: [] for name in others}
        self.epoch_ends: list[float] = []
        self.precision = ""
        self.batch_size = 0
        self._start = self._end = self._validation_start = self._validation = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: ImageClassifier) -> None:  # type: ignore[override]
        """Run the other work, then start the clock."""
        self.precision = str(trainer.precision)
        self.batch_size = trainer.datamodule.batch_size  # type: ignore[attr-defined]
        if trainer.current_epoch:
            self.epoch_ends.append(now() - self._end - self._validation)
        for name, turn in self.others.items():
            seconds = turn(trainer, pl_module)
            if trainer.current_epoch:
                self.turns[name].append(seconds)
        self._validation = 0.0
        self._start = now()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Stop the clock after the epoch's last batch."""
        if args[-1] + 1 == trainer.num_training_batches:  # not for each batch, since `now` waits for a GPU
            self._end = now()
            if trainer.current_epoch:
                self.epochs.append(self._end - self._start)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock of the validation."""
        self._validation_start = now()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the clock of the validation."""
        self._validation += now() - self._validation_start


def fit_in_turns(args: list[str], steps: int, rounds: int, turns: Turns) -> None:
    """Train a warm-up epoch and ``rounds`` measured epochs of ``steps`` batches, alternating with the other work.

    Args:
        args: from :func:`benchmarks._commands.fit_command`.
        steps: batches per epoch. Each epoch logs once, or every 50 steps if it is longer.
        rounds: number of measured epochs.
        turns: the callback that measures.
    """
    length = {
        "max_epochs": rounds + 1,
        "limit_train_batches": steps,
        "limit_val_batches": 1,
        "log_every_n_steps": min(steps, 50),
    }

    def fit(cli: CLI) -> None:
        # After all other callbacks, including those for checkpoints.
        cli.trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)

    with_command([*args, *(str(word) for key, value in length.items() for word in (f"--trainer.{key}", value))], fit)


def steps_a_round(options: argparse.Namespace, config: str, on_cpu: Mapping[str, int]) -> int:
    """The number of batches in a round: the given option, or by default enough to take seconds."""
    if options.quick:
        return 2
    return options.steps or (200 if torch.cuda.is_available() else on_cpu.get(config, 20))


def copy_of(*parts: Any) -> Any:
    """Copy related objects together, such as a network and its optimizer; compiled modules are compiled again."""
    copied = copy.deepcopy(parts)
    for before, after in zip(parts, copied, strict=True):
        if isinstance(before, torch.nn.Module) and before._compiled_call_impl is not None:
            after.compile()
    return copied


def largest_difference(a: Iterable[Tensor], b: Iterable[Tensor]) -> float:
    """The largest absolute difference between the values of two lists of tensors."""
    return max((x.double() - y.double()).abs().max().item() for x, y in zip(a, b, strict=True))
