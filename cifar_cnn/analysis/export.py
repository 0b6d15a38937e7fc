"""Export a trained network to one file for other programs, verified against PyTorch."""

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
from cifar_cnn.analysis.quantization import Int8, Quantized, int8_of, quantize
from cifar_cnn.base.errors import InputError
from cifar_cnn.base.files import replacing
from cifar_cnn.base.image_files.decoding import UNREADABLE, check_decodable, decode_image, why
from cifar_cnn.base.image_files.folders import Skipped
from cifar_cnn.data.augment import normalize
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.runs import kept_code
from cifar_cnn.runs.checkpoints import Trained, load_trained, read_checkpoint
from cifar_cnn.subsets.splitting import random_order
from cifar_cnn.trust import names as trust
from cifar_cnn.tta import TTA, views

_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "hub": ("huggingface_hub", "safetensors")}
BATCH_ENDS = (1, 3, 10)  # of the verification: batches of 1, 2 and 7 images, then all others at once
TOLERANCE = 1e-4  # for a probability; reordering float32 additions changes it by about 1e-6


@dataclass(frozen=True)
class Exported:
    """An exported and verified file.

    Attributes:
        file: path of the file.
        trained: the network in it.
        images: number of images it was verified on.
        origin: where these images come from.
        passes: number of forward passes per image, with test-time augmentation.
        difference: largest difference of a probability from PyTorch's; for int8, measured before quantization.
        quantized: how the quantization changed the file; None without it.
    """

    file: Path
    trained: Trained
    images: int
    origin: str
    passes: int
    difference: float
    quantized: Quantized | None = None


def check_packages(format: str) -> None:
    """Check that the packages for a format are installed.

    Raises:
        InputError: a package is missing.
    """
    extra = {"onnx": "export", "hub": "hub"}.get(format, "")
    missing = [name for name in _PACKAGES.get(format, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format {format} needs {', '.join(missing)}: pip install 'cifar-cnn[{extra}]'")


@dataclass(frozen=True)
class ToInt8:
    """The options of a quantization to 8-bit integers.

    Attributes:
        calibration: number of training images to calibrate on.
        max_loss: the largest accepted loss of accuracy, in percentage points.
    """

    calibration: int = 512
    max_loss: float = 1.0


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    format: str,
    tta: TTA | None = None,
    paths: list[str] | None = None,
    n: int = 256,
    int8: ToInt8 | None = None,
) -> Exported:
    """Export the network of a checkpoint to one file, and verify it.

    Args:
        checkpoint: the checkpoint file.
        output: the file to write.
        format: ``onnx`` or ``torch_export``.
        tta: test-time augmentation in the file; by default the run's own.
        paths: images and folders of images to verify on; by default the run's test images.
        n: maximum number of images to verify on; at least 2.
        int8: quantize the file to 8-bit integers; only for ``onnx``.

    Raises:
        InputError: there are no images to verify on, the network cannot be exported, the file's results differ, or
            quantization costs too much accuracy.
    """
    content = read_checkpoint(checkpoint)
    kept_code.compare(checkpoint, content)
    trained = load_trained(checkpoint, content)
    trained.classifier.tta = tta or trained.classifier.tta
    images, origin = verification_images(content, trained, paths, n)
    integers = int8_of(content, int8.calibration, int8.max_loss) if int8 else None
    difference, quantized = export(trained, output, format, images, integers)
    passes = len(views(images[:1].float(), trained.classifier.tta))
    return Exported(output, trained, len(images), origin, passes, difference, quantized)


class DeployedClassifier(nn.Module):
    """Normalization, network and softmax in one module, with the classifier's test-time augmentation.

    Args:
        trained: the network; the module shares its weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.classifier = trained.classifier
        self.register_buffer("mean", trained.mean)
        self.register_buffer("std", trained.std)

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, 3, H, W) to probabilities (N, num_classes)."""
        return self.classifier.logits_with_tta(normalize(images, self.mean, self.std)).softmax(1)


def export(
    trained: Trained, output: Path, format: str, images: Tensor, int8: Int8 | None = None
) -> tuple[float, Quantized | None]:
    """Write the network to a file, and verify the file on images.

    Args:
        trained: the network; it is moved to the CPU.
        output: the file to write; an existing file is replaced only after verification.
        format: ``onnx`` or ``torch_export``.
        images: uint8, (N, 3, H, W), two or more.
        int8: how to quantize the verified ONNX file; None leaves it in float32.

    Returns:
        The largest difference of a probability from PyTorch's, and how the quantization changed the file.

    Raises:
        InputError: the network cannot be exported, the file cannot be written, a probability differs by more than
            ``TOLERANCE``, or quantization costs too much accuracy. In these cases no file is left.
    """
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: there is no folder {output.parent}")
    try:
        return _write_verified(trained, output, FORMATS[format], images, int8)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from error
    except Exception as error:  # the exporters raise many types
        backbone = type(trained.classifier.backbone).__name__
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{backbone} cannot be exported as {format}: {type(error).__name__}: {reason}") from error


def _write_verified(
    trained: Trained, output: Path, format: Format, images: Tensor, int8: Int8 | None
) -> tuple[float, Quantized | None]:
    """Write the file under another name, verify it, and only then give it its own name."""
    trained.classifier.cpu()
    module = DeployedClassifier(trained).eval()
    with replacing(output) as file:
        part = Path(file.name)
        with quiet():
            example = torch.zeros_like(images[:2])  # the file stores the example, so it must not be a user's image
            format.write(module, example, _metadata(trained), part)
            difference = _largest_difference(module, format.load(part), images)
        if not difference <= TOLERANCE:  # also if it is NaN
            raise InputError(
                f"the exported network differs from PyTorch's by up to {difference:.1e} in a probability (allowed: "
                f"{TOLERANCE:.0e}); {output} was not written"
            )
        quantized = quantize(part, int8) if int8 else None
    return difference, quantized


def input_shape(trained: Trained) -> str:
    """The shape of the exported network's input, such as ``RGB (N, 3, 32, 32)``."""
    color = {1: "gray ", 3: "RGB "}.get(trained.channels, "")
    return f"{color}(N, {trained.channels}, {trained.image_size}, {trained.image_size})"


def _metadata(trained: Trained) -> dict[str, str]:
    return {
        "class_names": json.dumps(trained.class_names, ensure_ascii=False),
        "image_size": str(trained.image_size),
        "input": f"images: uint8 {input_shape(trained)}, values 0 to 255",
        "output": "probabilities: float32 (N, classes), in the order of class_names",
        "mean": json.dumps(trained.mean.tolist()),
        "std": json.dumps(trained.std.tolist()),
        "test_time_augmentation": trained.classifier.tta,
        "producer": f"cifar-cnn {__version__}, torch {torch.__version__}",
    }


@torch.no_grad()
def _largest_difference(module: nn.Module, exported: Callable[[Tensor], Tensor], images: Tensor) -> float:
    # Batches of several sizes reveal a size that was fixed by mistake.
    batches = [part for part in images.tensor_split(BATCH_ENDS) if len(part)]
    differences = [exported(part) - module(part) for part in batches]
    return torch.cat(differences).abs().max().item()  # NaN if any is NaN, unlike Python's max


def verification_images(
    content: dict[str, Any], trained: Trained, paths: list[str] | None, n: int
) -> tuple[Tensor, str]:
    """The images to verify on, uint8 (N, 3, H, W), and where they come from.

    Args:
        content: content of the checkpoint.
        trained: the network.
        paths: images and folders given by the user.
        n: maximum number of images.
    """
    if paths:
        check_decodable(trained.channels)
        decoded = []
        files = list(image_files(paths, [], Skipped()))
        for path in (files[index] for index in random_order(len(files))[:n]):
            try:
                decoded.append(decode_image(path, trained.image_size, trained.channels))
            except UNREADABLE as error:
                raise InputError(f"unreadable image: {path}{why(error)}") from error
        if len(decoded) < 2:
            raise InputError(f"verification needs at least two images; {', '.join(paths)} gave {len(decoded)}")
        return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous(), "given images"
    try:
        source = trust.instantiate(CIFAR10DataModule, content["datamodule_hyper_parameters"], content).source
        images = source.load("test").images
    except Exception as error:  # the exception for missing images depends on the source
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the run's test images could not be loaded for verification ({reason}): name other images with --images"
        ) from error
    return images[random_order(len(images))[:n]], "test images"
