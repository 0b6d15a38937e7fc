"""CIFAR-10 with convolutional networks: a lab's exercises as configs, on PyTorch Lightning."""

__version__ = "0.2.0"
