"""``cifar-cnn export``: a trained network as one file for other programs, verified against PyTorch."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifar_cnn import __version__
from cifar_cnn.analysis.export_formats import FORMATS, Format, quiet
from cifar_cnn.analysis.predict import image_files
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.images import random_order
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.errors import InputError
from cifar_cnn.files import replacing
from cifar_cnn.image_files.decoding import UNREADABLE, decode_image, why
from cifar_cnn.image_files.folders import Skipped
from cifar_cnn.runs import kept_code
from cifar_cnn.runs.checkpoints import Trained, load_trained, read_checkpoint
from cifar_cnn.trust import names as trust
from cifar_cnn.tta import TTA, views

TOLERANCE = 1e-4  # of a probability: float32 sums in another order differ by some 1e-6


@dataclass(frozen=True)
class Exported:
    """A file that was written and verified.

    Attributes:
        file: its path.
        trained: the network in it.
        images: how many it was verified on.
        origin: what these images are.
        passes: forward passes an image takes, with test-time augmentation.
        difference: the largest of a probability to PyTorch's.
    """

    file: Path
    trained: Trained
    images: int
    origin: str
    passes: int
    difference: float


def check_packages(format: str) -> None:
    """Check that the packages that a format needs are installed.

    Raises:
        InputError: some are not.
    """
    needed = ("onnx", "onnxscript", "onnxruntime") if format == "onnx" else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format onnx needs {', '.join(missing)}: pip install 'cifar-cnn[export]'")


def export_checkpoint(
    checkpoint: Path, output: Path, format: str, tta: TTA | None = None, paths: list[str] | None = None, n: int = 256
) -> Exported:
    """Write the network of a checkpoint as one file, and verify it.

    Args:
        checkpoint: the file.
        output: the file to write.
        format: ``onnx`` or ``torch_export``.
        tta: test-time augmentation in the file; None: the run's own.
        paths: images and folders of images to verify on; None: the run's test images.
        n: on how many images, 2 or more.

    Raises:
        InputError: there are no images to verify on, the network cannot be exported, or the file's results differ.
    """
    content = read_checkpoint(checkpoint)
    kept_code.compare(checkpoint, content)
    trained = load_trained(checkpoint, content)
    trained.classifier.tta = tta or trained.classifier.tta
    images, origin = _verification_images(content, trained, paths, n)
    difference = export(trained, output, format, images)
    passes = len(views(images[:1].float(), trained.classifier.tta))
    return Exported(output, trained, len(images), origin, passes, difference)


class DeployedClassifier(nn.Module):
    """All that lies between an image's bytes and its classes: normalisation, network, softmax.

    Test-time augmentation is part of it, if the classifier has it on.

    Args:
        trained: of which it shares the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.classifier = trained.classifier
        self.register_buffer("mean", trained.mean)
        self.register_buffer("std", trained.std)

    def forward(self, images: Tensor) -> Tensor:
        """From uint8 images (N, 3, H, W) to probabilities (N, num_classes)."""
        return self.classifier.logits_with_tta(normalize(images, self.mean, self.std)).softmax(1)


def export(trained: Trained, output: Path, format: str, images: Tensor) -> float:
    """Write the network to a file, and verify the file on images.

    Args:
        trained: the network; it is moved to the CPU.
        output: the file to write; an existing file is replaced only after verification.
        format: ``onnx`` or ``torch_export``.
        images: uint8, (N, 3, H, W), two or more.

    Returns:
        The largest difference of a probability from PyTorch's.

    Raises:
        InputError: the network cannot be exported, the file cannot be written, or a probability differs by more than
            ``TOLERANCE``. No file is left then.
    """
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: there is no folder {output.parent}")
    try:
        return _write_verified(trained, output, FORMATS[format], images)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from error
    except Exception as error:  # the exporters raise many types
        backbone = type(trained.classifier.backbone).__name__
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{backbone} cannot be exported as {format}: {type(error).__name__}: {reason}") from error


def _write_verified(trained: Trained, output: Path, format: Format, images: Tensor) -> float:
    """Write the file under another name, verify it, and only then give it its own name."""
    trained.classifier.cpu()
    module = DeployedClassifier(trained).eval()
    with replacing(output) as file:
        part = Path(file.name)
        with quiet():
            format.write(module, images[:2], _metadata(trained), part)
            difference = _largest_difference(module, format.load(part), images)
        if not difference <= TOLERANCE:  # also if it is NaN
            raise InputError(
                f"the exported network differs from PyTorch's by up to {difference:.1e} in a probability (allowed: "
                f"{TOLERANCE:.0e}); {output} was not written"
            )
    return difference


def _metadata(trained: Trained) -> dict[str, str]:
    return {
        "class_names": json.dumps(trained.class_names, ensure_ascii=False),
        "image_size": str(trained.image_size),
        "input": f"images: uint8 RGB (N, 3, {trained.image_size}, {trained.image_size}), values 0 to 255",
        "output": "probabilities: float32 (N, classes), in the order of class_names",
        "test_time_augmentation": trained.classifier.tta,
        "producer": f"cifar-cnn {__version__}, torch {torch.__version__}",
    }


@torch.no_grad()
def _largest_difference(module: nn.Module, exported: Callable[[Tensor], Tensor], images: Tensor) -> float:
    # A single image first, then others at once: a batch size that was fixed by mistake would show here.
    differences = [exported(part) - module(part) for part in (images[:1], images[1:])]
    return torch.cat(differences).abs().max().item()  # NaN where any is; Python's max would lose it


def _verification_images(
    content: dict[str, Any], trained: Trained, paths: list[str] | None, n: int
) -> tuple[Tensor, str]:
    """Images to verify on, uint8 (N, 3, H, W), and what they are; ``content`` is the checkpoint's."""
    if paths:
        decoded = []
        files = list(image_files(paths, [], Skipped()))
        for path in (files[index] for index in random_order(len(files))[:n]):
            try:
                decoded.append(decode_image(path, trained.image_size))
            except UNREADABLE as error:
                raise InputError(f"not an image that can be read: {path}{why(error)}") from error
        if len(decoded) < 2:
            raise InputError(f"verifying takes two images or more; {', '.join(paths)} gave {len(decoded)}")
        return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous(), "given images"
    try:
        source = trust.instantiate(CIFAR10DataModule, content["datamodule_hyper_parameters"], content).source
        images = source.load("test").images
    except Exception as error:  # each source fails in its own way where its images are missing
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the run's test images, to verify on, could not be loaded ({reason}): name some with --images"
        ) from error
    return images[random_order(len(images))[:n]], "test images"
