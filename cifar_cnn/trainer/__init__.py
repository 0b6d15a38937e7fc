"""Lightning's Trainer with run folders, exact resume and reports."""

from cifar_cnn.trainer.trainer import Trainer

__all__ = ["Trainer"]
