"""What a test said of each single image, for comparing runs on the same images."""

import hashlib
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from cifar_cnn.data.batches import Batch
from cifar_cnn.data.images import ImageSet
from cifar_cnn.files import replacing
from cifar_cnn.results import ResultFiles

SUFFIX = "_predictions.npz"
FILE_NAME = f"test{SUFFIX}"


class StorePredictions(Callback):
    """Writes ``test_predictions.npz`` into the run that a tested checkpoint belongs to, beside its test.json.

    A test of another checkpoint, of other images or of some of the images writes a file of another name
    (:func:`cifar_cnn.runs.result_path`).

    It holds, in the order of the test images, ``logits`` (float32, (N, num_classes), with test-time augmentation if
    that is on) and ``labels`` (int64, (N,)), and ``images_sha256`` of the images' bytes, by which two runs are known
    to have been tested on the same ones. After a test of some of the images (``limit_test_batches``) all three are of
    these, still in the order of the test images, and ``indices`` (int64, (N,)) says which they are.

    Args:
        files: where a test is written.
    """

    def __init__(self, files: ResultFiles | None = None) -> None:
        super().__init__()
        self.files = files or ResultFiles()
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._batches = []

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
        if outputs is not None and batch.indices is not None:  # a process's share of the last images may be none
            self._batches.append((outputs.detach().float(), batch.labels, batch.indices))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the processes' shares and write them by image."""
        none = torch.empty(0, dtype=torch.int64)
        empty = (torch.empty(0, getattr(pl_module, "num_classes", 0)), none, none)
        parts = [torch.cat(part) for part in zip(*(self._batches or [empty]), strict=True)]
        self._batches = []
        if trainer.world_size > 1:
            parts = [torch.cat(gather_all_tensors(part.to(pl_module.device))) for part in parts]
        if not trainer.is_global_zero:
            return
        logits, labels, indices = parts
        image_set = trainer.test_dataloaders.image_set  # type: ignore[union-attr]
        path = self.files.path(trainer, SUFFIX, image_set, len(labels))
        if path is None:
            return
        arrays = _by_image(image_set, logits, labels, indices)
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
