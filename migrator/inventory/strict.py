"""Reads plain values into dataclasses, strictly: what is not declared, or of another type, is said with its place.

pydantic does more, and for files that nearly every command reads its loading costs a command more than the rest of it.
Mistakes are told as pydantic tells them (`documents.plain` puts both into words). What a class declares is its type
hints; beside a type there may stand, by `Annotated`, a `Text`, `Number` or `Count`, a function that raises ValueError,
or an `Inner` that reads the value by itself.
"""

from __future__ import annotations

import functools
import json
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Place = tuple[int | str, ...]
_HALF_A_PAIR = "\\ud"


@dataclass(frozen=True, slots=True)
class Text:
    """Bounds of a text: its characters, and the pattern that it matches as a whole."""

    pattern: str | None = None
    chars_min: int = 0
    chars_max: int | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """Bounds of a number: above `gt`, and from `ge` to `le`. NaN and the infinities are never within."""

    gt: float | None = None
    ge: float | None = None
    le: float | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """How many a list or a mapping has."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Inner:
    """Reads a value by itself; raises ValueError, one with `errors()` where it tells of places inside of it."""

    read: Callable[[Any], Any]


class Invalid(ValueError):
    """All that is wrong, as pydantic's errors: type, loc, ctx, input and msg."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(found)} mistakes")
        self._found = found

    def errors(self) -> list[dict[str, Any]]:
        return self._found


class _Wrong(Exception):
    def __init__(self, kind: str, value: Any, message: str = "", **context: Any) -> None:
        super().__init__(kind)
        self.error = {"type": kind, "loc": (), "ctx": context, "input": value, "msg": message}


class _Found(list[dict[str, Any]]):
    """The mistakes so far; where not `closed`, a key that nobody has declared is none."""

    def __init__(self, closed: bool) -> None:
        super().__init__()
        self.closed = closed


def read_json(kind: type[T], text: str) -> T:
    """An instance of the dataclass, of JSON that may tell more than it asks for. ValueError where it is none."""
    try:
        raw = json.loads(text)
    except RecursionError as error:
        raise ValueError("one thing lies in another in another, too deep to be read") from error
    if _HALF_A_PAIR in text.lower():
        json.dumps(raw, ensure_ascii=False).encode()  # what is half a character can neither be printed nor sent
    return _read(kind, raw, _Found(closed=False))


def read(kind: type[T], raw: Any) -> T:
    """An instance of the dataclass, of what YAML or JSON gave. Invalid says all that is wrong with it."""
    return _read(kind, raw, _Found(closed=True))


def _read(kind: type[T], raw: Any, found: _Found) -> T:
    value: T = _value(kind, raw, (), found)
    if found:
        raise Invalid(found)
    return value


@functools.cache
def _declared(kind: Any) -> dict[str, tuple[Any, Field[Any]]]:
    hints = get_type_hints(kind, include_extras=True)
    return {one.name: (hints[one.name], one) for one in fields(kind)}


def _value(hint: Any, raw: Any, at: Place, found: _Found) -> Any:
    """The value, or None after what is wrong was added to `found`."""
    if type(raw) is hint:  # the usual case, without more ado
        return raw
    try:
        return _plain(hint, raw, at, found)
    except _Wrong as wrong:
        found.append(wrong.error | {"loc": at})
    except ValueError as error:
        if tells := getattr(error, "errors", None):  # as Invalid and pydantic's own do
            found.extend(dict(inner) | {"loc": (*at, *inner["loc"])} for inner in tells())
        else:
            found.append({"type": "value_error", "loc": at, "ctx": {}, "input": raw, "msg": str(error)})
    return None


def _plain(hint: Any, raw: Any, at: Place, found: _Found) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        return _annotated(get_args(hint), raw, at, found)
    if origin in (Union, types.UnionType):
        return _either(get_args(hint), raw, at, found)
    if origin is Literal:
        return _one_of(get_args(hint), raw)
    if origin is list:
        return _list(get_args(hint)[0], raw, at, found)
    if origin is tuple:  # of any length, as of a list: neither YAML nor JSON has another
        return tuple(_list(get_args(hint)[0], raw, at, found))
    if origin is dict:
        return _dict(get_args(hint), raw, at, found)
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint, raw, at, found)
    return _simple(hint, raw)


def _annotated(args: tuple[Any, ...], raw: Any, at: Place, found: _Found) -> Any:
    kind, *more = args
    if more and isinstance(more[0], Inner):
        return more[0].read(raw)
    known = len(found)
    value = _plain(kind, raw, at, found)
    for each in more:
        if len(found) > known:
            return None
        if isinstance(each, Text):
            _check_text(each, value)
        elif isinstance(each, Number):
            _check_number(each, value)
        elif isinstance(each, Count):
            _check_count(each, value)
        else:
            value = each(value)
    return value


def _either(kinds: tuple[Any, ...], raw: Any, at: Place, found: _Found) -> Any:
    """By the first kind that takes it; where none does, what the first says is told."""
    if raw is None and types.NoneType in kinds:
        return None
    first = _Found(found.closed)
    for kind in kinds:
        if kind is types.NoneType:
            continue
        mistakes = _Found(found.closed)
        value = _value(kind, raw, at, mistakes)
        if not mistakes:
            return value
        first = first or mistakes
    found.extend(first)
    return None


def _one_of(values: tuple[Any, ...], raw: Any) -> Any:
    for value in values:
        if type(raw) is type(value) and raw == value:
            return value
    shown = [repr(value) for value in values]
    raise _Wrong("literal_error", raw, expected=" or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown))


def _list(kind: Any, raw: Any, at: Place, found: _Found) -> list[Any]:
    if not isinstance(raw, list):
        raise _Wrong("list_type", raw)
    return [_value(kind, each, (*at, number), found) for number, each in enumerate(raw)]


def _dict(kinds: tuple[Any, ...], raw: Any, at: Place, found: _Found) -> dict[Any, Any]:
    if not isinstance(raw, dict):
        raise _Wrong("dict_type", raw)
    key_kind, kind = kinds
    return {
        _value(key_kind, key, (*at, key, "[key]"), found): _value(kind, each, (*at, key), found)
        for key, each in raw.items()
    }


def _object(kind: type, raw: Any, at: Place, found: _Found) -> Any:
    if not isinstance(raw, Mapping):
        raise _Wrong("model_type", raw)
    declared, known, given = _declared(kind), len(found), {}
    for name, (hint, one) in declared.items():
        if name in raw:
            given[name] = _value(hint, raw[name], (*at, name), found)
        elif one.default is MISSING and one.default_factory is MISSING:
            found.append({"type": "missing", "loc": (*at, name), "ctx": {}, "input": raw, "msg": ""})
    for key in raw:
        if key not in declared and found.closed:
            found.append({"type": "extra_forbidden", "loc": (*at, key), "ctx": {}, "input": raw[key], "msg": ""})
    return kind(**given) if len(found) == known else None


def _simple(kind: Any, raw: Any) -> Any:
    if kind is float and type(raw) in (int, float):
        return raw
    if kind is Any or type(raw) is kind:
        return raw
    raise _Wrong({str: "string_type", int: "int_type", float: "float_type", bool: "bool_type"}[kind], raw)


def _check_text(bounds: Text, text: str) -> None:
    if len(text) < bounds.chars_min:
        raise _Wrong("string_too_short", text, min_length=bounds.chars_min)
    if bounds.chars_max is not None and len(text) > bounds.chars_max:
        raise _Wrong("string_too_long", text, max_length=bounds.chars_max)
    if bounds.pattern is not None and not re.fullmatch(bounds.pattern, text):
        raise _Wrong("string_pattern_mismatch", text, pattern=bounds.pattern)


def _check_number(bounds: Number, number: float) -> None:
    if isinstance(number, float) and not math.isfinite(number):
        raise _Wrong("finite_number", number)
    if bounds.gt is not None and number <= bounds.gt:
        raise _Wrong("greater_than", number, gt=bounds.gt)
    if bounds.ge is not None and number < bounds.ge:
        raise _Wrong("greater_than_equal", number, ge=bounds.ge)
    if bounds.le is not None and number > bounds.le:
        raise _Wrong("less_than_equal", number, le=bounds.le)


def _check_count(bounds: Count, values: list[Any] | dict[Any, Any]) -> None:
    if len(values) < bounds.least:
        raise _Wrong("too_short", values, min_length=bounds.least)
    if bounds.most is not None and len(values) > bounds.most:
        raise _Wrong("too_long", values, max_length=bounds.most)
