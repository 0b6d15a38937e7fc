"""Store the logits of each test and validation image, for comparisons and reports."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from cifar_cnn.data.batches import Batch, EvalBatches
from cifar_cnn.data.images import ImageSet
from cifar_cnn.resume.checkpoints import SavedWithBest
from cifar_cnn.runs.checksum import checksum
from cifar_cnn.runs.folders import run_of
from cifar_cnn.runs.predictions import Predictions
from cifar_cnn.runs.results import ResultFiles

SUFFIX = "_predictions.npz"
FILE_NAME = f"test{SUFFIX}"
VAL_FILE_NAME = f"val{SUFFIX}"


class StorePredictions(SavedWithBest):
    """Writes ``test_predictions.npz`` into the run of a tested checkpoint, next to its test.json.

    A test of another checkpoint, of other images or of a subset writes a file with another name
    (:func:`cifar_cnn.runs.folders.result_path`).

    The file holds, in the order of the test images:

    - ``logits``: float32, (N, num_classes), with test-time augmentation if it is enabled
    - ``labels``: int64, (N,)
    - ``indices``: int64, (N,), the tested images, if only a subset was tested (``limit_test_batches``)
    - ``images_sha256``: the hash of the images, which shows whether two runs were tested on the same images
    - ``checkpoint_checksum``: identifies the tested checkpoint (:func:`cifar_cnn.runs.checksum.checksum`)

    ``val_predictions.npz`` holds the same arrays for the validation of best.ckpt, except ``checkpoint_checksum``, and
    the ``step`` of the weights.

    Args:
        files: chooses the file of a test.
    """

    def __init__(self, files: ResultFiles | None = None) -> None:
        super().__init__()
        self.files = files or ResultFiles()
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self._step = -1  # step of the latest validation

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches, self._step = [], trainer.global_step

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the logits that the step returned, on the device."""
        known = isinstance(batch, Batch) and batch.indices is not None  # False for an ordinary DataLoader
        if known and isinstance(outputs, Tensor):  # a rank's share of the last images may be empty
            self._batches.append((outputs.detach().float(), batch.labels, batch.indices))  # type: ignore[arg-type]

    on_validation_batch_end = on_test_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the logits of all ranks and write them in the order of the images."""
        parts = self._gather(trainer, pl_module)
        if trainer.is_global_zero:
            image_set = trainer.test_dataloaders.image_set  # type: ignore[union-attr]
            path = self.files.path(trainer, SUFFIX, image_set, len(parts[1]))
            if path is not None:
                tested = checksum(Path(str(trainer.ckpt_path)))
                _write(path, replace(_by_image(image_set, *parts), checkpoint_checksum=tested))

    def on_best_saved(self, trainer: Trainer, checkpoint: Path) -> None:
        """Write the predictions of the latest validation next to the checkpoint of that step; called on all ranks."""
        batches, run = trainer.val_dataloaders, run_of(checkpoint)
        if run is None or self._step != trainer.global_step or not isinstance(batches, EvalBatches):
            return
        parts = self._gather(trainer, trainer.lightning_module)
        if trainer.is_global_zero and len(parts[1]):
            _write(run / VAL_FILE_NAME, replace(_by_image(batches.image_set, *parts), step=self._step))

    def _gather(self, trainer: Trainer, pl_module: LightningModule) -> tuple[Tensor, Tensor, Tensor]:
        """Gather logits, labels and indices from all ranks, and clear the buffers."""
        none = torch.empty(0, dtype=torch.int64)
        empty = (torch.empty(0, getattr(pl_module, "num_classes", 0)), none, none)
        parts = [torch.cat(part) for part in zip(*(self._batches or [empty]), strict=True)]
        self._batches = []
        if trainer.world_size > 1:
            parts = [torch.cat(gather_all_tensors(part.to(pl_module.device))) for part in parts]
        logits, labels, indices = parts
        return logits, labels, indices


def _write(path: Path, predictions: Predictions) -> None:
    try:
        predictions.save(path)
    except OSError as error:
        print(f"{path} could not be written: {error.strerror}")


def _by_image(image_set: ImageSet, logits: Tensor, labels: Tensor, indices: Tensor) -> Predictions:
    """The predictions in the order of ``image_set``; ``indices`` are positions in the source's split."""
    if image_set.positions is not None:
        indices = torch.searchsorted(image_set.positions, indices.to(image_set.positions.device))
    order = indices.argsort().to(logits.device)
    indices = indices[order].cpu()
    partial = len(indices) < len(image_set)
    images = image_set.images[indices.to(image_set.images.device)] if partial else image_set.images
    return Predictions(
        logits[order].cpu(),
        labels[order].cpu(),
        indices if partial else None,
        images_sha256=hashlib.sha256(images.cpu().numpy().tobytes()).hexdigest(),
    )
