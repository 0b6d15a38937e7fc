"""What a test said of each single image, for comparing runs on the same images."""

import hashlib
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from cifar_cnn.data.batches import Batch
from cifar_cnn.files import replacing
from cifar_cnn.runs import result_path

FILE_NAME = "test_predictions.npz"


class StorePredictions(Callback):
    """Writes ``test_predictions.npz`` into the run that a tested checkpoint belongs to, beside its test.json.

    Of another checkpoint than the run's best it is ``test_NAME_predictions.npz``.

    It holds, in the order of the test images, ``logits`` (float32, (N, num_classes), with test-time augmentation if
    that is on) and ``labels`` (int64, (N,)), and ``images_sha256`` of the images' bytes, by which two runs are known
    to have been tested on the same ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self._batches: list[tuple[Tensor, Tensor]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
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
        if outputs is not None:  # a process's share of the last images may be none
            self._batches.append((outputs.detach().float(), batch.labels))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the processes' shares and write."""
        classes = getattr(pl_module, "num_classes", 0)
        empty = (torch.empty(0, classes), torch.empty(0, dtype=torch.int64))
        logits, labels = (torch.cat(parts) for parts in zip(*(self._batches or [empty]), strict=True))
        self._batches = []
        if trainer.world_size > 1:
            logits, labels = (_interleave(gather_all_tensors(part.to(pl_module.device))) for part in (logits, labels))
        path = result_path(trainer.ckpt_path, FILE_NAME) if trainer.ckpt_path else None
        if path is None or not trainer.is_global_zero:
            return
        images = trainer.test_dataloaders.image_set.images  # type: ignore[union-attr]
        digest = hashlib.sha256(images[: len(labels)].cpu().numpy().tobytes()).hexdigest()
        try:
            with replacing(path) as file:
                np.savez(file, logits=logits.cpu().numpy(), labels=labels.cpu().numpy(), images_sha256=digest)
        except OSError as error:
            print(f"{path} could not be written: {error.strerror}")


def _interleave(shares: list[Tensor]) -> Tensor:
    """From the processes' shares, each every world_size-th image (see EvalBatches), to the images' order."""
    whole = torch.empty(sum(map(len, shares)), *shares[0].shape[1:], dtype=shares[0].dtype, device=shares[0].device)
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole
