"""Base class of the sources, each of which provides an ImageSet for ``train``, ``test`` and, if it has one, ``val``."""

from abc import ABC, abstractmethod
from typing import Any, Literal

from cifar_cnn.data.images import ImageSet
from cifar_cnn.parts import remember_arguments

Split = Literal["train", "val", "test"]
ChannelStats = tuple[tuple[float, ...], tuple[float, ...]]


class Source(ABC):
    """Labeled training and test images.

    Attributes:
        mean_std: per-channel mean and standard deviation of the training images in [0, 1]; None to measure them.
        image_size: optional; pixels per side, if known before the images are loaded.
        channels: number of channels of the images; needed only with ``image_size``.
        has_val: whether the source has validation images of its own; otherwise some training images are used.
        read_only: True if another user's checkpoint named the source, which then must not download anything or write
            outside the user's cache folder.
    """

    mean_std: ChannelStats | None = None
    channels = 3
    has_val = False
    read_only = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            remember_arguments(cls)

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The class names, in the order of the labels; known before the images are loaded."""

    def prepare(self, split: Split = "train") -> None:  # noqa: B027  (not abstract: there may be nothing to do)
        """Download, decode or cache the images of a split; called in one process per machine before :meth:`load`."""

    @abstractmethod
    def load(self, split: Split) -> ImageSet:
        """The images of a split, in memory."""
