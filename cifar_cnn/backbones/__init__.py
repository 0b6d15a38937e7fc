"""Networks that map float images (N, 3, H, W) to logits (N, num_classes)."""

from cifar_cnn.backbones.resnet import ResidualBlock, ResNet18
from cifar_cnn.backbones.simple import SimpleCNN
from cifar_cnn.backbones.speedrun import SpeedrunGroup, SpeedrunNet

__all__ = ["ResNet18", "ResidualBlock", "SimpleCNN", "SpeedrunGroup", "SpeedrunNet"]
