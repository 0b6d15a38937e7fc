"""The exercises of the lab that are done in Python, in order."""

from collections.abc import Iterable
from typing import NamedTuple

from cifar_cnn.base.errors import InputError


class Exercise(NamedTuple):
    """An exercise.

    Attributes:
        number: its number, such as ``1a``.
        name: name of the class or function that solves it.
        config: the config that trains the package's own solution; empty for an exercise without one.
        backbone: the network to train with the solution; empty if it is not trained.
    """

    number: str
    name: str
    config: str = ""
    backbone: str = ""


EXERCISES = (
    Exercise("1a", "Net1a", "simple_cnn_a", "Net1a"),
    Exercise("1b", "Net1b", "simple_cnn_b", "Net1b"),
    Exercise("1c", "Net1c", "simple_cnn_c", "Net1c"),
    Exercise("2", "Net2", "simple_cnn_batchnorm", "Net2"),
    Exercise("3", "Net3", "simple_cnn_maxpool", "Net3"),
    Exercise("4a", "ResidualBlock"),
    Exercise("4b", "ResNet18", "resnet18_lab", "ResNet18"),
    Exercise("5", "cross_entropy", "simple_cnn_a", "Net1a"),
    Exercise("6", "Net6", "simple_cnn_conv_head", "Net6"),
    Exercise("7", "first_and_last_filters"),
)
_NUMBERS = tuple(each.number for each in EXERCISES)


def find(number: str) -> Exercise:
    """The exercise with a number.

    Raises:
        InputError: there is no such exercise.
    """
    for each in EXERCISES:
        if each.number == number:
            return each
    raise InputError(f"there is no exercise {number!r}; the exercises are {', '.join(_NUMBERS)}")


def select(numbers: Iterable[str]) -> list[Exercise]:
    """The exercises with these numbers, in the order of the lab; a number such as ``1`` selects 1a, 1b and 1c.

    Raises:
        InputError: there is no exercise with one of the numbers.
    """
    found: set[str] = set()
    for number in numbers:
        parts = {each for each in _NUMBERS if each.rstrip("abc") == number}
        found |= parts or {find(number).number}
    return [each for each in EXERCISES if not found or each.number in found]


def named(name: str) -> Exercise:
    """The exercise that a class or function of this name solves.

    Raises:
        InputError: there is no such exercise.
    """
    for each in EXERCISES:
        if each.name == name:
            return each
    raise InputError(f"{name} is not a name of the lab: give the exercise, for example check({name}, '1a')")
