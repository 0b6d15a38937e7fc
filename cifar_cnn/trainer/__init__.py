"""Lightning's Trainer with everything that a run needs."""

from cifar_cnn.trainer.trainer import Trainer

__all__ = ["Trainer"]
