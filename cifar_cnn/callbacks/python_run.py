"""Record a run that is started from Python, without a config."""

import os
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from cifar_cnn.base import files
from cifar_cnn.callbacks.own_code import OwnCode
from cifar_cnn.callbacks.save_config import SaveConfig
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.parts import record_known
from cifar_cnn.resume.loops import run_folder
from cifar_cnn.runs import trained_as
from cifar_cnn.trust import ownership

_OPTIONS = ("max_epochs", "max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val")  # of the Trainer


class PythonRun(Callback):
    """Writes ``config.yaml`` into the run folder, and copies the user's modules like :class:`OwnCode`.

    ``cifar-cnn fit --config`` reproduces the run if all its objects can be recorded: their classes can be imported by
    name and their arguments are known. A comment at the top of the config lists arguments that could not be recorded.

    Args:
        model: the model to train.
        datamodule: its data module, if any.
    """

    def __init__(self, model: LightningModule, datamodule: LightningDataModule | None) -> None:
        super().__init__()
        known, self._unknown = record_known(model.hparams)
        if isinstance(model, ImageClassifier):
            self._unknown |= model.not_recorded
        data, unknown = record_known(datamodule.hparams) if datamodule is not None else ({}, {})
        self._unknown |= unknown
        if isinstance(datamodule, CIFAR10DataModule):
            self._unknown |= datamodule.not_recorded
        self._config: dict[str, Any] = {
            "model": trained_as.section(type(model), {name: known[name] for name in known if name != "num_classes"}),
            "data": data,
        }
        cls = type(model)
        self._code = OwnCode([self._config, f"{cls.__module__}.{cls.__qualname__}"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the config, on rank 0.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = run_folder(trainer) if stage == "fit" else None
        if folder is None or not trainer.is_global_zero:
            return
        seed = os.environ.get("PL_GLOBAL_SEED")
        options = {name: getattr(trainer, name) for name in _OPTIONS}
        config = {"seed_everything": int(seed) if seed else False, **self._config, "trainer": options}
        unknown = [f"# - {name}: {reason}\n" for name, reason in self._unknown.items()]
        head = "# Started from Python.\n"
        if unknown:
            head += f"# These arguments cannot be recorded, so this config lacks them:\n{''.join(unknown)}"
        folder.mkdir(parents=True, exist_ok=True)
        text = head + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        files.write(folder / "config.yaml", ownership.signed_text(text))
        self._code.setup(trainer, pl_module, stage)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._code.on_save_checkpoint(trainer, pl_module, checkpoint)


def record_python(trainer: Trainer, model: LightningModule, datamodule: LightningDataModule | None) -> None:
    """Record a fit that is started from Python; the command line records its own config."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if not any(isinstance(each, SaveConfig) for each in callbacks):
        callbacks[:] = [each for each in callbacks if not isinstance(each, PythonRun)]
        callbacks.append(PythonRun(model, datamodule))
