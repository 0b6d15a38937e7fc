"""A finished run as its folder holds it: the network of its best checkpoint and the images to look at it with."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cifar_cnn import kept_code, trust
from cifar_cnn.data import CIFAR10DataModule, ImageSet
from cifar_cnn.errors import InputError
from cifar_cnn.files import read_json
from cifar_cnn.runs.checkpoints import Trained, load_trained, read_checkpoint
from cifar_cnn.runs.folders import find_checkpoint, run_of

Split = Literal["test", "val"]


@dataclass(frozen=True)
class RunData:
    """What an analysis of a run starts from.

    Attributes:
        folder: the run's.
        checkpoint: its best.
        trained: the network of that.
        datamodule: with the settings of the training; may have its images loaded already.
        model_config: what the network was made of, as in a config.
        data_config: likewise of the images.
        step: of the checkpoint.
    """

    folder: Path
    checkpoint: Path
    trained: Trained
    datamodule: CIFAR10DataModule
    model_config: dict[str, Any]
    data_config: dict[str, Any]
    step: int

    @property
    def title(self) -> str:
        """Such as ``SimpleCNN, head max_pool``."""
        backbone = self.model_config.get("backbone")
        arguments = (backbone.get("init_args") or {}) if isinstance(backbone, dict) else {}
        name = type(self.trained.classifier.backbone).__name__
        return f"{name}, head {arguments['head']}" if "head" in arguments else name

    @property
    def record(self) -> dict[str, Any]:
        """What the fit has noted in fit.json: command, seed, time, hardware, versions."""
        return read_json(self.folder / "fit.json")

    @property
    def config_name(self) -> str:
        """Of the config that the run was trained with, such as ``simple_cnn_a``, or ``a+b`` of several; empty where
        there was none, or it was one that another run has saved."""
        return config_name(self.record)

    def images(self, split: Split) -> ImageSet:
        """The test or the validation images.

        Raises:
            InputError: they are not where they were, or there are none.
        """
        try:
            images = self.datamodule.image_set(split)
        except (OSError, RuntimeError) as error:  # RuntimeError: torchvision's, for an archive that is not there
            raise InputError(f"the images of {self.folder} cannot be read: {error}") from error
        if not len(images):
            raise InputError(f"{self.folder} has no validation images (data.val_size is 0)")
        if images.class_names != self.trained.class_names or images.images.shape[-1] != self.trained.image_size:
            raise InputError(f"the images of {self.folder} are no longer those that it was trained on")
        return images


def begun(record: dict[str, Any]) -> dict[str, Any]:
    """What fit.json has of how a run was begun, also when it went on later."""
    return next(iter(record.get("earlier") or []), record)


def config_name(record: dict[str, Any]) -> str:
    """See :attr:`RunData.config_name`, of what a fit has noted in fit.json."""
    paths = re.findall(r"(?:-c|--config)[ =](?:'([^']+)'|([^' ]+))", str(begun(record).get("command", "")))
    names = [Path(quoted or plain).stem for quoted, plain in paths]
    return "" if "config" in names else "+".join(names)


def load_run(name: str | None = None, datamodule: CIFAR10DataModule | None = None) -> RunData:
    """Load a run.

    Args:
        name: its folder; None means the newest run that has a best checkpoint.
        datamodule: one that has the run's images in memory already; by default one as in the training.

    Raises:
        InputError: there is no such run, or its checkpoint cannot be used.
    """
    checkpoint = find_checkpoint(name or "best")
    folder = run_of(checkpoint)
    if folder is None:
        raise InputError(f"{checkpoint} lies in no run's folder: give a folder such as lightning_logs/version_0")
    content = read_checkpoint(checkpoint)
    model_config, data_config = content["hyper_parameters"], content["datamodule_hyper_parameters"]
    if datamodule is None:
        kept_code.compare(checkpoint, content)
        datamodule = trust.instantiate(CIFAR10DataModule, data_config, content)
    trained, step = load_trained(checkpoint, content), int(content["global_step"])
    return RunData(folder, checkpoint, trained, datamodule, model_config, data_config, step)
