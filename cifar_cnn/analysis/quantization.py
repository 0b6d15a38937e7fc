"""Static quantization of an exported ONNX file to 8-bit integers, accepted only if the accuracy holds."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cifar_cnn.analysis.export_formats import load_onnx
from cifar_cnn.base.errors import InputError
from cifar_cnn.data import ImageSet
from cifar_cnn.data.module import CIFAR10DataModule
from cifar_cnn.subsets.splitting import random_order
from cifar_cnn.trust import names as trust

_LAYERS = ("Conv", "Gemm", "MatMul")
_BATCH = 250  # images in a forward pass
_NOTES = ("onnx.infer", "onnx.quant.pre_process")  # left in the metadata by onnxruntime


@dataclass(frozen=True)
class Int8:
    """How a file is quantized and checked.

    Attributes:
        calibration: images whose activations set the ranges of the integers: uint8, (N, 3, H, W).
        scored: images on which the accuracy is measured before and after.
        origin: where these images come from, such as ``validation images``.
        max_loss: the largest accepted loss of accuracy, in percentage points.
    """

    calibration: Tensor
    scored: ImageSet
    origin: str
    max_loss: float = 1.0


@dataclass(frozen=True)
class Quantized:
    """How the quantization changed a file.

    Attributes:
        calibrated: number of training images used for calibration.
        images: number of images on which the accuracy was measured.
        origin: where these images come from.
        accuracy: accuracy before and after, from 0 to 1.
        size: size of the file before and after, in bytes.
    """

    calibrated: int
    images: int
    origin: str
    accuracy: tuple[float, float]
    size: tuple[int, int]


def int8_of(content: dict[str, Any], calibration: int, max_loss: float) -> Int8:
    """Load the images that a run's quantization needs.

    They are a random sample of the training images, the same each time, for calibration, and all validation images or,
    if there are none, all test images for the accuracy.

    Args:
        content: content of the checkpoint.
        calibration: number of training images.
        max_loss: see :class:`Int8`.

    Raises:
        InputError: the images cannot be loaded.
    """
    try:
        module = trust.instantiate(CIFAR10DataModule, content["datamodule_hyper_parameters"], content)
        module.setup("fit")
        train, scored, origin = module.image_set("train").images, module.image_set("val"), "validation images"
        if not len(scored):
            scored, origin = module.image_set("test"), "test images"
    except Exception as error:  # the exception for missing images depends on the source
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"int8 is calibrated on the run's training images, which cannot be loaded: {reason}"
        ) from error
    return Int8(train[random_order(len(train))[:calibration]], scored, origin, max_loss)


def quantize(path: Path, images: Int8) -> Quantized:
    """Replace an ONNX file with one that has 8-bit weights and activations.

    Activations are unsigned, weights signed with one scale per output channel. They have 7 bits, because 8 bits can
    overflow on x86 processors without VNNI. Normalization and softmax remain in float32.

    Args:
        path: the file; its input is uint8 (N, 3, H, W) for any N.
        images: images to calibrate and check with.

    Raises:
        InputError: the accuracy falls by more than allowed; the file is unchanged.
    """
    before, size = _accuracy(load_onnx(path), images.scored), path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "int8.onnx")
        _write_int8(path, part, images.calibration)
        after = _accuracy(load_onnx(part), images.scored)
        if not before - after <= images.max_loss / 100:
            raise InputError(
                f"int8 lowers the accuracy on {len(images.scored):,} {images.origin} from {before:.2%} to {after:.2%}, "
                f"by more than max_loss, {images.max_loss:g} percentage points; no file was written"
            )
        path.write_bytes(part.read_bytes())
    n = len(images.scored)
    return Quantized(len(images.calibration), n, images.origin, (before, after), (size, path.stat().st_size))


def _write_int8(source: Path, target: Path, calibration: Tensor) -> None:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batches = iter(calibration.split(_BATCH))

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {"images": batch.numpy()}

    prepared = target.with_name("prepared.onnx")
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # advice for the authors of graphs
    try:
        quant_pre_process(source, prepared, skip_symbolic_shape=True)  # merges BatchNorm into convolutions
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_left_in_float(onnx.load(prepared).graph.node),
        )
    finally:
        logging.root.setLevel(level)
    model = onnx.load(target)
    kept = [each for each in model.metadata_props if each.key not in _NOTES]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key="precision", value="int8")
    onnx.save(model, target)


def _left_in_float(nodes: Any) -> list[str]:
    """The nodes that remain in float32: the normalization before the first layer, and the softmax."""
    first = next((i for i, node in enumerate(nodes) if node.op_type in _LAYERS), 0)
    return [node.name for i, node in enumerate(nodes) if i < first or node.op_type == "Softmax"]


def _accuracy(probabilities: Callable[[Tensor], Tensor], images: ImageSet) -> float:
    right = sum(
        int((probabilities(batch).argmax(1) == labels).sum())
        for batch, labels in zip(images.images.split(_BATCH), images.labels.split(_BATCH), strict=True)
    )
    return right / len(images)
