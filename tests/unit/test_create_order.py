"""While others are asked about an address all is done that nobody sees; it is taken back where somebody has it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from migrator.errors import BadInput, Refused
from migrator.executor.creation import create_container
from migrator.executor.fleet import Fleet
from migrator.executor.wanted import Wanted
from migrator.inventory.cluster_file import ClusterFile, NodeEntry
from migrator.transport.base import Answer
from migrator.transport.retry import RetryingNode

SURVEY = """cpus 4
memory_bytes 8589934592
memory_available_bytes 8589934592
disk_bytes 100000000000
disk_available_bytes 100000000000
inodes_available 100000
template debian abc
bridge br0
end probe
"""
ANSWERS = {"survey": SURVEY, "described": "end described\n", "ct-create": "token 1\n"}


def wanted(*ips: str) -> Wanted:
    asked = {"name": "web", "template": "debian", "memory": "64M", "cpus": 1.0, "disk": "1G", "user": None}
    nothing = dict.fromkeys(("gateways", "labels", "env"), ())
    return Wanted.parse(**asked, **nothing, ips=ips, command=("true",))  # type: ignore[arg-type]


WANTED = wanted("10.0.0.7")


class There(RetryingNode):
    """Answers who has an address when it is told to, and keeps what it was asked."""

    def __init__(self, owner: str = "", known: asyncio.Event | None = None) -> None:
        self.name, self.asked, self.owner, self.answered = "n1", list[str](), owner, False
        self.surveyed = asyncio.Event()
        self.known = known or asyncio.Event()
        self.ready = asyncio.Event()

    async def call_once(self, verb: str, args: list[str], stdin: bytes, timeout_s: float) -> Answer:
        self.asked.append(verb)
        if verb == "arp-owner":
            await self.known.wait()
            self.answered = True
            return Answer("n1", verb, self.owner)
        if verb == "ct-ready":
            self.ready.set()
        if verb == "survey":
            self.surveyed.set()
        return Answer("n1", verb, ANSWERS.get(verb, ""))

    async def host_key(self) -> tuple[str, str]:
        raise AssertionError

    async def close(self) -> None:
        pass


def making(there: There, asked: Wanted = WANTED, start: bool = True) -> asyncio.Task[dict[str, object]]:
    fleet = Fleet(ClusterFile(nodes=[NodeEntry(name="n1")]), lambda entry: there)
    return asyncio.create_task(create_container(fleet, "n1", asked, start))


async def test_all_but_the_start_is_done_while_others_are_asked_about_the_address() -> None:
    there = There()
    made = making(there)
    await asyncio.wait_for(there.ready.wait(), 10)
    assert "ct-start" not in there.asked
    there.known.set()
    assert (await made)["started"] is True
    assert there.asked[-1] == "ct-start"


async def test_an_address_that_somebody_has_leaves_nothing_of_what_was_made_and_starts_nothing() -> None:
    there = There("owner 02:00:00:00:00:01\n")
    made = making(there)
    await asyncio.wait_for(there.ready.wait(), 10)
    there.known.set()
    with pytest.raises(Refused, match=r"--ip 10\.0\.0\.7: something on the network answers for this address already"):
        await made
    assert there.asked[-1] == "ct-remove"
    assert "ct-start" not in there.asked


async def test_an_interrupt_while_others_are_asked_leaves_nothing_of_what_was_made() -> None:
    there = There()
    made = making(there)
    await asyncio.wait_for(there.ready.wait(), 10)
    made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await made
    assert there.asked[-1] == "ct-remove"
    assert "ct-start" not in there.asked


async def test_what_is_refused_meanwhile_ends_when_nothing_asks_about_the_address_any_more() -> None:
    """A node goes on with what it was asked, whoever has gone."""
    there = There()
    made = making(there, replace(WANTED, template="nosuch"))
    await asyncio.wait_for(there.surveyed.wait(), 10)
    for _ in range(100):  # turns of the loop, in which it would be over
        await asyncio.sleep(0)
    there.known.set()
    with pytest.raises(BadInput, match="nosuch"):
        await made
    assert there.answered


async def test_one_that_is_not_to_start_waits_for_the_answer_too_and_is_not_got_ready() -> None:
    there = There("owner 02:00:00:00:00:01\n")
    there.known.set()
    with pytest.raises(Refused, match="answers for this address"):
        await making(there, start=False)
    assert "ct-ready" not in there.asked
    assert there.asked[-1] == "ct-remove"


async def test_of_many_addresses_all_are_answered_before_anything_is_made() -> None:
    there = There("owner 02:00:00:00:00:01\n")
    many = wanted("10.0.0.7", "10.0.0.8", "10.0.0.9")
    there.known.set()
    with pytest.raises(Refused, match="answers for this address"):
        await making(there, many)
    assert "ct-create" not in there.asked
