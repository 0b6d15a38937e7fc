import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from cifar_cnn.base.errors import InputError
from cifar_cnn.optim import (
    Muon,
    PiecewiseLinear,
    WarmupCosine,
    orthogonalize,
    parameter_groups,
)
from cifar_cnn.parts.schedules import make_schedule, schedule_config


def optimizer(lr: float = 0.1, momentum: float = 0.0) -> SGD:
    return SGD([nn.Parameter(torch.ones(1))], lr=lr, momentum=momentum)


def rates(schedule: LRScheduler, steps: int) -> list[float]:
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


def test_a_resumed_schedule_continues_and_accepts_a_new_length() -> None:
    whole = rates(PiecewiseLinear(optimizer(), 10), 10)
    first = PiecewiseLinear(optimizer(), 10)
    assert rates(first, 4) == whole[:4]
    for total_steps in (10, 20):
        second = PiecewiseLinear(optimizer(), total_steps)
        second.load_state_dict(first.state_dict())
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        expected = PiecewiseLinear(optimizer(), total_steps)
        assert rates(second, 6)[1:] == pytest.approx(rates(expected, 10)[5:])


def test_a_group_added_during_training_is_scaled_as_by_torchs_cosine() -> None:
    def rates_of_both(make: Any) -> list[list[float]]:
        sgd = optimizer(0.4)
        schedule = make(sgd)
        values = []
        for step in range(8):
            if step == 3:
                sgd.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.01})
            if step == 5:
                sgd.param_groups[-1]["lr"] = 0.02  # as BackboneFinetuning does at the start of an epoch
            values.append([group["lr"] for group in sgd.param_groups])
            sgd.step()
            schedule.step()
        return values

    ours = rates_of_both(lambda sgd: WarmupCosine(sgd, 8))
    for expected, result in zip(rates_of_both(lambda sgd: CosineAnnealingLR(sgd, 8)), ours, strict=True):
        assert result == pytest.approx(expected)


def test_a_group_added_at_learning_rate_zero_starts_with_its_own_rate() -> None:
    sgd = optimizer(1.0)
    schedule = PiecewiseLinear(sgd, 8, points=[(0, 0.0), (0.5, 1.0), (1, 0.0)])
    sgd.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.1})
    added = []
    for _ in range(8):
        added.append(sgd.param_groups[1]["lr"])
        sgd.step()
        schedule.step()
    assert added == pytest.approx([0.1, 0.025, 0.05, 0.075, 0.1, 0.075, 0.05, 0.025])


def test_a_resumed_schedule_scales_an_added_group_by_the_new_length() -> None:
    def start(total_steps: int) -> PiecewiseLinear:
        schedule = PiecewiseLinear(optimizer(), total_steps, points=[(0, 1), (1, 0)])
        schedule.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.01})
        return schedule

    first = start(4)
    rates(first, 4)
    assert first.get_last_lr() == [0.0, 0.0]
    second = start(8)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    rates(second, 1)
    assert second.get_last_lr() == pytest.approx([0.1 * 3 / 8, 0.01 * 3 / 8])


@pytest.mark.parametrize(
    "points", [[(0, 1)], [(0.1, 1), (1, 0)], [(0, 1), (0.9, 0)], [(0, 1), (0.5, 1), (0.5, 2), (1, 0)]]
)
def test_points_that_do_not_span_the_run_are_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(InputError, match="must increase from 0 to 1"):
        PiecewiseLinear(optimizer(), 10, points)


def test_warmup_must_be_a_fraction() -> None:
    with pytest.raises(InputError, match="fraction of the run"):
        WarmupCosine(optimizer(), 10, warmup=1.0)


def test_weight_decay_can_spare_biases_and_normalization() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    matrices, vectors = SGD(parameter_groups(model.named_parameters(), False), lr=1, weight_decay=0.5).param_groups
    assert matrices["weight_decay"] == 0.5
    assert vectors["weight_decay"] == 0
    assert {id(p) for p in matrices["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert len(vectors["params"]) == 4
    (all_together,) = parameter_groups(model.named_parameters(), True)
    assert len(all_together["params"]) == 6


def test_frozen_parameters_are_left_out() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(layer.named_parameters(), False)] == [1]


def test_options_apply_to_parameters_with_matching_names() -> None:
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3), "head": nn.Linear(4, 2)})
    options = {"head.weight": {"lr": 3.0}, "*.bias": {"lr": 5.0, "until": 0.5}}
    optimizer = SGD(parameter_groups(model.named_parameters(), True, options), lr=1.0)
    rates_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: rates_of[id(p)] for name, p in model.named_parameters()} == {
        "stem.weight": 1.0,
        "stem.bias": 5.0,
        "head.weight": 3.0,
        "head.bias": 5.0,
    }
    schedule = PiecewiseLinear(optimizer, 8, [(0, 1), (1, 0)])
    for _ in range(2):
        optimizer.step()
        schedule.step()
    by_until = {group.get("until", 1.0): group["lr"] / group["initial_lr"] for group in optimizer.param_groups}
    assert by_until == {1.0: pytest.approx(0.75), 0.5: pytest.approx(0.5)}
    with pytest.raises(InputError, match=r"no trained parameter of the backbone is called tail\.\*"):
        parameter_groups(model.named_parameters(), True, {"tail.*": {"lr": 1.0}})


@pytest.mark.parametrize("shape", [(8, 27), (27, 8), (16, 16)])
def test_orthogonalize_keeps_singular_vectors_and_evens_out_singular_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    for steps in (3, 5):
        values = s / s.norm()
        for _ in range(steps):  # the iteration acts on each singular value separately
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        torch.testing.assert_close(
            orthogonalize(matrix, steps, torch.float32), u @ torch.diag(values) @ vh, rtol=1e-3, atol=1e-4
        )
    assert values.min() > 0.3
    assert values.max() < 1.3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_equals_the_formulas_written_out(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 4, 2)).to(memory_format=layout)
    filters, *others = (dict(net.named_parameters())[name] for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
    optimizer = Muon(net.parameters(), lr=0.2, momentum=0.6, sgd_lr=0.1, sgd_momentum=0.85, weight_decay=0.01)
    # Apply torch's own SGD to copies of the parameters that are not filters.
    copies = [nn.Parameter(p.detach().clone()) for p in others]
    reference = SGD(copies, lr=0.1, momentum=0.85, nesterov=True, weight_decay=0.01)
    expected, buffer = filters.detach().clone(), torch.zeros_like(filters)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(5, 3, 4, 4)).square().sum().backward()
        for p, copy in zip(others, copies, strict=True):
            copy.grad = p.grad.clone() if p.grad is not None else None
        assert filters.grad is not None
        buffer = 0.6 * buffer + filters.grad
        update = orthogonalize((filters.grad + 0.6 * buffer).reshape(4, -1), 3).view(filters.shape)
        expected = expected * 2 / expected.norm() - 0.2 * update
        optimizer.step()
        reference.step()
        # The tolerance is that of bfloat16, because CPUs that multiply bfloat16 in hardware orthogonalize in it.
        torch.testing.assert_close(filters.detach(), expected, rtol=1e-2, atol=5e-3)
        for p, copy in zip(others, copies, strict=True):
            torch.testing.assert_close(p, copy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_moves_filters_that_start_at_zero_and_scales_them_from_the_next_step(dtype: torch.dtype) -> None:
    filters = nn.Parameter(torch.zeros(4, 3, 3, 3, dtype=dtype))
    optimizer = Muon([filters], lr=0.2)
    filters.grad = torch.zeros_like(filters)
    optimizer.step()
    assert not filters.any()
    filters.grad = torch.randn(filters.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    optimizer.step()
    first = filters.detach().clone()
    assert 0.2 * 0.5 < first.norm() / 4**0.5 < 0.2 * 1.3  # the learning rate, times singular values near 1
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    torch.testing.assert_close(filters.detach(), first * 2 / first.norm())


@pytest.mark.parametrize("scale", [1e-44, 1e30])
def test_muon_stays_finite_whatever_the_scale_of_the_filters(scale: float) -> None:
    filters = nn.Parameter(torch.full((4, 3, 3, 3), scale))
    optimizer = Muon([filters])
    for _ in range(3):
        filters.grad = torch.full_like(filters, 1e-44)
        optimizer.step()
        assert filters.isfinite().all()


@pytest.mark.parametrize("shape", [(8, 27), (27, 8)])
def test_orthogonalize_leaves_a_matrix_of_zeros(shape: tuple[int, int]) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert torch.equal(orthogonalize(torch.zeros(shape), 3, dtype), torch.zeros(shape))


def test_muon_scales_the_filters_in_some_steps_alone() -> None:
    filters = nn.Parameter(torch.randn(4, 2, 3, 3))
    optimizer = Muon([filters], lr=1e-4, renorm_every=2, renorm_growth=0.5)
    scaled = []
    for _ in range(14):
        with torch.no_grad():
            filters.mul_(10 / filters.norm())
        filters.grad = torch.randn_like(filters)
        optimizer.step()
        scaled.append(filters.norm().item() < 3)
    every = [2 + step // 2 for step in range(14)]  # 2, 2, 3, 3, 4, ...
    assert scaled == [step % each == 0 for step, each in enumerate(every)]
    restored = Muon([filters])
    restored.load_state_dict(optimizer.state_dict())
    assert restored.param_groups[0]["steps"] == 14


def test_orthogonalize_takes_other_coefficients() -> None:
    matrix = torch.randn(3, 5)
    x = matrix / matrix.norm()
    expected = 2 * x - 1.5 * x @ x.T @ x + 0.5 * x @ x.T @ x @ x.T @ x
    torch.testing.assert_close(
        orthogonalize(matrix, 1, torch.float32, (2.0, -1.5, 0.5)), expected, rtol=1e-4, atol=1e-5
    )


def test_muon_restores_its_state() -> None:
    def steps(net: nn.Module, optimizer: Muon, n: int) -> None:
        for _ in range(n):
            optimizer.zero_grad()
            net(torch.ones(2, 3, 4, 4)).square().sum().backward()
            optimizer.step()

    def make() -> tuple[nn.Module, Muon]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
        return net, Muon(net.parameters())

    whole, whole_optimizer = make()
    steps(whole, whole_optimizer, 4)
    (first, first_optimizer), (second, second_optimizer) = make(), make()
    steps(first, first_optimizer, 2)
    second.load_state_dict(first.state_dict())
    second_optimizer.load_state_dict(first_optimizer.state_dict())
    steps(second, second_optimizer, 2)
    for expected, result in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(expected, result)


@pytest.mark.parametrize("arguments", [{"lr": -1.0}, {"momentum": 1.0}, {"ns_steps": 0}])
def test_invalid_muon_arguments_are_rejected(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="learning rates and weight_decay must be >= 0"):
        Muon([nn.Parameter(torch.ones(1))], **arguments)  # type: ignore[arg-type]


SCHEDULES: dict[str, tuple[Any, Any]] = {  # the given schedule, and its meaning for a run of 6 steps
    "own": (WarmupCosine, lambda sgd: WarmupCosine(sgd, 6)),
    "own with options": (partial(WarmupCosine, final=0.5), lambda sgd: WarmupCosine(sgd, 6, final=0.5)),
    "function": (lambda sgd, steps: StepLR(sgd, steps // 2), lambda sgd: StepLR(sgd, 3)),
    "cosine": (CosineAnnealingLR, lambda sgd: CosineAnnealingLR(sgd, 6)),
    "longer cosine": (partial(CosineAnnealingLR, T_max=9), lambda sgd: CosineAnnealingLR(sgd, 9)),
    "steps": (partial(StepLR, step_size=2), lambda sgd: StepLR(sgd, 2)),
    "milestones": (partial(MultiStepLR, milestones=[1, 3]), lambda sgd: MultiStepLR(sgd, [1, 3])),
    "exponential": (partial(ExponentialLR, gamma=0.5), lambda sgd: ExponentialLR(sgd, 0.5)),
    "one cycle": (partial(OneCycleLR, max_lr=1.0, total_steps=None), lambda sgd: OneCycleLR(sgd, 1.0, 6)),
    "one cycle of epochs": (
        partial(OneCycleLR, max_lr=1.0, epochs=2, steps_per_epoch=4),
        lambda sgd: OneCycleLR(sgd, 1.0, 8),
    ),
}


@pytest.mark.parametrize(("make", "meant"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_receives_the_length_of_the_run_if_it_takes_one(make: Any, meant: Any) -> None:
    expected = rates(meant(optimizer(momentum=0.9)), 6)
    assert rates(make_schedule(make, optimizer(momentum=0.9), 6), 6) == expected
    assert len(set(expected)) > 1


def run_of(steps: float) -> Any:
    return SimpleNamespace(estimated_stepping_batches=steps, num_training_batches=8, accumulate_grad_batches=2)


INTERVALS: dict[str, tuple[Any, str]] = {
    "own": (WarmupCosine, "step"),
    "cosine over the run": (CosineAnnealingLR, "step"),
    "cosine with its own length": (partial(CosineAnnealingLR, T_max=200), "epoch"),
    "milestones": (partial(MultiStepLR, milestones=[100, 150]), "epoch"),
    "a function without the length": (lambda sgd: MultiStepLR(sgd, [100, 150]), "epoch"),
    "a function with the length": (lambda sgd, steps: StepLR(sgd, steps // 2), "step"),
    "one cycle of a given length": (partial(OneCycleLR, max_lr=1.0, epochs=2, steps_per_epoch=4), "step"),
    "a function that returns one cycle": (lambda sgd: OneCycleLR(sgd, 1.0, 8), "step"),
    "plateau": (ReduceLROnPlateau, "epoch"),
}


@pytest.mark.parametrize(("make", "interval"), INTERVALS.values(), ids=INTERVALS)
def test_a_schedule_counts_steps_if_it_knows_their_number_and_epochs_otherwise(make: Any, interval: str) -> None:
    assert schedule_config(make, optimizer(momentum=0.9), run_of(10), None)["interval"] == interval


def test_a_schedule_over_the_run_can_change_once_an_epoch() -> None:
    config = schedule_config(CosineAnnealingLR, optimizer(), run_of(10), "epoch")
    assert (config["interval"], config["scheduler"].T_max) == (
        "epoch",
        3,
    )  # of 4 steps each
    by_step = schedule_config(partial(MultiStepLR, milestones=[100]), optimizer(), run_of(10), "step")
    assert by_step["interval"] == "step"


def test_only_a_schedule_that_receives_the_length_needs_a_run_with_an_end() -> None:
    assert schedule_config(partial(ExponentialLR, gamma=0.9), optimizer(), run_of(float("inf")), None)
    with pytest.raises(InputError, match="a schedule needs the length of the run"):
        schedule_config(CosineAnnealingLR, optimizer(), run_of(float("inf")), None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (StepLR, "schedule: StepLR: missing a required argument: 'step_size'"),
        (ExponentialLR, "schedule: ExponentialLR: missing a required argument: 'gamma'"),
        (partial(OneCycleLR, max_lr=1.0, pct_start=2.0), "schedule: OneCycleLR: .*pct_start"),
    ],
)
def test_a_schedule_that_lacks_an_argument_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_schedule(make, optimizer(1.0), 3)
