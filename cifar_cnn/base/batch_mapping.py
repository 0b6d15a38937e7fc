"""A loader that applies a function to each batch, as Lightning's hooks do in a run with a Trainer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PreparedBatches:
    """Augmented and normalised batches, for a training loop without a Trainer.

    Attributes:
        batches: the loader.
        prepare: converts a batch of the loader to a batch for the network.
    """

    batches: Any
    prepare: Callable[[Any], Any]

    @property
    def image_set(self) -> Any:
        """The images that ``Batch.indices`` refer to."""
        return self.batches.image_set

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return map(self.prepare, self.batches)
