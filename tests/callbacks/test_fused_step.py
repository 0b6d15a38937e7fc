from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
import torch
from torch import nn, optim

from cifar_cnn.callbacks.fused_step import FusedStep
from cifar_cnn.optim import Muon


def fused(optimizer: optim.Optimizer, precision: str = "32-true", clip: float | None = None) -> list[bool | None]:
    trainer = SimpleNamespace(precision=precision, gradient_clip_val=clip, optimizers=[optimizer])
    module = SimpleNamespace(device=torch.device("cpu"))
    FusedStep().on_fit_start(cast(Any, trainer), cast(Any, module))
    return [options.get("fused") for options in (optimizer.defaults, *optimizer.param_groups)]


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]


class OwnAdam(optim.Adam):
    def __init__(self, params: Any, own: int) -> None:
        super().__init__(params)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad, lambda w: OwnAdam(w, 1)])
def test_optimizers_that_have_a_fused_step_use_it(make: Any) -> None:
    parameters = weights()
    optimizer = make(parameters)
    assert fused(optimizer) == [True, True]
    for each in parameters:
        each.grad = torch.ones_like(each)
    optimizer.step()
    assert all(torch.equal(each, torch.ones_like(each)) is False for each in parameters)
    assert not fused(make(weights()), "16-mixed")[0]
    assert not fused(make(weights()), "bf16-mixed", clip=1.0)[0]


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.RMSprop(weights()),
        optim.LBFGS(weights()),
        Muon(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)).parameters()),
        optim.Adam(weights(), differentiable=True),
        optim.SGD(weights(), foreach=True),
        optim.Adam([nn.Parameter(torch.ones(3, dtype=torch.complex64))]),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_other_optimizers_are_unchanged(optimizer: optim.Optimizer) -> None:
    assert not any(fused(optimizer))


def test_an_optimizer_without_a_fused_step_on_the_device_is_unchanged() -> None:
    lacking = RuntimeError("fused is not supported on this device")  # as for Adagrad on CUDA in torch 2.9
    with mock.patch.object(optim.Adagrad, "step", side_effect=lacking):
        assert not any(fused(optim.Adagrad(weights())))


def test_given_options_are_kept() -> None:
    assert fused(optim.SGD(weights(), fused=False)) == [False, False]
    groups: list[dict[str, Any]] = [{"params": weights(), "foreach": True}, {"params": weights()}]
    assert fused(optim.SGD(groups)) == [True, None, True]
