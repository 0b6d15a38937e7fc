"""Networks: nn.Modules from (N, 3, H, W) float images to (N, num_classes) logits."""

from cifar_cnn.backbones.resnet import ResidualBlock, ResNet18
from cifar_cnn.backbones.simple import SimpleCNN
from cifar_cnn.backbones.speedrun import SpeedrunGroup, SpeedrunNet

__all__ = ["ResNet18", "ResidualBlock", "SimpleCNN", "SpeedrunGroup", "SpeedrunNet"]
