"""What a source is: it gives an ImageSet for ``train`` and one for ``test``."""

from abc import ABC, abstractmethod
from typing import Any, Literal

from cifar_cnn.data.images import ImageSet
from cifar_cnn.parts import remember_arguments

Split = Literal["train", "test"]
ChannelStats = tuple[tuple[float, ...], tuple[float, ...]]


class Source(ABC):
    """A set of labelled training and test images.

    Attributes:
        mean_std: per-channel mean and standard deviation of the training images in [0, 1]; None to measure them.
        image_size: optional; pixels a side, if known before the images are loaded.
        read_only: whether nothing may be downloaded, and nothing written outside the user's cache folder: the source
            was named by a checkpoint of somebody else.
    """

    mean_std: ChannelStats | None = None
    read_only = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            remember_arguments(cls)

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their labels; known before any image is loaded."""

    def prepare(self, split: Split = "train") -> None:  # noqa: B027  (not abstract: there may be nothing to do)
        """Download, decode or cache what ``load(split)`` needs. One process of each machine calls this."""

    @abstractmethod
    def load(self, split: Split) -> ImageSet:
        """The images of a split, in memory."""
