"""Files and descriptions are read strictly, and what is wrong is told with its place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from migrator.inventory import strict
from migrator.inventory.documents import first_wrong
from migrator.inventory.strict import Count, Number, Text
from migrator.model.container import Descriptor
from migrator.runtime.bundle import descriptor_json


@dataclass(frozen=True, slots=True)
class Part:
    name: Annotated[str, Text("[a-z]+", chars_max=3)]
    share: Annotated[float | int, Number(gt=0, le=1)] = 1


@dataclass(frozen=True, slots=True)
class Whole:
    parts: Annotated[list[Part], Count(1, 2)]
    kind: Literal["a", "b"] = "a"
    on: bool = False
    count: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()


GOOD: dict[str, Any] = {"parts": [{"name": "x", "share": 0.5}], "count": 3, "labels": {"k": "v"}, "words": ["w"]}


def test_plain_values_become_what_they_are_declared_to_be() -> None:
    assert strict.read(Whole, GOOD) == Whole([Part("x", 0.5)], count=3, labels={"k": "v"}, words=("w",))


@pytest.mark.parametrize(
    ("change", "place", "wrong"),
    [
        ({"count": True}, "count", "is to be a whole number, not True"),
        ({"count": "3"}, "count", "is to be a whole number; '3' is text, write 3"),
        ({"count": 3.0}, "count", "is to be a whole number, not 3.0"),
        ({"on": 1}, "on", "is to be true or false, not 1"),
        ({"kind": "c"}, "kind", "is to be 'a' or 'b', not 'c'"),
        ({"labels": {"k": 1}}, "labels.k", "is to be text, not 1"),
        ({"labels": {1: "v"}}, "labels.1", "is to be text, not 1"),
        ({"words": "w"}, "words", "is to be a list, not 'w'"),
        ({"parts": []}, "parts", "is to have at least 1 in it, not []"),
        ({"parts": 3}, "parts", "is to be a list, not 3"),
        ({"parts": [3]}, "parts.0", "is to be a mapping, KEY: VALUE, not 3"),
        ({"parts": [{"name": "x"}] * 3}, "parts", "is to have at most 2 in it"),
        ({"parts": [{}]}, "parts.0.name", "is missing"),
        ({"parts": [{"nam": "x"}]}, "parts.0.nam", "there is no such key"),
        ({"parts": [{"name": "x\n"}]}, "parts.0.name", r"holds what is not possible there, not 'x\n'"),
        ({"parts": [{"name": "abcd"}]}, "parts.0.name", "is to have at most 3 characters, not 'abcd'"),
        ({"parts": [{"name": "x", "share": 0}]}, "parts.0.share", "is to be more than 0, not 0"),
        ({"parts": [{"name": "x", "share": 2}]}, "parts.0.share", "is to be at most 1, not 2"),
        ({"parts": [{"name": "x", "share": float("nan")}]}, "parts.0.share", "is to be a number, and finite, not nan"),
        ({"parts": [{"name": "x", "share": "1"}]}, "parts.0.share", "is to be a number; '1' is text, write 1"),
    ],
)
def test_a_mistake_is_told_with_its_place(change: dict[str, Any], place: str, wrong: str) -> None:
    with pytest.raises(strict.Invalid) as told:
        strict.read(Whole, GOOD | change)
    location, said = first_wrong(told.value)
    assert (".".join(map(str, location)), said[: len(wrong)]) == (place, wrong)


def test_a_description_that_tells_more_than_is_asked_for_is_read_all_the_same() -> None:
    ct = Descriptor("web", "debian", "d", ("sleep", "1"), "10.0.0.7/24", 16, 1, 1, 1, env=("A=ü",))
    told = json.loads(descriptor_json(ct)) | {"of_a_later_version": {"x": 1}}
    told["io"]["of_a_later_version"] = 1
    assert strict.read_json(Descriptor, json.dumps(told)) == ct


@pytest.mark.parametrize("env", [r'["A=\ud800"]', "[1]", "{}", "[" * 100_000, '["A=\x01"]'])
def test_a_description_that_no_node_of_ours_writes_is_not_read(env: str) -> None:
    ct = Descriptor("web", "debian", "d", ("sleep", "1"), "10.0.0.7/24", 16, 1, 1, 1, env=("A=B",))
    text = descriptor_json(ct).decode().replace('["A=B"]', env)
    assert text != descriptor_json(ct).decode()
    with pytest.raises(ValueError, match=r".*"):
        strict.read_json(Descriptor, text)
