import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cifar_cnn.base.errors import InputError
from cifar_cnn.callbacks.output_checks import check_loss
from cifar_cnn.losses import CrossEntropyLoss, Reduction, cross_entropy
from cifar_cnn.parts.losses import FunctionLoss, as_module, name_of_loss

INF = float("inf")
# bfloat16 has 8 significant bits, and PyTorch rounds every step to them
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2**-5}

property_test = settings(deadline=None, derandomize=True, max_examples=300)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@dataclass
class Case:
    prediction: Tensor
    target: Tensor
    options: dict[str, Any] = field(default_factory=dict)

    def to(self, dtype: torch.dtype) -> "Case":
        def cast(value: Any) -> Any:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        options = {name: cast(value) for name, value in self.options.items()}
        return Case(cast(self.prediction), cast(self.target), options)


@st.composite
def cases(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)) -> Case:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32), label="seed"))
    dtype = draw(st.sampled_from(dtypes))
    classes = draw(st.integers(1, 7))
    # the prediction's shape without its classes: (), (N,) or (N, d1, ...)
    positions = tuple(draw(st.lists(st.integers(0, 5), max_size=3), label="positions"))
    scale = draw(st.sampled_from([1, 10, 1000]))
    prediction = scale * torch.randn(*positions[:1], classes, *positions[1:], generator=generator)
    options: dict[str, Any] = {
        "reduction": draw(st.sampled_from(get_args(Reduction))),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    }
    if draw(st.booleans(), label="weighted"):
        weight = 0.1 + torch.rand(classes, generator=generator)
        # with smoothing, a mean over targets whose weights are all 0 is tested separately
        if options["label_smoothing"] == 0:
            weight[0] *= draw(st.sampled_from([0, 1]), label="first weight")
        options["weight"] = weight
    if draw(st.booleans(), label="probabilities"):
        target = torch.rand(prediction.shape, generator=generator).softmax(min(len(positions), 1))
    else:
        target = torch.randint(classes, positions, generator=generator)
        options["ignore_index"] = draw(st.sampled_from([-100, -1, 0, 255]))
        ignored_share = draw(st.sampled_from([0, 0.3, 1]))
        ignored = torch.rand(positions, generator=generator) < ignored_share
        target = target.masked_fill(ignored, options["ignore_index"])
    return Case(prediction, target, options).to(dtype)


def value_and_gradient(loss_function: Callable[..., Tensor], case: Case) -> tuple[Tensor, Tensor]:
    prediction = case.prediction.clone().requires_grad_()
    loss = loss_function(prediction, case.target, **case.options)
    # different factors for "none", so that a gradient with only the right sum fails; all are exact in bfloat16
    factors = 1 + (torch.arange(loss.numel()) % 4).view(loss.shape).to(loss) / 4
    if case.options.get("reduction", "mean") == "mean":
        # otherwise the gradients would shrink with the number of losses, but the tolerance would not
        factors *= prediction.numel() // prediction.shape[min(prediction.dim() - 1, 1)]
    (gradient,) = torch.autograd.grad(loss, prediction, factors)
    return loss.detach(), gradient


def assert_close(actual: Tensor, expected: Tensor, rtol: float, atol: float | None = None) -> None:
    # losses near 0 and gradients are small differences of terms near 1, whose rounding errors they inherit
    magnitudes = expected[expected.isfinite()].abs()
    scale = max(1.0, magnitudes.max().item()) if magnitudes.numel() else 1.0
    atol = (rtol if atol is None else atol) * scale
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=True)


def assert_equals_torch(case: Case) -> None:
    expected = value_and_gradient(F.cross_entropy, case)
    actual = value_and_gradient(cross_entropy, case)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, TOLERANCE[case.prediction.dtype])


@property_test
@given(cases())
def test_equals_torch(case: Case) -> None:
    assert_equals_torch(case)


@property_test
@given(cases(dtypes=(torch.bfloat16,)))
def test_equals_torch_in_bfloat16(case: Case) -> None:
    assert_equals_torch(case)


@property_test
@given(cases(dtypes=(torch.bfloat16,)))
def test_bfloat16_is_rounded_only_once(case: Case) -> None:
    exact = value_and_gradient(F.cross_entropy, case.to(torch.float64))
    actual = value_and_gradient(cross_entropy, case)
    for a, e in zip(actual, exact, strict=True):
        assert_close(a, e.bfloat16(), rtol=2**-7, atol=1e-6)


@property_test
@given(cases(), st.floats(-1e4, 1e4))
def test_shifting_all_logits_changes_nothing(case: Case, shift: float) -> None:
    case = case.to(torch.float64)
    value, gradient = value_and_gradient(cross_entropy, case)
    shifted = replace(case, prediction=case.prediction + shift)
    shifted_value, shifted_gradient = value_and_gradient(cross_entropy, shifted)
    assert_close(shifted_value, value, 1e-8)
    assert_close(shifted_gradient, gradient, 1e-8)


def test_by_hand() -> None:
    # softmax of (ln 1, ln 2, ln 5) is (1/8, 2/8, 5/8)
    prediction = torch.tensor([1.0, 2.0, 5.0]).log().expand(2, 3)
    target = torch.tensor([0, 2])
    losses = cross_entropy(prediction, target, reduction="none")
    torch.testing.assert_close(losses, -torch.tensor([1 / 8, 5 / 8]).log())
    weighted = cross_entropy(prediction, target, weight=torch.tensor([3.0, 7.0, 1.0]))
    torch.testing.assert_close(weighted, (3 * losses[0] + losses[1]) / 4)


def test_an_index_equals_its_one_hot_probabilities() -> None:
    prediction = torch.randn(6, 10, dtype=torch.float64)
    target = torch.arange(6)
    one_hot = F.one_hot(target, 10).double()
    for smoothing in (0.0, 0.2):
        by_index = cross_entropy(prediction, target, label_smoothing=smoothing)
        by_probability = cross_entropy(prediction, one_hot, label_smoothing=smoothing)
        torch.testing.assert_close(by_index, by_probability)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_indices_of_any_integer_dtype(dtype: torch.dtype) -> None:
    prediction = torch.randn(4, 10)
    target = torch.tensor([0, 9, 100, 3])
    expected = F.cross_entropy(prediction, target, ignore_index=100)
    torch.testing.assert_close(cross_entropy(prediction, target.to(dtype), ignore_index=100), expected)


@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 1.0]])
def test_gradient_for_target_probabilities(weight: list[float] | None) -> None:
    prediction = torch.randn(4, 3, dtype=torch.float64)
    class_weight = None if weight is None else torch.tensor(weight).double()

    def gradient(loss_function: Callable[..., Tensor]) -> Tensor:
        target = torch.full_like(prediction, 1 / 3).requires_grad_()
        loss = loss_function(prediction, target, weight=class_weight, label_smoothing=0.1)
        return torch.autograd.grad(loss, target)[0]

    torch.testing.assert_close(gradient(cross_entropy), gradient(F.cross_entropy))


@pytest.mark.parametrize("reduction", get_args(Reduction))
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("positions", [(), (4,), (2, 3)], ids=str)
def test_gradcheck(reduction: Reduction, label_smoothing: float, positions: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (*positions[:1], 5, *positions[1:])
    prediction = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    indices = torch.randint(5, positions, generator=generator)
    probabilities = torch.rand(shape, generator=generator, dtype=torch.float64)
    loss = functools.partial(
        cross_entropy,
        weight=torch.rand(5, generator=generator, dtype=torch.float64),
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    assert torch.autograd.gradcheck(lambda x: loss(x, indices), prediction)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, indices), prediction)
    assert torch.autograd.gradcheck(loss, (prediction, probabilities.requires_grad_()))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_stable_for_logits_of_1e4(dtype: torch.dtype, label_smoothing: float) -> None:
    prediction = torch.tensor([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [-1e4, -1e4, 0.0]], dtype=dtype)
    for target in (torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0])):
        case = Case(prediction, target, {"reduction": "none", "label_smoothing": label_smoothing})
        for result in value_and_gradient(cross_entropy, case):
            assert result.isfinite().all()
        assert_equals_torch(case)


def test_losses_and_gradients_at_1e4_by_hand() -> None:
    case = Case(torch.tensor([[1e4, -1e4]]).expand(2, 2), torch.tensor([0, 1]), {"reduction": "none"})
    losses, _ = value_and_gradient(cross_entropy, case)
    assert losses.tolist() == [0, 2e4]
    _, gradient = value_and_gradient(cross_entropy, replace(case, options={"reduction": "sum"}))
    assert gradient.tolist() == [[0, 0], [1, -1]]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 0.0, 2.0])], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    "target",
    [
        torch.tensor([0, 1]),
        torch.tensor([1, 1]),
        torch.tensor([-100, 2]),
        torch.tensor([[0, 0, 1.0], [0, 1, 0]]),
    ],
    ids=["other class", "that class", "ignored", "probabilities"],
)
def test_infinite_logits_behave_as_in_torch(target: Tensor, weight: Tensor | None, label_smoothing: float) -> None:
    prediction = torch.tensor([[1.0, -INF, 2.0], [0.0, 1.0, 2.0]])
    for reduction in get_args(Reduction):
        options = {"weight": weight, "label_smoothing": label_smoothing, "reduction": reduction}
        assert_equals_torch(Case(prediction, target, options))


def test_a_ruled_out_class_has_a_finite_gradient() -> None:
    case = Case(torch.tensor([[0.0, -INF, 0.0]]), torch.tensor([0]))
    value, gradient = value_and_gradient(cross_entropy, case)
    torch.testing.assert_close(value, torch.tensor(2.0).log())
    torch.testing.assert_close(gradient, torch.tensor([[-0.5, 0.0, 0.5]]))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_all_ignored_is_nan_without_a_gradient(label_smoothing: float) -> None:
    case = Case(torch.randn(3, 10), torch.full((3,), -100), {"label_smoothing": label_smoothing})
    value, gradient = value_and_gradient(cross_entropy, case)
    assert value.isnan()
    assert not gradient.any()
    assert_equals_torch(case)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_targets_whose_weights_are_all_0_have_no_finite_mean(label_smoothing: float) -> None:
    # with smoothing, 0.1 / 0 = inf; PyTorch divides the two parts of the loss separately: nan + inf = nan
    options = {"weight": torch.tensor([0.0, 1.0]), "label_smoothing": label_smoothing}
    prediction, target = torch.randn(3, 2), torch.zeros(3, dtype=torch.long)
    value, gradient = value_and_gradient(cross_entropy, Case(prediction, target, options))
    assert not value.isfinite()
    assert not gradient.isfinite().any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_gives_float32_as_torch_does(dtype: torch.dtype) -> None:
    case = Case(torch.randn(8, 10, dtype=dtype), torch.arange(8), {"label_smoothing": 0.1})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(cross_entropy, case)
        expected_value, expected_gradient = value_and_gradient(F.cross_entropy, case)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("target_dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dtype_for_probabilities_of_another_dtype(dtype: torch.dtype, target_dtype: torch.dtype) -> None:
    prediction, target = torch.randn(4, 10, dtype=dtype), torch.rand(4, 10).to(target_dtype)
    expected = F.cross_entropy(prediction, target)
    actual = cross_entropy(prediction, target)
    assert actual.dtype == expected.dtype
    assert_close(actual, expected, TOLERANCE[dtype])


def test_compiles_without_a_graph_break() -> None:
    compiled = torch.compile(cross_entropy, backend="aot_eager", fullgraph=True)
    for target in (torch.tensor([0, 9, -100, 3]), torch.rand(4, 10)):
        case = Case(torch.randn(4, 10), target, {"weight": torch.rand(10), "label_smoothing": 0.1})
        actual = value_and_gradient(compiled, case)
        for a, e in zip(actual, value_and_gradient(F.cross_entropy, case), strict=True):
            assert_close(a, e, TOLERANCE[torch.float32])


@pytest.mark.parametrize("positions", [(), (4,), (4, 2)], ids=str)
def test_never_waits_for_a_value(positions: tuple[int, ...]) -> None:
    # meta tensors have no values, so an operation that would make the CPU wait for a GPU raises here
    prediction = torch.empty(*positions[:1], 10, *positions[1:], device="meta", requires_grad=True)
    target = torch.empty(positions, dtype=torch.long, device="meta")
    weight = torch.empty(10, device="meta")
    loss = cross_entropy(prediction, target, weight=weight, label_smoothing=0.1)
    loss.backward()
    assert loss.shape == ()
    assert prediction.grad is not None
    assert prediction.grad.shape == prediction.shape


def test_does_not_change_its_arguments() -> None:
    prediction, target, weight = torch.randn(3, 10), torch.tensor([1, -100, 2]), torch.rand(10)
    before = prediction.clone(), target.clone(), weight.clone()
    cross_entropy(prediction, target, weight=weight, label_smoothing=0.1)
    assert all(torch.equal(a, b) for a, b in zip((prediction, target, weight), before, strict=True))


@pytest.mark.parametrize("wrong", [10, -1, -101])
@pytest.mark.parametrize("weight", [None, torch.ones(10)], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_a_class_out_of_range_raises(wrong: int, weight: Tensor | None, label_smoothing: float) -> None:
    target = torch.tensor([3, wrong])
    with pytest.raises(RuntimeError, match=rf"index {wrong} is out of bounds .* size 10"):
        cross_entropy(torch.randn(2, 10), target, weight=weight, label_smoothing=label_smoothing)


LOGITS = torch.zeros(4, 10)
CLASSES = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("prediction", "target", "options", "words"),
    [
        (torch.tensor(1.0), torch.tensor(0), {}, ["prediction ()", "(N, C)"]),
        (torch.zeros(4, 0), CLASSES, {}, ["prediction (4, 0)", "at least one class"]),
        (LOGITS.long(), CLASSES, {}, ["prediction (4, 10) torch.int64", "floating-point"]),
        (LOGITS, CLASSES[:3], {}, ["(4, 10)", "target (3,)", "must be (4,)"]),
        (LOGITS, CLASSES.unsqueeze(1), {}, ["(4, 10)", "target (4, 1)"]),
        (LOGITS, torch.zeros(4, 9), {}, ["(4, 10)", "target (4, 9)"]),
        (torch.zeros(4, 10, 2), CLASSES, {}, ["(4, 10, 2)", "target (4,)", "must be (4, 2)"]),
        (LOGITS[0], CLASSES, {}, ["prediction (10,)", "target (4,)", "must be ()"]),
        (LOGITS, CLASSES.float(), {}, ["target (4,) torch.float32", "integers"]),
        (LOGITS, CLASSES.bool(), {}, ["target (4,) torch.bool", "integers"]),
        (LOGITS, LOGITS.long(), {}, ["target (4, 10) torch.int64", "probabilities"]),
        (LOGITS, LOGITS, {"ignore_index": 3}, ["ignore_index 3", "(4, 10)"]),
        (LOGITS, CLASSES, {"weight": torch.ones(9)}, ["(10,)", "(9,)", "(4, 10)"]),
        (LOGITS, CLASSES, {"weight": torch.ones(10, 1)}, ["(10,)", "(10, 1)"]),
        (LOGITS, CLASSES, {"reduction": "average"}, ["reduction", "'average'"]),
        (LOGITS, CLASSES, {"label_smoothing": 1.1}, ["label_smoothing", "[0, 1]", "1.1"]),
        (LOGITS, CLASSES, {"label_smoothing": -0.1}, ["label_smoothing", "[0, 1]", "-0.1"]),
        (LOGITS, CLASSES, {"label_smoothing": float("nan")}, ["label_smoothing", "[0, 1]", "nan"]),
    ],
)
def test_wrong_input_is_named(prediction: Tensor, target: Tensor, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(words[0])) as error:
        cross_entropy(prediction, target, **options)
    assert [word for word in words if word not in str(error.value)] == []


@property_test
@given(cases(dtypes=(torch.float32,)))
def test_module_equals_the_function(case: Case) -> None:
    weight = case.options.get("weight")
    as_list = None if weight is None else weight.tolist()
    module = CrossEntropyLoss(**case.options | {"weight": as_list})
    expected = cross_entropy(case.prediction, case.target, **case.options)
    torch.testing.assert_close(module(case.prediction, case.target), expected, rtol=0, atol=0, equal_nan=True)


def test_module_has_an_empty_state_but_moves_its_weight() -> None:
    module = CrossEntropyLoss(weight=[1.0, 2.0])
    assert list(module.state_dict()) == []
    assert list(module.parameters()) == []
    assert module.to("meta").weight is not None
    assert module.weight is not None
    assert module.weight.device.type == "meta"
    assert list(CrossEntropyLoss().state_dict()) == []


@pytest.mark.parametrize("options", [{"reduction": "average"}, {"label_smoothing": 2.0}], ids=str)
def test_module_refuses_wrong_options_when_it_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        CrossEntropyLoss(**options)


def test_a_function_is_a_module_with_its_options() -> None:
    prediction, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    loss = FunctionLoss("torch.nn.functional.cross_entropy", {"label_smoothing": 0.1})
    torch.testing.assert_close(loss(prediction, target), F.cross_entropy(prediction, target, label_smoothing=0.1))
    assert "torch.nn.functional.cross_entropy, label_smoothing=0.1" in str(loss)
    torch.testing.assert_close(as_module(cross_entropy)(prediction, target), F.cross_entropy(prediction, target))
    assert isinstance(as_module(None), torch.nn.CrossEntropyLoss)


def _without_return(prediction: Tensor, target: Tensor) -> None:
    pass


def _a_loss_each(prediction: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(prediction, target, reduction="none")


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (
            _without_return,
            {},
            "one number per batch; _without_return returned None: end it with a return",
        ),
        (_a_loss_each, {}, "model.loss must return one number per batch; _a_loss_each returned (4,)"),
        (
            F.cross_entropy,
            {"smoothing": 0.1},
            "got an unexpected keyword argument 'smoothing'; its arguments are (input",
        ),
        (torch.nn.CrossEntropyLoss, {}, "a loss is a module or a function of (logits, target), not CrossEntropyLoss"),
        (3, {}, "a loss is a module or a function of (logits, target), not 3"),
        (lambda: F.cross_entropy, {}, "annotate its return type: def f() -> torch.nn.Module"),
        ("torch.nn.functional.linear", {}, None),  # a built-in function: its arguments are checked only in a call
    ],
)
def test_an_unsuitable_function_is_one_line(function: Any, options: dict[str, Any], message: str | None) -> None:
    if message is None:
        FunctionLoss(function, options)
        return
    with pytest.raises(InputError, match=re.escape(message)):
        _checked_loss(function, options)


def _checked_loss(function: Any, options: dict[str, Any]) -> Tensor:
    loss = FunctionLoss(function, options)
    loss.register_forward_hook(check_loss)
    return loss(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))


def test_a_loss_has_the_name_that_its_user_gave_it() -> None:
    assert name_of_loss(FunctionLoss("torch.nn.functional.cross_entropy")) == "torch.nn.functional.cross_entropy"
    assert name_of_loss(torch.nn.MSELoss()) == "MSELoss"
    assert name_of_loss(cross_entropy) == "cross_entropy"
