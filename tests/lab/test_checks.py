import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_cnn import InputError, lab
from cifar_cnn.backbones import ResNet18, SimpleCNN
from cifar_cnn.lab import texts
from cifar_cnn.lab.exercises import EXERCISES, Exercise
from cifar_cnn.lab.results import Results
from tests.lab import _answers as answers
from tests.lab._mistakes import MISTAKES, Mistake, network

HINTS = texts.texts("en")["hints"]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.number)
def test_right_answers_pass(exercise: Exercise) -> None:
    results = lab.check(getattr(answers, exercise.name), exercise.number)
    assert results.passed, results
    assert str(results).splitlines()[-1] == "1 of 1 passed"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: f"{each.exercise} {each.name}")
def test_typical_mistakes_get_the_hint_that_fits(mistake: Mistake) -> None:
    results = lab.check(mistake.answer, mistake.exercise)
    assert not results.passed
    hints = results.hints(mistake.exercise)
    assert mistake.hint in " ".join(hints)
    assert len(hints) <= 4
    assert not set(Results(results.outcomes, "ro").hints(mistake.exercise)) & set(hints)


@pytest.mark.parametrize(
    ("exercise", "own"),
    [
        ("1a", SimpleCNN()),
        ("2", lambda: SimpleCNN(batch_norm=True)),
        ("3", lambda: SimpleCNN(batch_norm=True, head="max_pool")),
        ("4b", lambda: ResNet18(stem_stride=2)),
        ("6", lambda: SimpleCNN(batch_norm=True, head="conv")),
    ],
)
def test_the_answers_of_the_package_pass(exercise: str, own: Any, untrained: None) -> None:
    assert lab.check(own, exercise).passed


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: x.amax((2, 3)),
        lambda x: x.max(3)[0].max(2)[0],
        lambda x: x.flatten(2).max(-1).values,
        lambda x: F.max_pool2d(x, x.shape[2:])[:, :, 0, 0],
        lambda x: F.adaptive_max_pool2d(x, 1).view(x.size(0), -1),
    ],
)
def test_any_way_of_writing_counts(pool: Callable[[Tensor], Tensor], untrained: None) -> None:
    class Own(answers.Net3):
        def forward(self, images: Tensor) -> Tensor:
            x = F.max_pool2d(self.bn1(self.conv1(images)).clamp_min(0), 2)
            x = torch.relu_(F.max_pool2d(self.bn2(self.conv2(x)), (2, 2)))
            return F.linear(F.relu(self.fc1(pool(x))), self.fc2.weight, self.fc2.bias)

    assert lab.check(Own, "3").passed


def test_lazy_layers_count(untrained: None) -> None:
    layers = list(network())
    layers[7] = nn.LazyLinear(128)
    assert lab.check(lambda: nn.Sequential(*layers), "1a").passed


class Empty(nn.Module):
    def forward(self, images: Tensor) -> Tensor: ...  # type: ignore[empty-body]


def empty(prediction: Tensor, target: Tensor) -> Tensor:  # type: ignore[empty-body]
    """Nothing yet."""
    ...


class HalfDone(answers.Net1a):
    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError("1a")


@pytest.mark.parametrize(("exercise", "given"), [("1a", Empty), ("1a", HalfDone), ("5", empty)])
def test_what_is_not_started_is_no_mistake(exercise: str, given: Any) -> None:
    results = lab.check(given, exercise)
    assert not results.passed
    assert [each.status for each in results.outcomes] == ["todo"]
    assert "not done yet" in str(results)


class Raises(answers.Net1a):
    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(-1, 7)


class Exits(answers.Net1a):
    def __init__(self) -> None:
        print("a lot")
        raise SystemExit("enough")


def test_an_exception_names_the_students_line(capsys: pytest.CaptureFixture[str]) -> None:
    (hint,) = lab.check(Raises, "1a").hints("1a")
    assert re.fullmatch(
        r"Net1a.forward stops with RuntimeError: shape .* is invalid for input of size 9216 "
        r"\[test_checks.py, line \d+: return images.reshape\(-1, 7\)\]",
        hint,
    )
    (hint,) = lab.check(Exits, "1a").hints("1a")
    assert re.fullmatch(r"Net1a\(\) calls exit\(\) \[test_checks.py, line \d+: raise SystemExit.*\]", hint)
    assert capsys.readouterr().out == ""


def test_the_name_says_which_exercise_and_the_module_which_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LANGUAGE", "ro", raising=False)
    assert "1 din 1 corecte" in str(lab.check(answers.cross_entropy))
    assert "1 of 1 passed" in str(lab.check(answers.cross_entropy, language="en"))
    with pytest.raises(InputError, match="picked is not a name of the lab: give the exercise"):
        lab.check(MISTAKES[0].answer.__globals__["picked"])
    with pytest.raises(InputError, match=r"there is no exercise '8'; the exercises are 1a, 1b, .*, 7"):
        lab.check(answers.Net1a, "8")
    with pytest.raises(InputError, match="no texts in the language 'de'; there are en and ro"):
        lab.check(answers.cross_entropy, "5", "de")


def test_a_notebook_shows_a_table() -> None:
    page = lab.check(lambda p, t: picked_sum(p, t), "5")._repr_html_()
    assert page.count("<tr>") == 2
    assert "64 times too large" in page
    assert "<script" not in lab.check(lambda p, t: exec("raise ValueError('<script>')"), "5")._repr_html_()


def picked_sum(p: Tensor, t: Tensor) -> Tensor:
    return F.nll_loss(p.log_softmax(1), t, reduction="sum")


def test_a_check_changes_no_random_number() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    lab.check(answers.ResidualBlock, "4a")
    assert torch.equal(torch.rand(2), expected)


def test_both_languages_say_the_same() -> None:
    english, romanian = texts.texts("en"), texts.texts("ro")

    def fields(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fields(each) for key, each in value.items()}
        return sorted(re.findall(r"\{[^}]*\}", value))

    assert fields(english) == fields(romanian)
    letters = set("".join(romanian["hints"].values()))
    assert letters >= set("ăâîșț")
    assert not letters & set("şţ")  # the cedilla of another language
