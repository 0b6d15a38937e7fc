"""Store the logits of each test and validation image, for comparisons and reports."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from cifar_cnn.data.batches import Batch, EvalBatches
from cifar_cnn.data.images import ImageSet
from cifar_cnn.files import replacing
from cifar_cnn.resume.checkpoints import SavedWithBest
from cifar_cnn.runs.folders import run_of
from cifar_cnn.runs.results import ResultFiles

SUFFIX = "_predictions.npz"
FILE_NAME = f"test{SUFFIX}"
VAL_FILE_NAME = f"val{SUFFIX}"


class StorePredictions(SavedWithBest):
    """Writes ``test_predictions.npz`` into the run that a tested checkpoint belongs to, beside its test.json.

    A test of another checkpoint, of other images or of some of the images writes a file of another name
    (:func:`cifar_cnn.runs.folders.result_path`).

    It holds, in the order of the test images, ``logits`` (float32, (N, num_classes), with test-time augmentation if
    that is on) and ``labels`` (int64, (N,)), and ``images_sha256`` of the images' bytes, by which two runs are known
    to have been tested on the same ones. After a test of some of the images (``limit_test_batches``) all three are of
    these, still in the order of the test images, and ``indices`` (int64, (N,)) says which they are.

    Of the validation that chose best.ckpt, ``val_predictions.npz`` holds the same, and the ``step`` of the weights.

    Args:
        files: where a test is written.
    """

    def __init__(self, files: ResultFiles | None = None) -> None:
        super().__init__()
        self.files = files or ResultFiles()
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self._step = -1  # of the weights of the newest validation

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._batches = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier validation."""
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
        known = isinstance(batch, Batch) and batch.indices is not None  # not so of an ordinary DataLoader
        if known and isinstance(outputs, Tensor):  # a process's share of the last images may be none
            self._batches.append((outputs.detach().float(), batch.labels, batch.indices))  # type: ignore[arg-type]

    on_validation_batch_end = on_test_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the processes' shares and write them by image."""
        parts = self._gather(trainer, pl_module)
        if trainer.is_global_zero:
            image_set = trainer.test_dataloaders.image_set  # type: ignore[union-attr]
            path = self.files.path(trainer, SUFFIX, image_set, len(parts[1]))
            if path is not None:
                _write(path, _by_image(image_set, *parts))

    def on_best_saved(self, trainer: Trainer, checkpoint: Path) -> None:
        """Write the predictions of the newest validation beside the checkpoint of the same step, in all processes."""
        batches, run = trainer.val_dataloaders, run_of(checkpoint)
        if run is None or self._step != trainer.global_step or not isinstance(batches, EvalBatches):
            return
        parts = self._gather(trainer, trainer.lightning_module)
        if trainer.is_global_zero and len(parts[1]):
            _write(run / VAL_FILE_NAME, {**_by_image(batches.image_set, *parts), "step": np.array(self._step)})

    def _gather(self, trainer: Trainer, pl_module: LightningModule) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, labels and indices of all processes, which are forgotten."""
        none = torch.empty(0, dtype=torch.int64)
        empty = (torch.empty(0, getattr(pl_module, "num_classes", 0)), none, none)
        parts = [torch.cat(part) for part in zip(*(self._batches or [empty]), strict=True)]
        self._batches = []
        if trainer.world_size > 1:
            parts = [torch.cat(gather_all_tensors(part.to(pl_module.device))) for part in parts]
        logits, labels, indices = parts
        return logits, labels, indices


def _write(path: Path, arrays: dict[str, Any]) -> None:
    try:
        with replacing(path) as file:
            np.savez(file, **arrays)
    except OSError as error:
        print(f"{path} could not be written: {error.strerror}")


def _by_image(image_set: ImageSet, logits: Tensor, labels: Tensor, indices: Tensor) -> dict[str, Any]:
    """What the file holds: the tested images' logits and labels in the order of ``image_set``."""
    order = indices.argsort()
    indices = indices[order].cpu()
    partial = len(indices) < len(image_set)
    images = image_set.images[indices.to(image_set.images.device)] if partial else image_set.images
    arrays = {
        "logits": logits[order].cpu().numpy(),
        "labels": labels[order].cpu().numpy(),
        "images_sha256": hashlib.sha256(images.cpu().numpy().tobytes()).hexdigest(),
    }
    return {**arrays, "indices": indices.numpy()} if partial else arrays
