"""Our side: the shipped configs through the command line's own classes, with their defaults."""

import argparse
import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

import cifar_cnn.cli
from benchmarks._measure import now
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.cli import CLI
from cifar_cnn.data import ImageSet, Source
from cifar_cnn.data.sources import Split
from cifar_cnn.errors import InputError


class RandomImages(Source):
    """Images of random pixels and random labels: as many as CIFAR-10 has, at once.

    Args:
        train_size: training images.
        test_size: test images.
        seed: of pixels and labels.
    """

    def __init__(self, train_size: int = 50_000, test_size: int = 10_000, seed: int = 0) -> None:
        self.sizes = {"train": train_size, "test": test_size}
        self.seed = seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """Ten."""
        return tuple(f"class {label}" for label in range(10))

    def load(self, split: Split) -> ImageSet:
        """Draw the images; (N, 3, 32, 32)."""
        generator = torch.Generator().manual_seed(self.seed)
        n = self.sizes[split]
        images = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(n) % 10, self.class_names)


def with_command(args: list[str], use: Callable[[CLI], None]) -> None:
    """Parse and instantiate a command as ``cifar-cnn`` does, and then ``use`` it in place of running it.

    Raises:
        InputError: the command was refused; stderr says why.
    """

    class Command(CLI):
        def start(self) -> None:
            use(self)

    if cifar_cnn.cli.run(args, Command):
        raise InputError(f"cifar-cnn {' '.join(args)} was refused")


Turn = Callable[[Trainer, ImageClassifier], float]


class Turns(Callback):
    """Alternates the epochs of a fit with other work, and measures both. The first round is not counted.

    An epoch counts from its start to the end of its last training batch. What follows is measured apart: the epoch's
    end, which is averages, logging and checkpoints, but not validation.

    Args:
        others: each does its work once and returns its seconds. They have their turn before each epoch.
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
        """The others' turns, then the clock."""
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
        """The end of the epoch's last batch."""
        if args[-1] + 1 == trainer.num_training_batches:  # only then: `now` waits for a GPU
            self._end = now()
            if trainer.current_epoch:
                self.epochs.append(self._end - self._start)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the epoch's end."""
        self._validation_start = now()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Go on with it."""
        self._validation += now() - self._validation_start


def fit_in_turns(args: list[str], steps: int, rounds: int, turns: Turns) -> None:
    """Fit ``rounds`` epochs of ``steps`` batches, and one before to warm up, in alternation with the others.

    Args:
        args: from :func:`benchmarks._commands.fit_command`.
        steps: batches an epoch. Every epoch logs once, or every 50 steps where it is longer.
        rounds: epochs that count.
        turns: measures.
    """
    length = {
        "max_epochs": rounds + 1,
        "limit_train_batches": steps,
        "limit_val_batches": 1,
        "log_every_n_steps": min(steps, 50),
    }

    def fit(cli: CLI) -> None:
        # After all others, also those for checkpoints.
        cli.trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)

    with_command([*args, *(str(word) for key, value in length.items() for word in (f"--trainer.{key}", value))], fit)


def steps_a_round(options: argparse.Namespace, config: str, on_cpu: Mapping[str, int]) -> int:
    """Batches in a turn: as asked for, or so many that a turn takes seconds."""
    if options.quick:
        return 2
    return options.steps or (200 if torch.cuda.is_available() else on_cpu.get(config, 20))


def copy_of(*parts: Any) -> Any:
    """Copies of parts that belong together, such as a network and its optimizer; what is compiled, compiled anew."""
    copied = copy.deepcopy(parts)
    for before, after in zip(parts, copied, strict=True):
        if isinstance(before, torch.nn.Module) and before._compiled_call_impl is not None:
            after.compile()
    return copied


def largest_difference(a: Iterable[Tensor], b: Iterable[Tensor]) -> float:
    """Of two lists of tensors, value by value."""
    return max((x.double() - y.double()).abs().max().item() for x, y in zip(a, b, strict=True))
