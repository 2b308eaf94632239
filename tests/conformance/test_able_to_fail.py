"""The comparison is able to fail: nodes with a bug differ from nodes without, in the scripts that `make test` plays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from migrator.sim import verbs, verbs_lease
from migrator.sim.loop import VirtualLoop
from migrator.sim.machine import Machine
from tests.conformance.acts import live, read
from tests.conformance.compare import Moment, differences, reason
from tests.conformance.scripts import SCRIPTS
from tests.conformance.sim_side import SimSide, Start


def lives(loop: VirtualLoop) -> list[Moment]:
    """Every script, one after the other, on simulated nodes."""
    sides: list[SimSide] = []
    moments: list[Moment] = []

    async def main() -> None:
        for script in SCRIPTS.values():
            sides.append(SimSide(Start(), loop))
            moments.extend(await live(sides[-1], read(script, loop), 1))

    loop.run(main())
    return moments


def forgets_to_end_the_watchdog(patch: pytest.MonkeyPatch) -> None:
    async def seal(m: Machine, ct: str, token: str) -> str:
        await m.write_record(ct, m.edit(m.check_run(ct, int(token)), state="sealed"))
        return "sealed yes\n"

    patch.setitem(verbs.VERBS, "seal", seal)


def leaves_keys_to_older_tokens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verbs_lease, "end_access", lambda m, ct, below=None: None)


def answers_a_second_call_otherwise(patch: pytest.MonkeyPatch) -> None:
    act: Callable[..., Awaitable[str]] = verbs.VERBS["retire"]

    async def retire(m: Machine, ct: str, token: str) -> str:
        m.check_token(ct, int(token))
        return await act(m, ct, token)

    patch.setitem(verbs.VERBS, "retire", retire)


def forgets_the_floor(patch: pytest.MonkeyPatch) -> None:
    async def raise_floor(self: Machine, ct: str, token: int) -> None:
        """Remembers nothing."""

    patch.setattr(Machine, "raise_floor", raise_floor)


BUGS = (
    forgets_to_end_the_watchdog,
    leaves_keys_to_older_tokens,
    answers_a_second_call_otherwise,
    forgets_the_floor,
)


def test_nodes_without_a_bug_do_not_differ() -> None:
    assert differences(lives(VirtualLoop()), lives(VirtualLoop())) == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_nodes_with_a_bug_differ(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    right = lives(VirtualLoop())
    bug(monkeypatch)
    assert differences(right, lives(VirtualLoop()))


def test_a_refusal_is_compared_by_who_holds_and_in_which_state() -> None:
    told = {
        "node n1: container web is held by run r-1 with token 7; token 6 may change nothing": "held by r-1 with 7",
        "container web is held by no run (its token is 3); token 2 may change nothing": "held by nobody",
        "container web is sealed and cannot be fenced": "is sealed",
        "no room: web needs 1 MiB of memory, 0 MiB are free": "another reason",
    }
    assert {text: reason(text) for text in told} == told
