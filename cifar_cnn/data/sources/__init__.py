"""Sources of images."""

from cifar_cnn.data.sources.arrays import Arrays
from cifar_cnn.data.sources.base import ChannelStats, Source, Split
from cifar_cnn.data.sources.cifar import CIFAR10
from cifar_cnn.data.sources.cifar100 import CIFAR100
from cifar_cnn.data.sources.image_folder import ImageFolder
from cifar_cnn.data.sources.shapes import Shapes

__all__ = ["CIFAR10", "CIFAR100", "Arrays", "ChannelStats", "ImageFolder", "Shapes", "Source", "Split"]
