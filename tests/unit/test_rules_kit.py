"""Rules of nf_tables, told by one network's kernel and made by another's; and what no honest node tells of them.

`rules/` has what the kit tells of `tests/lab/rules/every.sh` (iptables 1.8.11) and `every.nft` (nft 1.1.3), on Linux
6.18.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.transport.kit import SCRIPTS
from tests.unit.kit_modules import load

ruleset, rules_in, rules_out = load("ruleset"), load("rules_in"), load("rules_out")
TOLD = {
    name: base64.b64decode((Path(__file__).parent / "rules" / f"{name}.b64").read_text())
    for name in ("iptables", "nft")
}
IP, INET, BRIDGE = 2, 1, 7
Parts = Iterable[tuple[int, bytes]]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="networks are made")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def expression(name: bytes, *parts: tuple[int, bytes]) -> tuple[int, bytes]:
    return 1, ruleset.packed([(1, name + b"\0"), (2, ruleset.packed(parts))])


def rule(*expressions: tuple[int, bytes], family: int = IP, chain: bytes = b"c") -> bytes:
    parts = [(1, b"t\0"), (2, chain + b"\0"), (3, bytes(8)), (4, ruleset.packed(expressions))]
    return thing(ruleset.RULE, parts, family)


def thing(kind: int, parts: Parts, family: int = IP) -> bytes:
    body = ruleset.BODY.pack(family, 0, 0) + ruleset.packed(parts)
    return bytes(ruleset.HEADER.pack(ruleset.HEADER.size + len(body), kind, 0, 0, 0) + body)


def xt(name: bytes, kind: bytes = b"match") -> tuple[int, bytes]:
    return expression(kind, (1, name + b"\0"), (2, u32(0)), (3, bytes(8)))


def verdict(chain: bytes) -> tuple[int, bytes]:
    data = ruleset.packed([(2, ruleset.packed([(1, u32(0xFFFFFFFD)), (2, chain + b"\0")]))])
    return expression(b"immediate", (1, u32(0)), (2, data))


def of_protocol(number: int, operation: int = 0) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    data = ruleset.packed([(1, bytes([number]))])
    return (
        expression(b"meta", (2, u32(16)), (1, u32(1))),
        expression(b"cmp", (1, u32(1)), (2, u32(operation)), (3, data)),
    )


def as_told(*things: bytes) -> list[Any]:
    """As a kernel would have told them, in the order and the form in which they can be made."""
    found = [ruleset.message(kind, body) for kind, body in ruleset.messages(b"".join(things))]
    return list(rules_out.ruleset(found))


def in_new_network(script: str, told: bytes) -> subprocess.CompletedProcess[bytes]:
    """With a card eth0, where `$KIT` is the kit."""
    cards = "ip link add eth0 type veth peer name far && ip link set lo up"
    argv = ["unshare", "--net", "sh", "-ec", f"{cards}; {script}"]
    env = {**os.environ, "KIT": f"{sys.executable} -ESsB {SCRIPTS}"}
    return subprocess.run(argv, input=told, env=env, capture_output=True, timeout=60, check=False)


def held_against(made: bytes, told: bytes) -> subprocess.CompletedProcess[bytes]:
    text = base64.b64encode(told).decode()
    return in_new_network(
        f"$KIT/rules_in.py /proc/self/ns/user && printf %s {text} | base64 -d | $KIT/rules_out.py same", made
    )


@as_root
@pytest.mark.parametrize("made_by", ["iptables", "nft"])
def test_a_kernel_makes_of_each_kind_of_rule_what_was_told_and_tells_the_same_again(made_by: str) -> None:
    script = "$KIT/rules_in.py /proc/self/ns/user && $KIT/rules_out.py all"
    first = in_new_network(script, TOLD[made_by])
    assert (first.returncode, first.stderr) == (0, b"")
    again, mark = first.stdout.split()
    told = base64.b64decode(again)
    second = in_new_network(script, told)
    assert second.stdout.split()[1] == mark
    assert (held_against(told, told).returncode, second.stderr) == (0, b"")


@as_root
def test_rules_that_a_kernel_makes_as_others_are_named() -> None:
    """One that lacks a rule, and one in which a verdict is another."""
    one, two, other = (
        zlib.compress(thing(ruleset.TABLE, [(1, b"t\0")]) + thing(ruleset.CHAIN, [(1, b"t\0"), (3, b"c\0")]) + last)
        for last in (rule(*of_protocol(6)), rule(*of_protocol(6)) + rule(*of_protocol(17)), rule(*of_protocol(17)))
    )
    for told, said in ((one, b""), (two, b"rule of chain c"), (other, b"rule of chain c")):
        done = held_against(one, told)
        assert (done.returncode, said in done.stderr) == (1 if said else 0, True), done


@as_root
def test_what_a_kernel_does_not_take_is_named_and_nothing_is_made() -> None:
    table, chain = thing(ruleset.TABLE, [(1, b"t\0")]), thing(ruleset.CHAIN, [(1, b"t\0"), (3, b"c\0")])
    strange = expression(b"match", (1, b"string\0"), (2, u32(99)), (3, bytes(8)))
    told = zlib.compress(table + chain + rule(*of_protocol(6)) + rule(*of_protocol(6), strange))
    done = in_new_network("$KIT/rules_in.py /proc/self/ns/user || $KIT/rules_out.py all", told)
    assert done.stderr == b"its rules: rule of chain c in table ip t, string: No such file or directory\n"
    assert zlib.decompress(base64.b64decode(done.stdout.split()[0])) == b""


@as_root
def test_rules_about_users_are_made_as_the_networks_own_root() -> None:
    """A kernel takes them from nobody else."""
    info = (100).to_bytes(4, sys.byteorder) * 2 + bytes(8) + bytes([1, *bytes(7)])  # xt_owner_match_info: one user
    owner = expression(b"match", (1, b"owner\0"), (2, u32(1)), (3, info))
    chain = thing(ruleset.CHAIN, [(1, b"t\0"), (3, b"c\0")])
    told = zlib.compress(thing(ruleset.TABLE, [(1, b"t\0")]) + chain + rule(owner))
    holder = subprocess.Popen(
        ["unshare", "--user", "--net", "sh", "-c", "echo; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"\n"
        for ids in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{ids}").write_text("0 100000 65536")
        codes = []
        for user in ("/proc/self/ns/user", f"/proc/{holder.pid}/ns/user"):
            enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", sys.executable, "-ESsB", f"{SCRIPTS}/rules_in.py"]
            codes.append(subprocess.run([*enter, user], input=told, capture_output=True, check=False).returncode)
        assert codes == [1, 0]
    finally:
        holder.communicate(b"\n", timeout=30)


@pytest.mark.parametrize("made_by", ["iptables", "nft"])
def test_what_was_told_is_taken_as_it_is(made_by: str) -> None:
    rules = rules_in.told(TOLD[made_by])
    assert b"".join(each.whole() for each in rules) == zlib.decompress(TOLD[made_by])
    assert ruleset.not_carried(rules) == []
    assert ruleset.translates(rules)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (thing(0xA02, [(1, b"t\0")]), "no rule"),  # a table is deleted
        (thing(0x100, []), "no rule"),  # a connection
        (thing(0x10, []), "no rule"),  # a transaction begins
        (thing(ruleset.TABLE, [(1, b"t\0"), (9, b"")]), "not known here"),
        (thing(ruleset.RULE, [(12, b"")]), "not known here"),
        (thing(ruleset.RULE, [(4, b""), (4, b"")]), "twice"),
        (thing(ruleset.TABLE, [(1, b"t\0")])[:-2], "a length"),
        (rule(xt(b"recent")), "recent, which is not carried"),
        (rule(xt(b"set")), "set, which"),
        (rule(xt(b"quota"), xt(b"RATEEST", b"target")), "RATEEST quota, which"),
        (rule(xt(b"mark"), family=BRIDGE), "mark, which"),
        (rule(expression(b"osf", (1, u32(1)))), "osf, which"),
        (rule(expression(b"socket", (1, u32(3)))), "cgroupv2, which"),
    ],
)
def test_what_is_not_carried_or_no_honest_node_tells_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rules_in.told(zlib.compress(data))


def test_rules_have_a_bound_and_an_end() -> None:
    for data in (zlib.compress(bytes(ruleset.BYTES_MAX + 1)), TOLD["nft"][:-9], b"rules"):
        with pytest.raises(ValueError):
            rules_in.told(data)


@given(st.data())
def test_whatever_is_told_is_taken_or_refused(data: st.DataObject) -> None:
    """Bytes of honest rules, with some that are others."""
    plain = bytearray(zlib.decompress(TOLD[data.draw(st.sampled_from(["iptables", "nft"]))]))
    for _ in range(data.draw(st.integers(1, 5))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    try:
        rules = ruleset.checked(bytes(plain))
        assert all(each.kind in ruleset.CARRIED for each in rules)
        assert rules_out.lacking(rules, rules) == ""
    except ValueError:
        pass


@pytest.mark.parametrize(("flags", "kept"), [(2, 0), (6, 0), (7, 1), (1, 1)])
def test_a_table_that_a_program_owns_is_made_as_nobodys(flags: int, kept: int) -> None:
    (table,) = as_told(thing(ruleset.TABLE, [(1, b"t\0"), (2, u32(flags)), (7, u32(77))]))
    assert table.parts == [(1, b"t\0"), (2, u32(kept))]


def test_a_rule_of_iptables_is_made_with_its_protocol() -> None:
    def told(*expressions: tuple[int, bytes]) -> bytes:
        return bytes(as_told(rule(*expressions))[0].get(5))

    at_network = expression(b"payload", (1, u32(1)), (2, u32(1)), (3, u32(9)), (4, u32(1)))
    assert told(*of_protocol(17), xt(b"multiport")) == ruleset.packed([(1, u32(17)), (2, u32(0))])
    assert told(*of_protocol(17, 1), xt(b"multiport")) == ruleset.packed([(1, u32(17)), (2, u32(2))])
    assert told(at_network, of_protocol(6)[1], xt(b"tcp")) == ruleset.packed([(1, u32(6)), (2, u32(0))])
    assert told(*of_protocol(6)) == b""
    assert told(xt(b"comment")) == b""


def test_all_of_a_chain_without_a_name_goes_before_the_rule_that_jumps_there() -> None:
    chains = [
        thing(ruleset.CHAIN, [(1, b"t\0"), (3, name + b"\0"), (10, u32(flags))])
        for name, flags in ((b"a", 0), (b"__chain0", 4), (b"b", 0))
    ]
    rules = [
        rule(*of_protocol(6), chain=b"a"),
        rule(verdict(b"__chain0"), chain=b"a"),
        rule(*of_protocol(17), chain=b"a"),
        rule(*of_protocol(6), chain=b"__chain0"),
        rule(verdict(b"b"), chain=b"__chain0"),
        rule(*of_protocol(6), chain=b"b"),
    ]
    made = [each.get(2).rstrip(b"\0") for each in as_told(*chains, *rules) if each.kind == ruleset.RULE]
    assert made == [b"a", b"__chain0", b"__chain0", b"a", b"a", b"b"]


@pytest.mark.parametrize(("desc", "order"), [(b"", [2, 1, 0]), (ruleset.packed([(2, bytes(8))]), [0, 1, 2])])
def test_elements_of_intervals_are_made_from_the_beginning(desc: bytes, order: list[int]) -> None:
    named = thing(ruleset.SET, [(1, b"t\0"), (2, b"s\0"), (3, u32(4)), (9, desc)])
    first, rest = (
        thing(
            ruleset.ELEMENTS,
            [(1, b"t\0"), (2, b"s\0"), (3, ruleset.packed((1, ruleset.packed([(1, bytes([n]))])) for n in numbers))],
        )
        for numbers in ((0, 1), (2,))
    )
    made = [each for each in as_told(named, first, rest) if each.kind == ruleset.ELEMENTS]
    elements = [ruleset.attributes(data) for each in made for _, data in ruleset.attributes(each.get(3))]
    assert [data[0] for ((_, data),) in elements] == order


def test_an_end_of_an_interval_is_made_without_the_timeout_that_it_is_told_with() -> None:
    """The kernel tells one of 0 where the set has a timeout, and takes none. Of a beginning 0 means that it stays."""
    named = thing(ruleset.SET, [(1, b"t\0"), (2, b"s\0"), (3, u32(4 | 16)), (11, bytes(8))])
    parts = ([(1, b"k"), (3, u32(1)), (4, bytes(8)), (5, bytes(8))], [(1, b"k"), (3, u32(0)), (4, bytes(8))])
    told = ruleset.packed((1, ruleset.packed(each)) for each in parts)
    made = as_told(named, thing(ruleset.ELEMENTS, [(1, b"t\0"), (2, b"s\0"), (3, told)]))
    elements = [ruleset.attributes(data) for _, data in ruleset.attributes(made[-1].get(3))]
    assert elements == [parts[1], [(1, b"k"), (3, u32(1))]]


@pytest.mark.parametrize(
    ("name", "told", "left"),
    [
        (b"dynset", {1: b"s\0", 6: bytes(8)}, {1}),
        (b"dynset", {1: b"s\0", 6: bytes([*bytes(7), 5])}, {1, 6}),
        (
            b"exthdr",
            {7: u32(1), 2: b"\2", 3: u32(0), 4: u32(2), 5: u32(0), 6: u32(1)},
            {7, 2, 3, 4, 6},
        ),  # maxseg size set
        (b"exthdr", {1: u32(1), 2: b"\2", 3: u32(0), 4: u32(1), 5: u32(1), 6: u32(1)}, {1, 2, 3, 4, 5, 6}),  # exists
        (b"exthdr", {2: b"\4", 3: u32(0), 4: u32(0), 5: u32(0), 6: u32(1)}, {2, 6}),  # reset tcp option
        (b"limit", {6: u32(0)}, {6}),
    ],
)
def test_what_is_told_as_zero_and_stands_for_nothing_is_left_out(
    name: bytes, told: dict[int, bytes], left: set[int]
) -> None:
    (made,) = as_told(rule(*of_protocol(6), expression(name, *told.items())))
    (*_, (kept, parts)) = made.expressions()
    assert (kept, parts) == (name, {number: told[number] for number in left})
