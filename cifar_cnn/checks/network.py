"""Run a network and its loss on two images before training, and explain errors."""

import copy
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import chain
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cifar_cnn.base.errors import InputError
from cifar_cnn.base.image_files.memory import check_memory
from cifar_cnn.checks.augmentation import check_augmentation
from cifar_cnn.checks.hidden_layers import HiddenLayers
from cifar_cnn.checks.image_sides import smallest_side, wrong_side
from cifar_cnn.checks.layer_advice import form, layer_advice, written
from cifar_cnn.checks.layer_trace import LayerTrace
from cifar_cnn.checks.outputs import wrong_logits, wrong_loss
from cifar_cnn.classifier import ImageClassifier
from cifar_cnn.data import CIFAR10DataModule
from cifar_cnn.metrics import in_float32
from cifar_cnn.parts.losses import name_of_loss
from cifar_cnn.trust.tracebacks import own_line

_IMAGES = 2  # BatchNorm needs at least two
_CHANNELS = 64  # number of float feature maps, as large as the images, that must fit in memory
_MOST_NUMBERS = 20e6  # parameters; such a network takes about 0.1 s on one core at 32 x 32 pixels
_DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
_STEPS = ("forward", "validation_step", "_loss")


class _Explained(InputError):
    """A mistake that occurs on every device."""


def check_network(model: ImageClassifier, datamodule: CIFAR10DataModule, precision: str = "32-true") -> None:
    """Run a copy of the network and the loss on two images, as in training.

    Neither the model nor the state of any random number generator changes. The copy of a large network runs on the meta
    device, which computes only shapes; if that fails, it runs on the CPU.

    Args:
        model: the classifier. A subclass that overrides ``forward`` or ``validation_step`` is not checked.
        datamodule: provides the image size. Images are loaded only if the source has no attribute ``image_size``.
        precision: the Trainer's precision.

    Raises:
        InputError: the network or the loss fails; the message names the layer and suggests what to write.
        Exception: any other exception from the user's code.
    """
    own = type(model)
    if not isinstance(model.backbone, nn.Module):  # jsonargparse does not convert arguments without a type hint
        raise InputError(
            f"{own.__name__}: its backbone is {model.backbone!r:.60}, not a network: add the type hint "
            "backbone: torch.nn.Module to __init__"
        )
    if datamodule.augment.of_single_images or datamodule.augment.mix is not None:
        loss = None if has_own_steps(own) else model.loss
        for shape in _shapes(datamodule)[:1]:
            check_augmentation(datamodule.augment, shape, model.num_classes, loss)
    if _overrides(own, _STEPS):
        return
    if "training" not in vars(model.backbone):  # nn.Module.__init__ sets it
        raise InputError(f"model.backbone: call super().__init__() first in {type(model.backbone).__name__}.__init__")
    if getattr(model.backbone, "aux_logits", False) is True:  # of torchvision's GoogLeNet and Inception3
        raise InputError(
            f"model.backbone: {type(model.backbone).__name__} also returns auxiliary logits: add "
            "--model.backbone.aux_logits false"
        )
    shapes = _shapes(datamodule)
    for name, module in model.backbone.named_modules():
        if shapes and any(is_lazy(each) for each in module.parameters(recurse=False)):
            raise InputError(_lazy(model, name, module, shapes[0]))
    for shape in shapes:
        try:
            _run_cheaply(model, shape, precision)
        except InputError as error:
            if own_line(error.__cause__ or error) is None and (advice := _other_side(model, shape, datamodule.source)):
                raise InputError(f"model.backbone: {advice}") from error
            raise


def has_own_steps(cls: type[ImageClassifier]) -> bool:
    """Whether a subclass overrides a step and may therefore call the network or the loss differently."""
    return _overrides(cls, (*_STEPS, "training_step", "test_step"))


def _overrides(cls: type[ImageClassifier], names: tuple[str, ...]) -> bool:
    return any(getattr(cls, name) is not getattr(ImageClassifier, name) for name in names)


def _run_cheaply(model: ImageClassifier, shape: tuple[int, int, int], precision: str) -> None:
    if sum(each.numel() for each in model.parameters()) * shape[1] * shape[2] / 32**2 > _MOST_NUMBERS:
        try:
            return _run(model, shape, "meta", precision)
        except _Explained:
            raise
        except Exception:  # from the network, or an operation that the meta device lacks
            pass
    _run(model, shape, "cpu", precision)


def _other_side(model: ImageClassifier, shape: tuple[int, int, int], source: Any) -> str | None:
    """Explain how to use a network that needs another image size; None if the size is not the cause of the error."""

    def runs(side: int) -> bool:
        copies = _copies(model, "meta")
        if copies is None:
            return False
        try:
            with _quiet(), isolate_rng(include_cuda=False):
                copies[0].train()(torch.empty(_IMAGES, shape[0], side, side, device="meta"))
        except Exception:  # a network may raise anything
            return False
        return True

    if runs(shape[1]):
        return None
    return wrong_side(model.backbone, shape[1], smallest_side(runs, shape[1]), source)


def _shapes(datamodule: CIFAR10DataModule) -> list[tuple[int, int, int]]:
    """The image shapes during training, each (channels, height, width); empty if the images cannot be loaded."""
    side = getattr(datamodule.source, "image_size", None)
    if not isinstance(side, int):
        try:
            datamodule.prepare_data()
            datamodule.setup("fit")
        except OSError:
            return []  # training will raise the same error
        channels, height, width = datamodule.train_images.shape[1:]
    else:
        channels, height, width = datamodule.source.channels, side, side
    check_memory(_IMAGES, height, more=_IMAGES * _CHANNELS * height * width * 4)
    smaller = {size for _, size in datamodule.image_sizes or [] if size < height}
    return [(channels, height, width), *((channels, size, size) for size in sorted(smaller))]


def _run(model: ImageClassifier, shape: tuple[int, int, int], device: str, precision: str) -> None:
    copies = _copies(model, device)
    if copies is None:
        return
    backbone, loss = copies
    on_cpu = device == "cpu"
    backbone.to(memory_format=model.memory_format).train()
    images = torch.randn(_IMAGES, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    if on_cpu and (dtype := _DTYPES.get(precision)) is not None:
        images = images.to(dtype)
        backbone.to(dtype)
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=on_cpu and precision.endswith("-mixed"))
    with _quiet(), isolate_rng(include_cuda=False), mixed:
        with LayerTrace(backbone) as trace, HiddenLayers(backbone) as hidden:
            try:
                logits = backbone(images.contiguous(memory_format=model.memory_format))
            except Exception as error:
                _raise_explained(error, trace)
                return
        if hidden.found:
            raise _Explained(f"model.backbone: {hidden.message()}")
        _check_logits(model, logits)
        _check_loss(model, loss, logits, (torch.arange(_IMAGES) % model.num_classes).to(device))


def _copies(model: ImageClassifier, device: str) -> tuple[nn.Module, Any] | None:
    """Copies of the backbone and the loss on ``device``; None if they cannot be copied."""
    known: dict[int, Any] = {}
    if device != "cpu":
        for each in chain(model.backbone.parameters(), model.backbone.buffers(), _tensors_of(model.loss)):
            moved = each.detach().to(device)
            is_parameter = isinstance(each, nn.Parameter)
            known[id(each)] = nn.Parameter(moved, each.requires_grad) if is_parameter else moved
    try:
        return copy.deepcopy((model.backbone, model.loss), known)
    except Exception:  # a module may contain an open file or a generator
        return None


def _tensors_of(loss: Any) -> Iterator[Tensor]:
    return chain(loss.parameters(), loss.buffers()) if isinstance(loss, nn.Module) else iter(())


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings, because training will show them, and the network's output, unless the network fails."""
    output = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(output):
            warnings.simplefilter("ignore")
            yield
    except Exception:
        print(output.getvalue(), end="")
        raise


def _raise_explained(error: Exception, trace: LayerTrace) -> None:
    if isinstance(error, InputError):
        raise error
    call, line, message = trace.within[-1] if trace.within else None, own_line(error), " ".join(str(error).split())
    advice = (layer_advice(call, trace.last) if call else None) or (_view_advice(message) if line else None)
    if advice is not None:
        raise InputError(f"model.backbone: {advice}{f' [{line}]' if line else ''}") from error
    if torch.accelerator.is_available():
        return  # training uses the accelerator, which may support operations that the CPU does not
    if line is not None:
        raise error  # the user's own exception keeps its traceback
    layer = "" if call is None or not call.name else f" in {call.name} ({type(call.module).__name__})"
    given = f", given {form(call.shape)}" if call and call.shape else ""
    name = type(trace.network).__name__
    raise InputError(f"model.backbone: {name} fails{layer}{given}: {type(error).__name__}: {message}") from error


def _view_advice(message: str) -> str | None:
    if "view size is not compatible" in message:
        return (
            "view() needs a contiguous tensor: write x.flatten(1) or x.reshape(...) instead, or add "
            "--model.channels_last false"
        )
    if match := re.search(r"shape '\[(.*?)\]' is invalid for input of size (\d+)", message):
        count, rest = divmod(int(match[2]), _IMAGES)
        if not rest:
            return f"view({match[1]}) does not fit the {count} numbers of each image: write x.flatten(1)"
    return None


def _check_logits(model: ImageClassifier, logits: Any) -> None:
    if not isinstance(logits, Tensor) or logits.shape != (_IMAGES, model.num_classes):
        raise _Explained(wrong_logits(model.backbone, logits, _IMAGES, model.num_classes))
    trained = any(each.requires_grad for each in model.backbone.parameters())
    if trained and not logits.requires_grad:
        raise InputError(
            f"model.backbone: no gradient can pass from the output of {type(model.backbone).__name__} to its weights: "
            "remove calls such as detach(), no_grad() or numpy()"
        )


def _check_loss(model: ImageClassifier, loss: Any, logits: Tensor, target: Tensor) -> None:
    name = name_of_loss(model.loss)
    try:
        value = loss(in_float32(logits), target)
    except Exception as error:
        if isinstance(error, InputError) or own_line(error) is not None:
            raise
        given = f"logits {form(tuple(logits.shape))} and classes (N,) of type int64"
        message = " ".join(str(error).split())
        raise InputError(f"model.loss: {name} does not accept {given}: {type(error).__name__}: {message}") from error
    if not isinstance(value, Tensor) or value.ndim:
        raise InputError(wrong_loss(model.loss, value))
    own_step = type(model).training_step is not ImageClassifier.training_step
    if logits.requires_grad and not value.requires_grad and not own_step:
        raise InputError(f"model.loss: no gradient can pass through {name}: remove detach(), no_grad() and argmax()")


def _lazy(model: ImageClassifier, name: str, layer: nn.Module, shape: tuple[int, int, int]) -> str:
    """Explain how to replace a lazy layer, whose parameters do not exist yet, with a layer of known size."""
    how = "write the layer with its sizes"
    copies = _copies(model, "cpu")
    if copies is not None:
        try:
            with _quiet(), isolate_rng(include_cuda=False):
                copies[0](torch.zeros(_IMAGES, *shape))
            how = f"write {written(copies[0].get_submodule(name))}"
        except Exception:  # another mistake; the next check reports it, once the sizes are given
            pass
    return f"model.backbone: {name} is {type(layer).__name__}, whose weights do not exist until the first batch: {how}"
