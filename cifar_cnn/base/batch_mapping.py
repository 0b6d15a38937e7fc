"""A loader that prepares each batch, as Lightning's hooks do in a run with a Trainer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningDataModule


@dataclass(frozen=True)
class PreparedBatches:
    """Augmented and normalized batches, for a training loop without a Trainer.

    Attributes:
        batches: the loader.
        datamodule: converts a batch of the loader to a batch for the network.
    """

    batches: Any
    datamodule: LightningDataModule

    @property
    def image_set(self) -> Any:
        """The images that ``Batch.indices`` refer to."""
        return self.batches.image_set

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return (self.datamodule.on_after_batch_transfer(batch, 0) for batch in self.batches)
