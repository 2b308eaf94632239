"""The same step scripts on real nodes and on simulated ones: answers and effects are the same, act by act."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from migrator.sim.loop import VirtualLoop
from tests.conformance.acts import live, read, with_effect
from tests.conformance.compare import Moment, differences
from tests.conformance.lab_side import LabSide
from tests.conformance.scripts import FULL, SCRIPTS, STAGES, TABLED, TABLED_FULL
from tests.conformance.sim_side import SimSide
from tests.lab.stage import Stage

pytestmark = pytest.mark.lab


@dataclass
class Bench:
    """A lab with one container, and the two loops: the machine's and the virtual one."""

    lab: LabSide
    runner: asyncio.Runner
    loop: VirtualLoop

    def differences(self, script: str) -> list[str]:
        """Plays a script on both sides and tells where they differ."""
        acts = read(script, self.loop)
        start = self.runner.run(self.lab.begin())
        try:
            real = self.runner.run(live(self.lab, acts, start.token))
        finally:
            self.runner.run(self.lab.end())
        simulated: list[Moment] = []
        sides: list[SimSide] = []

        async def main() -> None:
            sides.append(SimSide(start, self.loop))
            simulated.extend(await live(sides[0], acts, start.token))

        self.loop.run(main())
        return differences(real, simulated)


@pytest.fixture(scope="module")
def bench(stage: Stage) -> Iterator[Bench]:
    stage.boot_all()
    words = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", stage.ip(1), "--restart", "always")
    stage.ok(*words, "--", "sh", "-c", "sleep 1000000 & exec sleep 1000000")
    with asyncio.Runner() as runner:
        lab = LabSide(stage)
        yield Bench(lab, runner, VirtualLoop())
        runner.run(lab.close())
    stage.boot_all()
    stage.remove_all()
    assert stage.leftovers() == []


def agrees(bench: Bench, script: str) -> None:
    found = bench.differences(script)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", SCRIPTS)
def test_simulated_nodes_do_what_real_ones_do(bench: Bench, name: str) -> None:
    agrees(bench, SCRIPTS[name])


def test_what_must_not_take_effect_does_not_on_either(bench: Bench) -> None:
    agrees(bench, TABLED)


@pytest.mark.full
def test_what_must_not_take_effect_does_not_in_any_other_state(bench: Bench) -> None:
    agrees(bench, TABLED_FULL)


@pytest.mark.full
@pytest.mark.parametrize("name", FULL)
def test_simulated_nodes_do_what_real_ones_do_at_length(bench: Bench, name: str) -> None:
    agrees(bench, FULL[name])


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ["s", "t"])
@pytest.mark.parametrize("stage_name", STAGES)
def test_each_verb_that_takes_effect_takes_the_same_on_both(bench: Bench, stage_name: str, role: str) -> None:
    script = STAGES[stage_name]
    for row in with_effect(script, role, bench.loop):
        begun = "start " if row.startswith("job") else ""  # and not waited for
        agrees(bench, f"{script}{begun}{role} {row}\n")
