"""Check the plain networks: exercises 1, 2, 3 and 6."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from cifar_cnn.backbones import SimpleCNN
from cifar_cnn.lab import learning, student
from cifar_cnn.lab.comparison import after, differences
from cifar_cnn.lab.copying import same_output
from cifar_cnn.lab.findings import Finding, Wrong, finding, limited
from cifar_cnn.lab.sequences import GLOBAL_MAX, Layer, canonical, features, head
from cifar_cnn.lab.tracing import Operation, Trace

_LAYERS: dict[str, list[Layer]] = {
    "1a": [*features(32, 64), *head(64 * 6 * 6, 128)],
    "1b": [*features(64, 128), *head(128 * 6 * 6, 256)],
    "1c": [*features(64, 128, first_kernel=5), *head(128 * 6 * 6, 256)],
    "2": [*features(32, 64, norm=True), *head(64 * 6 * 6, 128)],
    "3": [*features(32, 64, norm=True), GLOBAL_MAX, *head(64, 128)],
    "6": features(32, 64, norm=True),  # and a head that is the student's choice
}
_SAME: dict[str, Callable[[], nn.Module]] = {
    "1a": SimpleCNN,
    "1b": lambda: SimpleCNN((64, 128, 256)),
    "1c": lambda: SimpleCNN((64, 128, 256), (5, 3)),
    "2": lambda: SimpleCNN(batch_norm=True),
    "3": lambda: SimpleCNN(batch_norm=True, head="max_pool"),
}
_POOLS = ("max_pool", "avg_pool", "adaptive_max", "adaptive_avg", "global_max", "global_avg", "max", "mean")


def check(build: Any, exercise: str, name: str) -> list[Finding]:
    """Check a student's network.

    Args:
        build: the class, a function that returns the network, or the network.
        exercise: the number of the exercise.
        name: name of the class in messages.

    Raises:
        NotDone: the network has not been written.
        Wrong: the network cannot be created or run.
    """
    network, images, trace, logits = traced_on_images(build, name)
    layers = canonical(run_operations(trace, logits))
    found = differences(layers, _LAYERS[exercise]) if exercise != "6" else _without_linear(layers)
    found = own_weights(trace, logits) + found + (without_bias(layers) if exercise != "6" else [])
    if exercise == "3" and not any(each.kind in ("global_max", "global_avg") for each in layers):
        found = [finding("still_flat") if each.key == "global_max_missing_here" else each for each in found]
    found = found or check_training(network, images, name)
    if not found and exercise in _SAME and not same_output(network, layers, _SAME[exercise](), images):
        found = [finding("other_output")]
    if found and (asked := _SAME.get(exercise)):
        found = [*limited(found), *other_count(network, asked(), layers)]
    return found or learning.learns_by_heart(network)


def other_count(network: nn.Module, asked: nn.Module, layers: Sequence[Operation]) -> list[Finding]:
    """Compare the number of parameters with that of the package's network, which has no bias before BatchNorm."""
    own, expected = (sum(each.numel() for each in one.parameters()) for one in (network, asked))
    own -= sum(
        first.tensors["bias"].numel()
        for first, second in pairwise(layers)
        if first.kind == "conv" and second.kind == "batch_norm" and "bias" in first.tensors
    )
    return [finding("parameters_in_all", found=own, asked=expected)] if own != expected else []


def without_bias(layers: Sequence[Operation]) -> list[Finding]:
    """Layers that have no bias although no BatchNorm, which has its own bias, follows them."""
    following = [*(each.kind for each in layers[1:]), ""]
    own = [each for each, then in zip(layers, following, strict=True) if then != "batch_norm"]
    own = [each for each in own if each.kind in ("conv", "linear") and "bias" not in each.tensors]
    return [finding("no_bias", layer=each.title) for each in own]


def traced_on_images(build: Any, name: str) -> tuple[nn.Module, Tensor, Trace, Tensor]:
    """Create a network and run it on a batch: the network, the images, the operations and the logits.

    Raises:
        NotDone: the network has not been written.
        Wrong: the network cannot be created or run, or its output for n images is not (n, 10).
    """
    network = student.network(build, name)
    images, _ = learning.some_images(3)
    trace, logits = student.traced(network, images, name)
    if tuple(logits.shape) != (len(images), 10):
        raise Wrong(finding("shape", name=name, n=len(images), shape=list(logits.shape)))
    return network, images, trace, logits


def run_operations(trace: Trace, logits: Tensor) -> list[Operation]:
    """The operations from the images to the logits.

    Raises:
        Wrong: the logits do not depend on the images through operations of PyTorch.
    """
    operations = trace.path(trace.maker(logits))
    if operations is None:
        raise Wrong(finding("cut_off"))
    return operations


def own_weights(trace: Trace, output: Tensor) -> list[Finding]:
    """Layers that are not registered or used twice, and operations whose result is not used."""
    hidden = [each for each in trace.operations if not each.registered]
    if hidden:
        return [finding("not_registered", kind=hidden[0].kind, sizes=_sizes(hidden[0]))]
    layers = [each.layer for each in trace.operations if each.kind in ("conv", "linear", "batch_norm") and each.layer]
    found = [finding("used_twice", layer=each) for each in dict.fromkeys(layers) if layers.count(each) > 1][:1]
    end = trace.maker(output)
    idle = trace.unused(end) if end is not None else []
    for each in idle[:1]:
        before = after(trace.operations, trace.operations.index(each))
        found.append(finding("result_not_used", name=each.title, after=before))
    return found


def check_training(network: nn.Module, images: Tensor, name: str) -> list[Finding]:
    """Check that training can run the network and that a gradient reaches every parameter."""
    found = _check_batches(network, name)
    return found or learning.without_gradient(network, student.traced(network, images, name)[1])


def _check_batches(network: nn.Module, name: str) -> list[Finding]:
    """Check the output's shape for batch sizes other than 3."""
    network.eval()  # BatchNorm in a head cannot be trained on one image
    for n in (1, 8):
        output = student.call(network, learning.some_images(n)[0], what=f"{name}.forward")
        if not isinstance(output, Tensor) or tuple(output.shape) != (n, 10):
            shape = list(getattr(output, "shape", ()))
            return [finding("squeezed") if shape == [10] else finding("shape", name=name, n=n, shape=shape)]
    return _check_memory_format(network.train(), name)


def _check_memory_format(network: nn.Module, name: str) -> list[Finding]:
    """Run the network in channels-last memory format, as training does."""
    images = learning.some_images(3)[0].contiguous(memory_format=torch.channels_last)
    try:
        student.call(network, images, what=f"{name}.forward")
    except Wrong as wrong:
        return [finding("channels_last"), *wrong.findings]
    return []


def _without_linear(layers: Sequence[Operation]) -> list[Finding]:
    """Check exercise 6: convolutions and pooling instead of the fully connected layers."""
    linear = [each for each in layers if each.kind == "linear"]
    if linear:
        return [finding("still_linear", layer=linear[0].title)]
    pools = [at for at, each in enumerate(layers) if each.kind == "max_pool"]
    end = pools[1] + 1 if len(pools) > 1 else len(layers)
    found, rest = differences(layers[:end], _LAYERS["6"]), layers[end:]
    if found:
        return found
    kinds = [each.kind for each in rest]
    last = max((at for at, kind in enumerate(kinds) if kind == "conv"), default=-1)
    if kinds[-1:] == ["softmax"]:
        found = [finding("softmax_at_end", name=rest[-1].function)]
    elif "relu" in kinds[last + 1 :]:
        found = [finding("relu_at_end")]
    if "conv" not in kinds:
        found.append(finding("no_conv_in_head"))
    for each in rest:
        if each.kind == "conv" and each.sizes["kernel"] == each.shape[2:] != (1, 1):
            found.append(finding("conv_covers_all", layer=each.title, side=each.shape[-1]))
    if not found and not any(kind in _POOLS for kind in kinds):
        found.append(finding("no_pool_in_head"))
    for first, second in pairwise(rest):
        if first.kind in ("conv", "batch_norm") and second.kind == "conv":
            found.append(finding("relu_missing", after=first.title))
    return found


def _sizes(operation: Operation) -> str:
    names = ("in", "out", "channels")
    return ", ".join(str(operation.sizes[name]) for name in names if name in operation.sizes)
