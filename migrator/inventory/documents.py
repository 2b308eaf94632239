"""What all files of ours share: YAML with the lines it stands on, and what is wrong with a field in plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from migrator.errors import BadInput

if TYPE_CHECKING:  # it takes long to load, and to read a file it is not needed
    from pydantic import ValidationError

NODE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
SHOWN_CHARS_MAX = 60
_BRANCHES = ("int", "str", "float", "bool")
_PLAIN = {
    "bool_parsing": "is to be true or false",
    "bool_type": "is to be true or false",
    "dict_type": "is to be a mapping, KEY: VALUE",
    "extra_forbidden": "there is no such key",
    "finite_number": "is to be a number, and finite",
    "float_parsing": "is to be a number",
    "float_type": "is to be a number",
    "greater_than": "is to be more than {gt}",
    "greater_than_equal": "is to be at least {ge}",
    "int_parsing": "is to be a whole number",
    "int_parsing_size": "is to be a whole number that can be counted with",
    "int_type": "is to be a whole number",
    "int_from_float": "is to be a whole number",
    "less_than": "is to be less than {lt}",
    "less_than_equal": "is to be at most {le}",
    "list_type": "is to be a list",
    "literal_error": "is to be {expected}",
    "missing": "is missing",
    "string_pattern_mismatch": "holds what is not possible there",
    "string_too_long": "is to have at most {max_length} characters",
    "string_too_short": "is to have at least {min_length} characters",
    "string_type": "is to be text",
    "too_long": "is to have at most {max_length} in it",
    "too_short": "is to have at least {min_length} in it",
    "tuple_type": "is to be a list",
    "union_tag_invalid": "there is no {tag!r}; there are {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
}
_MAPPING = frozenset({"model_type", "model_attributes_type", "dataclass_type", "dataclass_exact_type"})
_SHAPES = {NODE_NAME: "is to be letters, digits, '.', '_' and '-', begin with a letter or digit, and have at most 63"}
_NAMED = {"nodes": "node", "containers": "container", "links": "link", "moves": "move of"}
_SAYS_ALL = frozenset({"value_error", "extra_forbidden", "missing", "union_tag_invalid", "union_tag_not_found"})


def read_yaml(text: str, source: str) -> tuple[Any, yaml.Node | None]:
    """The values of a YAML text, and the nodes they were made of; a key that is there twice is BadInput too."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        _refuse_repeated_keys(root, source)
        raw = loader.construct_document(root) if root is not None else None
        repr(raw)  # which a number of thousands of digits does not survive
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{source}:{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a number of thousands of digits, a list in itself
        raise BadInput(f"{source}: not YAML: {unread(error)}") from error
    return raw, root


def unread(error: Exception) -> str:
    """Why a text of some format could not be read, in words of ours where the library's are about itself."""
    if isinstance(error, RecursionError):
        return "one thing lies in another in another, too deep to be read"
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "a number in it has too many digits" if "integer string conversion" in said else said


def first_wrong(error: ValidationError) -> tuple[Sequence[int | str], str]:
    """The place of the first thing that is wrong, and what is, in words. A key written wrong is one that is missing and
    one too many: the second is the one to look at.
    """
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    return [part for part in first["loc"] if not _is_branch(part)], plain(first)


def said(error: ValidationError, raw: Any = None) -> str:
    """The first thing that is wrong, with its field, for files whose lines say nothing."""
    location, wrong = first_wrong(error)
    return f"{field(location, raw)}: {wrong}"


def refuse_empty(raw: Any, root: yaml.Node | None, source: str) -> None:
    """Raises BadInput for a key or a place in a list that is there and has no value."""
    for location in _empty(raw, ()):
        where, kind = location, location[1:2]
        if location[0] == "rules" and kind and isinstance(kind[0], int) and isinstance(raw["rules"][kind[0]], dict):
            where = (*location[:2], str(raw["rules"][kind[0]].get("rule")), *location[2:])
        at, what = line_of(root, location), "is empty; give a value, or leave the line out"
        raise BadInput(f"{source}:{at}: {field(where, raw)}: {what}")


def _empty(value: Any, at: tuple[int | str, ...]) -> Iterator[tuple[int | str, ...]]:
    if value is None and at:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from _empty(one, (*at, key))


def field(location: Sequence[int | str], raw: Any = None) -> str:
    """A field in words; rules are counted from 1, as in notes and for --waive. With `raw`, the values of the file, the
    names of the nodes and containers that it is of stand beside it.
    """
    whose = ", ".join(reversed(list(_named(location, raw)))) if raw is not None else ""
    return f"{_field(location)} ({whose})" if whose else _field(location)


def _named(location: Sequence[int | str], raw: Any) -> Iterator[str]:
    """The names of what a field lies in, the outermost first, as far as they can be ones."""
    value, kind = raw, ""
    for part in location:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            name = value.get("name", value.get("container")) if isinstance(value, dict) else None
            if kind in _NAMED and isinstance(name, str) and re.fullmatch(NODE_NAME, name):
                yield f"{_NAMED[kind]} {name}"
        elif isinstance(value, dict) and part in value:
            value, kind = value[part], str(part)
        else:
            return


def _field(location: Sequence[int | str]) -> str:
    if "rules" in location:
        at = location.index("rules")
        before, inside = location[:at], location[at + 1 :]
        if inside and isinstance(inside[0], int):
            kind = f" ({inside[1]})" if len(inside) > 1 else ""
            parts = [_dotted(before), f"rule {inside[0] + 1}{kind}", _dotted(inside[2:])]
            return ": ".join(part for part in parts if part)
    return _dotted(location) or "the file"


def _dotted(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _is_branch(part: object) -> bool:
    """Whether a part of an error's location names a branch of a union, which is nothing in the file."""
    return isinstance(part, str) and (part in _BRANCHES or "[" in part)


def plain(error: Mapping[str, Any]) -> str:
    """What is wrong with one field, in words; `error` is one of pydantic's."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _MAPPING:
        kind = "dict_type"
    message = str(error["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch" and context.get("pattern") in _SHAPES:
        message = _SHAPES[context["pattern"]]
    elif kind in _PLAIN:
        message = _PLAIN[kind].format_map(context)
    shown = repr(error["input"])
    if kind in ("float_type", "int_type") and (number := _number_in_text(error["input"])):
        return f"{message}; {shown} is text, write {number}"
    return message if kind in _SAYS_ALL or len(shown) > SHOWN_CHARS_MAX else f"{message}, not {shown}"


def _number_in_text(value: object) -> str:
    """How a number is to be written that YAML takes for text, such as 1e300: it wants a point, and a sign."""
    try:
        number = float(value) if isinstance(value, str) and len(value) <= SHOWN_CHARS_MAX else math.nan
    except ValueError:
        return ""
    return f"{number:.17g}" if number.is_integer() and abs(number) < 10**15 else f"{number:e}" * math.isfinite(number)


def line_of(root: yaml.Node | None, location: Sequence[int | str]) -> int:
    """The line (from 1) of the field, or of the innermost thing around it that is there."""
    node, line = root, 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                continue  # a rule's kind, which stands for the rule itself, or what is not there
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _refuse_repeated_keys(node: yaml.Node | None, source: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise BadInput(f"{source}:{key.start_mark.line + 1}: a key is one word")
            if key.value in seen:
                raise BadInput(f"{source}:{key.start_mark.line + 1}: {key.value}: is there twice")
            seen.add(key.value)
            _refuse_repeated_keys(value, source)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, source)
