"""RunFolder: access to the files of a run, each read on first use."""

import copy
import math
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.paths import relative
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule, ImageSet
from cifar_cnn.runs import kept_code
from cifar_cnn.runs.checkpoints import Trained, load_trained, read_checkpoint
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.folders import BEST, LAST, find_checkpoint, run_of
from cifar_cnn.runs.metric_rows import Epoch, finished_epochs
from cifar_cnn.runs.predictions import Predictions, load_predictions, read_predictions
from cifar_cnn.runs.schemas import Config, FitRecord, TestResult, read_config, read_record, read_result
from cifar_cnn.runs.training_lock import is_training
from cifar_cnn.trust import names as trust

Split = Literal["test", "val"]


class RunFolder:
    """The files of a run; each is read on first use.

    Args:
        folder: folder of the run, such as ``lightning_logs/version_0``.
        checkpoint: a checkpoint of the run; by default best.ckpt.
        datamodule: a data module that already holds the run's images; by default a new one with the run's arguments.
        backbone: the network, if it cannot be rebuilt from the checkpoint; the weights are loaded into a copy.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        checkpoint: Path | None = None,
        datamodule: CIFAR10DataModule | None = None,
        backbone: nn.Module | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.checkpoint = checkpoint or self.folder / "checkpoints" / BEST
        self._datamodule = datamodule
        self._backbone = backbone
        self._record: FitRecord | None = None  # replaces fit.json

    # The trained network.

    @cached_property
    def content(self) -> dict[str, Any]:
        """The content of the checkpoint: plain data and tensors.

        Raises:
            InputError: the checkpoint cannot be used.
        """
        content = read_checkpoint(self.checkpoint)
        kept_code.compare(self.checkpoint, content)
        return content

    @cached_property
    def trained(self) -> Trained:
        """The trained network with its classes, image size and normalization.

        Raises:
            InputError: the network cannot be created here.
        """
        return load_trained(self.checkpoint, self.content, self._backbone)

    @property
    def model(self) -> ImageClassifier:
        """The trained classifier of the best checkpoint, in eval mode."""
        return self.trained.classifier

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return tuple(self.content[CIFAR10DataModule.__qualname__]["class_names"])

    @property
    def model_config(self) -> dict[str, Any]:
        """The arguments of the model, as in a config."""
        return self.content["hyper_parameters"]

    @property
    def data_config(self) -> dict[str, Any]:
        """The arguments of the data module, as in a config."""
        return self.content["datamodule_hyper_parameters"]

    @property
    def step(self) -> int:
        """Step of the checkpoint."""
        return int(self.content["global_step"])

    @property
    def title(self) -> str:
        """Name of the network, such as ``SimpleCNN, head max_pool``."""
        backbone = self.model_config.get("backbone")
        arguments = (backbone.get("init_args") or {}) if isinstance(backbone, dict) else {}
        name = type(self.model.backbone).__name__
        return f"{name}, head {arguments['head']}" if "head" in arguments else name

    # The images.

    @cached_property
    def datamodule(self) -> CIFAR10DataModule:
        """The data module, with the settings of the training."""
        if self._datamodule is not None:
            return self._datamodule
        return trust.instantiate(CIFAR10DataModule, self.data_config, self.content)

    @property
    def data(self) -> CIFAR10DataModule:
        """The data module, with its images loaded."""
        self.datamodule.setup("fit")
        return self.datamodule

    def images(self, split: Split) -> ImageSet:
        """The test or the validation images.

        Raises:
            InputError: the images have been moved, or there are none.
        """
        try:
            images = self.datamodule.image_set(split)
        except OSError as error:
            raise InputError(f"the images of {self.folder} cannot be read: {error}") from error
        if not len(images):
            raise InputError(f"{self.folder} has no validation images (data.val_size is 0)")
        if images.class_names != self.class_names or images.images.shape[-1] != self.trained.image_size:
            raise InputError(f"the images of {self.folder} have changed since it was trained")
        return images

    # Records.

    @property
    def record(self) -> FitRecord:
        """fit.json: command, seed, time, hardware, versions; empty if there is no file.

        Raises:
            InputError: a field is wrong.
        """
        return read_record(self.folder) if self._record is None else self._record

    def without_record(self) -> "RunFolder":
        """A copy of this object with an empty record, for a damaged fit.json."""
        run = copy.copy(self)
        run._record = FitRecord()
        return run

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted`` (also by SIGKILL; it can be resumed) or ``failed``."""
        if is_training(self.folder):
            return "running"
        recorded = self.record.get("status")
        if recorded in ("finished", "failed"):
            return recorded
        return "interrupted" if recorded or self.last.is_file() else "failed"

    @property
    def sessions(self) -> list[FitRecord]:
        """The records in fit.json of the fit and of the fits that resumed it, oldest first."""
        record = self.record
        return [*(record.get("earlier") or []), record]

    @property
    def config(self) -> Config:
        """config.yaml.

        Raises:
            InputError: it cannot be read, or a field is wrong.
        """
        return read_config(self.folder)

    @property
    def config_name(self) -> str:
        """The config of the training, such as ``simple_cnn_a`` or ``a+b``; empty for none or for a run's config."""
        try:
            command = str(self.sessions[0].get("command", ""))
        except InputError:  # a damaged record is reported by the code that needs it
            return ""
        paths = re.findall(r"(?:-c|--config)[ =](?:'([^']+)'|([^' ]+))", command)
        names = [Path(quoted or plain).stem for quoted, plain in paths]
        return "" if "config" in names else "+".join(names)

    @property
    def label(self) -> str:
        """The name that the user gave to the run or else the name of its config; empty if it has neither."""
        return str(self.sessions[0].get("name") or self.config_name)

    @property
    def name(self) -> str:
        """The run's label or, without one, the name of its folder."""
        return self.label or self.folder.name

    @property
    def last(self) -> Path:
        """Path of the last checkpoint, from which the run is resumed."""
        return self.folder / "checkpoints" / LAST

    @property
    def epochs(self) -> list[Epoch]:
        """For each finished epoch, the last value of each column of metrics.csv."""
        return finished_epochs(self.folder / "metrics.csv")

    @property
    def metrics(self) -> dict[str, list[float]]:
        """The columns of metrics.csv with a value for each finished epoch; NaN where there is none.

        ``epoch`` counts from 0.
        """
        epochs = self.epochs
        names = dict.fromkeys(name for epoch in epochs for name in epoch)
        return {name: [epoch.get(name, math.nan) for epoch in epochs] for name in names}

    @property
    def result(self) -> TestResult:
        """test.json: the test of the best checkpoint on the run's own test images; empty before the test.

        Raises:
            InputError: a field is wrong.
        """
        return read_result(self.folder)

    def predictions(self, split: Split) -> Predictions | None:
        """The stored predictions on the test or validation images; None if there are none."""
        return load_predictions(self.folder / f"{split}_predictions.npz", len(self.class_names))

    @property
    def is_tested(self) -> bool:
        """Whether the folder holds intact test results of its current best checkpoint.

        Checkpoints are compared by checksum, because a copy of a run has other modification times.
        """
        try:
            result = self.result
            predictions = read_predictions(self.folder / "test_predictions.npz")
        except InputError:
            return False
        best = checksum(self.folder / "checkpoints" / BEST)
        tested = {result.get("checkpoint_checksum"), predictions.checkpoint_checksum}
        return bool(best) and tested == {best} and len(result["class_names"]) == predictions.logits.shape[1]

    # Predictions.

    def logits(self, images: Tensor | np.ndarray, batch_size: int = 500) -> Tensor:
        """Logits of images, normalized as in training, with the run's test-time augmentation.

        Args:
            images: uint8, (N, C, H, W) or (N, H, W, C), or one image without N; of the size used in training.
            batch_size: number of images per batch.

        Returns:
            float32, (N, num_classes), on the CPU.

        Raises:
            InputError: the images have another type, layout or size.
        """
        pixels = _as_batch(images, self.trained.channels, self.trained.image_size).split(batch_size)
        return torch.cat([self.trained.logits(batch) for batch in pixels])

    def __repr__(self) -> str:
        return f"Run({relative(self.folder)}: {self.name})"


def _as_batch(images: Tensor | np.ndarray, channels: int, side: int) -> Tensor:
    """Images as uint8 (N, C, H, W)."""
    pixels = torch.as_tensor(images)
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    if pixels.ndim == 4 and pixels.shape[1] != channels and pixels.shape[-1] == channels:
        pixels = pixels.permute(0, 3, 1, 2)
    if pixels.dtype != torch.uint8 or pixels.shape[1:] != (channels, side, side):
        expected = f"(N, {channels}, {side}, {side}) or (N, {side}, {side}, {channels}), values 0 to 255"
        dtype, shape = str(pixels.dtype).removeprefix("torch."), tuple(torch.as_tensor(images).shape)
        raise InputError(f"images must be uint8 of shape {expected}; these are {dtype} of shape {shape}")
    return pixels


def find_run(name: str | os.PathLike | None = None) -> tuple[Path, Path]:
    """The folder of a run and its checkpoint.

    Args:
        name: a run's folder or a checkpoint in it; None means the newest run that has a best checkpoint.

    Raises:
        InputError: there is no such run.
    """
    checkpoint = find_checkpoint(os.fspath(name) if name is not None else "best")
    folder = run_of(checkpoint)
    if folder is None:
        raise InputError(f"{checkpoint} is not in a run folder: give a folder such as lightning_logs/version_0")
    return folder, checkpoint
