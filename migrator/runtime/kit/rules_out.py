"""Tells the rules of nf_tables in this network (ruleset.py). Run in it:

rules_out.py all     all of them, as they can be made, packed, in base64; and a number, the same for the same rules
rules_out.py look    what of them is not carried, and whether they translate, a line each
rules_out.py same    ends well where they are those that come on stdin, which `all` has told elsewhere

A kernel does not take all as it tells it:

- Chains that were given no name take no rule once a rule jumps there: theirs go first.
- Which protocol a rule of iptables is about is told beside it when it is made (NFTA_RULE_COMPAT), and not when it is
  read. It is in its first expressions, and taken from there.
- Elements of intervals are told from the end, and have to be made from the beginning. Ends are told with a timeout of 0
  where the set has one, and are not taken with it.
- An element without a timeout, which a rule adds, is told with one of 0; so are flags of options of TCP.
"""

from __future__ import annotations

import binascii
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator

from netfilter import DUMP, Kernel
from netlink import BODY
from rules_in import told
from ruleset import (
    BYTES_MAX,
    CHAIN,
    DATA,
    ELEMENTS,
    EXPRESSION,
    EXPRESSIONS,
    FLOWTABLE,
    IP,
    IP6,
    NAME,
    OBJECT,
    RULE,
    SET,
    TABLE,
    TABLE_NAME,
    U32,
    XT,
    Message,
    attributes,
    message,
    not_carried,
    packed,
    translates,
)

TRIES = 5  # to read it all between two changes

# linux/netfilter/nf_tables.h, nf_tables_compat.h
GET_GENERATION = 0xA10
GET = {TABLE: 0xA01, CHAIN: 0xA04, RULE: 0xA07, SET: 0xA0A, ELEMENTS: 0xA0D, OBJECT: 0xA13, FLOWTABLE: 0xA17}
ORDER = (TABLE, FLOWTABLE, OBJECT, CHAIN, SET, ELEMENTS, RULE)
CHAIN_FLAGS, BINDING, CHAIN_COUNTERS = 10, 0x4, 8
SET_NAME, SET_FLAGS, SET_INTERVAL, SET_ID, SET_DESC, SET_DESC_CONCAT = 2, 3, 0x4, 10, 9, 2
SET_ELEMENTS, ELEMENT_STAYS = 3, {1, 2, 3, 4, 6, 9, 10}
ELEMENT_FLAGS, INTERVAL_END, ELEMENT_TIMES = 3, 0x1, {4, 5}
OBJECT_DATA = 4
COMPAT, COMPAT_PROTOCOL, COMPAT_FLAGS, COMPAT_INVERTED = 5, 1, 2, 2
META_DREG, META_KEY, META_L4PROTO = 1, 2, 16
PAYLOAD_DREG, PAYLOAD_BASE, PAYLOAD_OFFSET, PAYLOAD_LENGTH, NETWORK = 1, 2, 3, 4, 1
CMP_SREG, CMP_OP, CMP_DATA, EQUAL, UNEQUAL = 1, 2, 3, 0, 1
PROTOCOL_AT = {IP: 9, IP6: 6}
IMMEDIATE_DATA, VERDICT, VERDICT_CHAIN = 2, 2, 2
# By expression: attributes that are told as 0 and stand for nothing. One that takes an option of TCP out has more.
NOTHINGS: dict[bytes, frozenset[int]] = {b"dynset": frozenset({6}), b"exthdr": frozenset({5})}
EXTHDR_DREG, EXTHDR_SREG, STRIP_NOTHINGS = 1, 7, frozenset({3, 4, 5})
DYNSET_EXPRESSION = 7
COUNTING = (b"counter", b"quota", b"last")  # they go on while they are looked at

Parts = list[tuple[bytes, dict[int, bytes]]]


def ruleset(told: Iterable[Message]) -> list[Message]:
    """The same in the order in which it can be made, with what a kernel does not tell and has to be told."""
    by_kind: dict[int, list[Message]] = {kind: [] for kind in ORDER}
    for each in told:
        by_kind[each.kind].append(each)
    for number, each in enumerate(by_kind[SET], 1):
        each.parts.append((SET_ID, U32.pack(number)))
    intervals = {each.name() for each in by_kind[SET] if _is_of_intervals(each)}
    by_kind[ELEMENTS] = list(_from_the_beginning(by_kind[ELEMENTS], intervals))
    for each in by_kind[RULE]:
        _forget_nothings(each)
        if any(name in XT for name, _ in each.expressions()) and (compat := _compat(each)):
            each.parts.append((COMPAT, compat))
    by_kind[RULE] = list(_bound_first(by_kind[CHAIN], by_kind[RULE]))
    return [each for kind in ORDER for each in by_kind[kind]]


def _is_of_intervals(named: Message) -> bool:
    """Where a beginning and an end are two elements. With several parts they are one."""
    desc = dict(attributes(named.get(SET_DESC)))
    return bool(named.number(SET_FLAGS) & SET_INTERVAL) and SET_DESC_CONCAT not in desc


def _from_the_beginning(told: list[Message], intervals: set[tuple[int, bytes, bytes]]) -> Iterator[Message]:
    yield from (each for each in told if each.name() not in intervals)
    for each in reversed(told):
        if each.name() in intervals:
            elements = packed((kind, _without_timeout(data)) for kind, data in attributes(each.get(SET_ELEMENTS))[::-1])
            yield Message(
                each.kind,
                each.family,
                [(number, elements if number == SET_ELEMENTS else data) for number, data in each.parts],
            )


def _without_timeout(element: bytes) -> bytes:
    """Where it is the end of an interval; else as it is."""
    parts = attributes(element)
    flags = dict(parts).get(ELEMENT_FLAGS, b"")
    if len(flags) != U32.size or not U32.unpack(flags)[0] & INTERVAL_END:
        return element
    return packed(part for part in parts if part[0] not in ELEMENT_TIMES)


def _forget_nothings(rule: Message) -> None:
    """Some expressions are told with zeros for what is not there, and are not taken with them."""
    listed = []
    for kind, each in attributes(rule.get(EXPRESSIONS)):
        parts = attributes(each)
        own = dict(parts)
        name = own.get(EXPRESSION, b"").rstrip(b"\0")
        if name in NOTHINGS:
            data = attributes(own.get(DATA, b""))
            nothings = NOTHINGS[name]
            if name == b"exthdr" and not {EXTHDR_DREG, EXTHDR_SREG} & dict(data).keys():
                nothings = STRIP_NOTHINGS
            packed_data = packed(part for part in data if part[0] not in nothings or any(part[1]))
            parts = [(number, packed_data if number == DATA else value) for number, value in parts]
        listed.append((kind, packed(parts)))
    rule.parts = [(kind, packed(listed) if kind == EXPRESSIONS else data) for kind, data in rule.parts]


def _bound_first(chains: list[Message], rules: list[Message]) -> Iterator[Message]:
    """Rules in the order of their chains; of a chain without a name before the rule that jumps there, as it takes none
    after.
    """
    bound = {each.name() for each in chains if each.number(CHAIN_FLAGS) & BINDING}
    of: dict[tuple[int, bytes, bytes], list[Message]] = {}
    for rule in rules:
        of.setdefault(rule.name(), []).append(rule)

    def all_of(chain: tuple[int, bytes, bytes]) -> Iterator[Message]:
        for rule in of.pop(chain, ()):
            for target in _jumps(rule):
                if target in bound:
                    yield from all_of(target)
            yield rule

    for chain in sorted(of, key=lambda name: name in bound):
        yield from all_of(chain)


def _jumps(rule: Message) -> Iterator[tuple[int, bytes, bytes]]:
    family, table, _ = rule.name()
    for name, found in rule.expressions():
        if name == b"immediate":
            verdict = dict(attributes(dict(attributes(found.get(IMMEDIATE_DATA, b""))).get(VERDICT, b"")))
            if VERDICT_CHAIN in verdict:
                yield family, table, verdict[VERDICT_CHAIN]


def _compat(rule: Message) -> bytes:
    """Which protocol a rule of iptables is about, or nothing: its first comparison with one."""
    at = {b"meta": {META_KEY: META_L4PROTO}}
    if rule.family in PROTOCOL_AT:
        at[b"payload"] = {PAYLOAD_BASE: NETWORK, PAYLOAD_OFFSET: PROTOCOL_AT[rule.family], PAYLOAD_LENGTH: 1}
    register = b""
    for name, found in rule.expressions():
        if name in at:
            is_it = all(found.get(key) == U32.pack(value) for key, value in at[name].items())
            register = found.get(META_DREG, b"") if is_it else b""
        elif name == b"cmp" and register and found.get(CMP_SREG) == register:
            data = dict(attributes(found.get(CMP_DATA, b""))).get(1, b"")
            op = found.get(CMP_OP)
            if len(data) == 1 and op in (U32.pack(EQUAL), U32.pack(UNEQUAL)):
                flags = COMPAT_INVERTED if op == U32.pack(UNEQUAL) else 0
                return packed([(COMPAT_PROTOCOL, U32.pack(data[0])), (COMPAT_FLAGS, U32.pack(flags))])
    return b""


def lacking(told: list[Message], made: list[Message]) -> str:
    """What of those that were told was made as another, or "". A kernel may tell more of each than another does."""
    there = _by_name(made)
    for name, parts in _by_name(told).items():
        others = there.get(name, [])
        if len(others) != len(parts) or not all(map(_within, parts, others)):
            return Message(name[0], name[1], [(1, name[2]), (NAME.get(name[0], 1), name[3])]).said()
    return ""


def _by_name(rules: list[Message]) -> dict[tuple[int, int, bytes, bytes], list[Parts]]:
    found: dict[tuple[int, int, bytes, bytes], list[Parts]] = {}
    for each in rules:
        found.setdefault((each.kind, *each.name()), []).extend(_parts(each))
    for (kind, *_), parts in found.items():
        if kind == ELEMENTS:  # a kernel orders them by a number of its own
            parts.sort(key=lambda part: sorted(part[0][1].items()))
    return found


def _parts(each: Message) -> list[Parts]:
    """Of one thing what is compared. Times and counters go on meanwhile."""
    own = dict(each.parts)
    if each.kind == ELEMENTS:
        own.pop(SET_ELEMENTS, None)
        return [
            [(b"", {key: data for key, data in attributes(element) if key in ELEMENT_STAYS})]
            for _, element in attributes(each.get(SET_ELEMENTS))
        ]
    own.pop(SET_ID if each.kind == SET else EXPRESSIONS if each.kind == RULE else 0, None)
    if each.kind in (OBJECT, CHAIN):
        own.pop(OBJECT_DATA if each.kind == OBJECT else CHAIN_COUNTERS, None)
    return [[(b"", own), *((name, _compared(name, data)) for name, data in each.expressions())]]


def _compared(name: bytes, data: dict[int, bytes]) -> dict[int, bytes]:
    if name in COUNTING:
        return {}
    # What a rule has elements do is told by some kernels only where their set does not say it.
    return {key: value for key, value in data.items() if (name, key) != (b"dynset", DYNSET_EXPRESSION)}


def _within(told: Parts, made: Parts) -> bool:
    return len(told) == len(made) and all(
        name == other and set(data.items()) <= set(found.items())
        for (name, data), (other, found) in zip(told, made, strict=True)
    )


def rules(kernel: Kernel) -> list[Message]:
    """All that there is, as it can be made."""
    for _ in range(TRIES):
        before = generation(kernel)
        found = [
            message(kind, body)
            for asked in (TABLE, FLOWTABLE, OBJECT, CHAIN, SET, RULE)
            for kind, body in kernel.ask(GET[asked])
        ]
        found += [each for named in found if named.kind == SET for each in elements(kernel, named)]
        if generation(kernel) == before:
            return ruleset(found)
    raise OSError("they change all the time")


def generation(kernel: Kernel) -> bytes:
    """Another after each change."""
    return dict(attributes(next(kernel.ask(GET_GENERATION, 0))[1][BODY.size :]))[1]


def elements(kernel: Kernel, named: Message) -> Iterator[Message]:
    family, table, name = named.name()
    parts = packed([(TABLE_NAME, table), (SET_NAME, name)])
    for kind, body in kernel.ask(GET[ELEMENTS], DUMP, family, parts):
        yield message(kind, body)


def tell() -> None:
    here = rules(Kernel())
    data = b"".join(each.whole() for each in here)
    if len(data) > BYTES_MAX:
        raise ValueError(f"they are {len(data)} bytes, over {BYTES_MAX}")
    text = binascii.b2a_base64(zlib.compress(data), newline=False).decode()
    sys.stdout.write(f"{text} {zlib.crc32(repr(_by_name(here)).encode())}\n")


def look() -> None:
    here = rules(Kernel())
    if names := not_carried(here):
        sys.stdout.write(f"lost rules that use {' '.join(names)}\n")
    if translates(here):
        sys.stdout.write("translates yes\n")


def same() -> None:
    if said := lacking(told(sys.stdin.buffer.read(BYTES_MAX)), rules(Kernel())):
        raise ValueError(f"this kernel makes another {said}")


if __name__ == "__main__":
    ways: dict[str, Callable[[], None]] = {"all": tell, "look": look, "same": same}
    try:
        ways[sys.argv[1]]()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"its rules: {getattr(error, 'strerror', None) or error}\n")
        sys.exit(1)
