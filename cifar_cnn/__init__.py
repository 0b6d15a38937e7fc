"""CIFAR-10 with convolutional networks, on PyTorch Lightning.

Public names are imported when they are first used; ``import cifar_cnn`` itself loads no library::

    from cifar_cnn import CIFAR10DataModule, ImageClassifier, Shapes, SimpleCNN, Trainer

    data = CIFAR10DataModule(source=Shapes(), batch_size=128, val_size=1000)
    model = ImageClassifier(SimpleCNN(batch_norm=True))
    trainer = Trainer(max_epochs=5)
    trainer.fit(model, data)
    trainer.run.curves()
"""

from importlib import import_module

TYPE_CHECKING = False  # that of typing, for tools: `python -m` would take a typing.py from the current folder
if TYPE_CHECKING:
    from typing import Any

    from cifar_cnn import lab
    from cifar_cnn.analysis.network.summary import summary
    from cifar_cnn.analysis.run import Run, load_run
    from cifar_cnn.backbones import ResidualBlock, ResNet18, SimpleCNN, SpeedrunNet
    from cifar_cnn.base.errors import InputError, Stopped
    from cifar_cnn.classifier import ImageClassifier
    from cifar_cnn.data import CIFAR10, CIFAR100, Arrays, Augment, CIFAR10DataModule, ImageFolder, ImageSet, Shapes
    from cifar_cnn.losses import CrossEntropyLoss, cross_entropy
    from cifar_cnn.trainer import Trainer

__version__ = "0.2.0"

_MODULES = {
    "analysis.network.summary": ("summary",),
    "analysis.run": ("Run", "load_run"),
    "backbones": ("ResNet18", "ResidualBlock", "SimpleCNN", "SpeedrunNet"),
    "classifier": ("ImageClassifier",),
    "data": ("CIFAR10", "CIFAR100", "Arrays", "Augment", "CIFAR10DataModule", "ImageFolder", "ImageSet", "Shapes"),
    "base.errors": ("InputError", "Stopped"),
    "losses": ("CrossEntropyLoss", "cross_entropy"),
    "trainer": ("Trainer",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Arrays",
    "Augment",
    "CIFAR10DataModule",
    "CrossEntropyLoss",
    "ImageClassifier",
    "ImageFolder",
    "ImageSet",
    "InputError",
    "ResNet18",
    "ResidualBlock",
    "Run",
    "Shapes",
    "SimpleCNN",
    "SpeedrunNet",
    "Stopped",
    "Trainer",
    "cross_entropy",
    "lab",
    "load_run",
    "summary",
]


def __getattr__(name: str) -> "Any":
    if name == "lab":  # a package
        return import_module("cifar_cnn.lab")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cifar_cnn' has no attribute {name!r}")
    value = getattr(import_module(f"cifar_cnn.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
