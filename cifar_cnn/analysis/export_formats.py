"""The file formats of an export: functions that write each one, and load it for verification."""

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.fx import GraphModule


class Format(NamedTuple):
    """A file format.

    Attributes:
        write: writes a module to a path; takes the module, two images as an example of its input, metadata, and the
            path.
        load: loads a file as a function from uint8 images (N, 3, H, W) to probabilities (N, num_classes).
    """

    write: Callable[[nn.Module, Tensor, dict[str, str], Path], None]
    load: Callable[[Path], Callable[[Tensor], Tensor]]


def write_onnx(module: nn.Module, images: Tensor, metadata: dict[str, str], path: Path) -> None:
    """Write an ONNX file."""
    program = torch.onnx.export(
        module,
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes={"images": {0: Dim("batch", min=1)}},
        verbose=False,
    )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # holds paths of this machine and lines of code
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


def load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """Load an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(np.asarray(session.run(None, {"images": images.numpy()})[0]))


def write_torch_export(module: nn.Module, images: Tensor, metadata: dict[str, str], path: Path) -> None:
    """Write a torch.export file."""
    with torch.no_grad():
        program = torch.export.export(module, (images,), dynamic_shapes={"images": {0: Dim("batch", min=1)}})
    for graph in (each.graph for each in program.graph_module.modules() if isinstance(each, GraphModule)):
        for node in graph.nodes:
            node.meta.pop("stack_trace", None)  # holds paths of this machine and lines of code
    stream = io.BytesIO()  # on a full disk, torch's own writer would abort the process
    torch.export.save(program, stream, extra_files={f"{name}.txt": text for name, text in metadata.items()})
    path.write_bytes(stream.getvalue())


def load_torch_export(path: Path) -> Callable[[Tensor], Tensor]:
    """Load a torch.export file."""
    return torch.export.load(io.BytesIO(path.read_bytes())).module()


FORMATS = {
    "onnx": Format(write_onnx, load_onnx),
    "torch_export": Format(write_torch_export, load_torch_export),
}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence log messages and warnings of the exporters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
