"""Check the student's cross-entropy (exercise 5) against PyTorch's."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cifar_cnn.lab import student
from cifar_cnn.lab.findings import Finding, NotDone, Wrong, finding

_N, _CLASSES = 64, 10
_LARGE = 1000.0


def check(function: Any, exercise: str, name: str) -> list[Finding]:
    """Check a student's loss.

    Args:
        function: the student's function of (prediction, target).
        exercise: the number of the exercise.
        name: name of the function in messages.

    Raises:
        NotDone: the function has not been written.
        Wrong: the function fails, or its value explains all other errors.
    """
    what = f"{name}(prediction, target)"
    logits, target = _some(_N, _CLASSES)
    with _Watch() as watch:
        value = _call(function, logits, target, what)
    if watch.called:
        return [finding("pytorchs_own", name=watch.called)]
    _check_form(function, value, what)
    if not _close(value, F.cross_entropy(logits, target)):
        return [_explained(value, logits, target)]
    for n, classes in ((1, _CLASSES), (7, 4)):
        others = _some(n, classes)
        about = finding("fixed_size", n=n, classes=classes)
        try:
            value_of_others = _call(function, *others, what)
        except Wrong as wrong:
            raise Wrong(about, *wrong.findings) from wrong
        if not _close(value_of_others, F.cross_entropy(*others)):
            return [about]
    return _wrong_gradient(value, logits, target) or _unstable(function, what)


class _Watch(TorchFunctionMode):
    """Detects calls of PyTorch's own cross-entropy."""

    called = ""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("cross_entropy", "cross_entropy_loss"):
            self.called = name
        return func(*args, **(kwargs or {}))


def _some(n: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    logits = 2 * torch.randn(n, classes, generator=generator)
    return logits.requires_grad_(), torch.randint(classes, (n,), generator=generator)


def _call(function: Any, logits: Tensor, target: Tensor, what: str) -> Any:
    """Call the student's function; if it fails, find out whether it expects one-hot targets."""
    try:
        return student.call(function, logits, target, what=what)
    except Wrong as wrong:
        if _takes_one_hot(function, logits, target):
            raise Wrong(finding("one_hot"), *wrong.findings) from wrong
        raise


def _takes_one_hot(function: Any, logits: Tensor, target: Tensor) -> bool:
    try:
        value = function(logits, F.one_hot(target, logits.shape[1]).float())
        return _close(value, F.cross_entropy(logits, target))
    except Exception:
        return False


def _check_form(function: Any, value: Any, what: str) -> None:
    if value is None:
        if student.is_unfilled(function):
            raise NotDone
        raise Wrong(finding("returns_none", name=what))
    if not isinstance(value, Tensor):
        raise Wrong(finding("loss_no_tensor", found=type(value).__name__))
    if value.ndim and value.numel() == _N:
        raise Wrong(finding("loss_per_image", shape=list(value.shape)))
    if value.ndim:
        raise Wrong(finding("loss_shape", shape=list(value.shape)))


def _explained(value: Tensor, logits: Tensor, target: Tensor) -> Finding:
    """The common mistake that gives this value; if none does, the value and the expected one."""
    expected = F.cross_entropy(logits, target)
    if value.isnan():
        return finding("log_of_logits")
    p, rows = logits.softmax(1), torch.arange(len(target))
    mistakes = {
        "sum_in_place_of_mean": expected * _N,
        "mean_over_classes": expected / _CLASSES,
        "wrong_sign": -expected,
        "softmax_twice": F.cross_entropy(p, target),
        "no_softmax": -logits[rows, target].mean(),
        "softmax_of_images": F.nll_loss(logits.log_softmax(0), target),
        "no_log": -p[rows, target].mean(),
        "log_base": expected / math.log(2),
        "log_base_10": expected / math.log(10),
        "all_classes": -logits.log_softmax(1).mean(),
        "all_classes_summed": -logits.log_softmax(1).sum(1).mean(),
        "exp_only": -(logits.exp()[rows, target]).log().mean(),
    }
    for key, mistaken in mistakes.items():
        if _close(value, mistaken):
            return finding({"log_base_10": "log_base", "all_classes_summed": "all_classes"}.get(key, key), n=_N)
    return finding("other_value", found=round(value.item(), 4), expected=round(expected.item(), 4))


def _wrong_gradient(value: Tensor, logits: Tensor, target: Tensor) -> list[Finding]:
    if not value.requires_grad:
        return [finding("loss_no_gradient")]
    (own,) = torch.autograd.grad(value, logits, allow_unused=True)
    (expected,) = torch.autograd.grad(F.cross_entropy(logits, target), logits)
    if own is None:
        return [finding("loss_no_gradient")]
    return [] if torch.allclose(own, expected, rtol=1e-3, atol=1e-6) else [finding("other_gradient")]


def _unstable(function: Any, what: str) -> list[Finding]:
    """Check value and gradient for logits whose exponentials overflow in float32."""
    logits, target = _some(_N, _CLASSES)
    for factor in (_LARGE, -_LARGE):
        large = (logits.detach() * factor).requires_grad_()
        value, expected = _call(function, large, target, what), F.cross_entropy(large, target)
        if not math.isfinite(value.item()):
            return [finding("unstable", size=int(_LARGE), found=str(value.item()))]
        if not _close(value, expected):
            return [finding("bounded", found=round(value.item(), 1), expected=round(expected.item(), 1))]
        (gradient,) = torch.autograd.grad(value, large)
        if not gradient.isfinite().all():
            return [finding("unstable_gradient", size=int(_LARGE))]
    shifted = (logits.detach() - _LARGE).requires_grad_()  # all negative: exp() gives 0 for each
    if not _close(value := _call(function, shifted, target, what), F.cross_entropy(shifted, target)):
        return [finding("unstable", size=int(_LARGE), found=str(value.item()))]
    return []


def _close(value: Any, expected: Tensor) -> bool:
    return isinstance(value, Tensor) and torch.allclose(
        value.detach().double().reshape(()) if value.numel() == 1 else value.detach().double(),
        expected.detach().double(),
        rtol=1e-4,
        atol=1e-6,
    )
