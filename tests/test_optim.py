import math

import pytest
import torch
from torch import nn
from torch.optim import SGD

from cifar_cnn.errors import InputError
from cifar_cnn.optim import FractionSchedule, PiecewiseLinear, WarmupCosine, weight_decay_groups


def optimizer(lr: float = 0.1) -> SGD:
    return SGD([nn.Parameter(torch.ones(1))], lr=lr)


def rates(schedule: FractionSchedule, steps: int) -> list[float]:
    values = []
    for _ in range(steps):
        values.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return values


def test_piecewise_linear_by_hand() -> None:
    schedule = PiecewiseLinear(optimizer(0.4), total_steps=8, points=[(0, 0.5), (0.5, 1.0), (1, 0.0)])
    assert rates(schedule, 10) == pytest.approx([0.2, 0.25, 0.3, 0.35, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0])


def test_warmup_cosine_by_hand() -> None:
    schedule = WarmupCosine(optimizer(1.0), total_steps=8, warmup=0.25, final=0.2)
    cosine = [0.2 + 0.4 * (1 + math.cos(math.pi * i / 6)) for i in range(7)]
    assert rates(schedule, 9) == pytest.approx([0.5, 1.0, *cosine])


def test_without_warmup_the_cosine_starts_at_once() -> None:
    assert rates(WarmupCosine(optimizer(1.0), total_steps=2), 3) == pytest.approx([1.0, 0.5, 0.0])


def test_a_continued_schedule_goes_on_and_takes_a_new_length() -> None:
    whole = rates(PiecewiseLinear(optimizer(), 10), 10)
    first = PiecewiseLinear(optimizer(), 10)
    assert rates(first, 4) == whole[:4]
    for total_steps in (10, 20):
        second = PiecewiseLinear(optimizer(), total_steps)
        second.load_state_dict(first.state_dict())
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        expected = PiecewiseLinear(optimizer(), total_steps)
        assert rates(second, 6)[1:] == pytest.approx(rates(expected, 10)[5:])


@pytest.mark.parametrize(
    "points", [[(0, 1)], [(0.1, 1), (1, 0)], [(0, 1), (0.9, 0)], [(0, 1), (0.5, 1), (0.5, 2), (1, 0)]]
)
def test_points_that_do_not_span_the_run_are_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(InputError, match="must rise from fraction 0 of the run to 1"):
        PiecewiseLinear(optimizer(), 10, points)


def test_warmup_must_be_a_fraction() -> None:
    with pytest.raises(InputError, match="fraction of the run"):
        WarmupCosine(optimizer(), 10, warmup=1.0)


def test_weight_decay_can_spare_biases_and_normalisation() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    matrices, vectors = SGD(weight_decay_groups(model.parameters(), False), lr=1, weight_decay=0.5).param_groups
    assert matrices["weight_decay"] == 0.5
    assert vectors["weight_decay"] == 0
    assert {id(p) for p in matrices["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert len(vectors["params"]) == 4
    (all_together,) = weight_decay_groups(model.parameters(), True)
    assert len(all_together["params"]) == 6


def test_frozen_parameters_are_left_out() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert [len(group["params"]) for group in weight_decay_groups(layer.parameters(), False)] == [1]
