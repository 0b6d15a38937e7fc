"""Train without torch.compile on a machine that cannot compile."""

import logging
import os
import shutil

from lightning.pytorch import Callback, LightningModule, Trainer

from cifar_cnn.classifier import ImageClassifier

log = logging.getLogger("cifar_cnn")


class EagerFallback(Callback):
    """Disables torch.compile on a CPU without a C++ compiler, where the first step would fail."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check for a compiler before the classifier's own setup, which compiles."""
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if isinstance(pl_module, ImageClassifier) and pl_module.to_compile and on_cpu and not _has_cpp_compiler():
            pl_module.to_compile = False
            log.info("No C++ compiler (g++ or clang++) was found: the backbone runs without torch.compile.")


def _has_cpp_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "", "g++", "clang++", "cl") if name)
