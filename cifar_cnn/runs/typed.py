"""Check that plain data from a file has the types that its fields are declared with."""

import math
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints, is_typeddict

from torch import Tensor

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text", Tensor: "a tensor"}
_LARGEST = 2**63  # integers must fit into an int64 tensor


class Rule(NamedTuple):
    """A condition on the value of a field, given as ``Annotated[type, Rule(...)]``.

    Attributes:
        name: what the value must be, such as ``a number from 0 to 1``.
        holds: called with a value of the right type.
    """

    name: str
    holds: Callable[[Any], bool]


def mismatch(value: Any, kind: Any, field: str = "") -> str | None:
    """Find the first field that has the wrong type.

    Args:
        value: plain data: the content of a file, or of a field.
        kind: a type: bool, int, float (finite), str, Tensor, Literal, a TypedDict, Annotated with a :class:`Rule`, or a
            list, dict or union of these. Fields that a TypedDict does not declare may have any value.
        field: name of the field, such as ``images.train``; empty for a whole file.

    Returns:
        A line such as ``accuracy must be a number from 0 to 1, not 'x'``; None if there is no such field.
    """
    origin, args = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return _field_mismatch(value, kind, field)
    if origin is Annotated:
        wrong = (_line(field, rule.name, value) for rule in args[1:] if not rule.holds(value))
        return mismatch(value, args[0], field) or next(wrong, None)
    if origin in (Union, UnionType):
        found = [mismatch(value, each, field) for each in args]
        if None in found:
            return None
        options = [line for line, each in zip(found, args, strict=True) if each is not NoneType]
        return options[0] if len(options) == 1 else _line(field, _name(kind), value)
    if origin is list:
        if not isinstance(value, list):
            return _line(field, "a list", value)
        return _first((each, args[0], f"{field}[{i}]") for i, each in enumerate(value))
    if origin is dict:
        return _mapping_mismatch(value, args[1], field)
    return None if _is(value, kind) else _line(field, _name(kind), value)


def _field_mismatch(value: Any, kind: Any, field: str) -> str | None:
    if not isinstance(value, Mapping):
        return _line(field, "a mapping", value)
    dot = f"{field}." if field else ""
    if missing := sorted(kind.__required_keys__ - value.keys()):
        return f"{dot}{missing[0]} is missing"
    hints = get_type_hints(kind, include_extras=True)
    return _first((value[name], each, f"{dot}{name}") for name, each in hints.items() if name in value)


def _mapping_mismatch(value: Any, kind: Any, field: str) -> str | None:
    if not isinstance(value, Mapping):
        return _line(field, "a mapping", value)
    if bad := [name for name in value if not _is(name, str)]:
        return _line(f"a name in {field or 'its content'}", "text", bad[0])
    dot = f"{field}." if field else ""
    return _first((each, kind, f"{dot}{repr(name)[1:-1]:.60}") for name, each in value.items())


def _first(parts: Any) -> str | None:
    return next((line for part in parts if (line := mismatch(*part)) is not None), None)


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind is None or kind is NoneType:
        return value is None
    if get_origin(kind) is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(kind))
    if kind in (int, float) and type(value) is int:
        return abs(value) < _LARGEST
    if kind is float:
        return type(value) is float and math.isfinite(value)
    if kind is str:
        return isinstance(value, str) and _is_unicode(value)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _is_unicode(text: str) -> bool:
    """Whether text can be encoded; JSON may contain half of a surrogate pair, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is Annotated:
        return get_args(kind)[1].name
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_name(each) for each in get_args(kind))
    return _NAMES.get(kind, "null" if kind in (None, NoneType) else str(kind))


def _line(field: str, expected: str, value: Any) -> str:
    return f"{field or 'its content'} must be {expected}, not {_given(value)}"


def _given(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return str(value).lower() if not isinstance(value, int) or abs(value) < _LARGEST else "a larger integer"
    if isinstance(value, str):
        return f"{value!r}" if len(value) <= 40 else f"{value[:37]!r}..."
    return {list: "a list", dict: "a mapping", Tensor: "a tensor"}.get(type(value), type(value).__name__)
