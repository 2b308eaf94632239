"""Strikes: turns planned faults into what happens to machines, wires and orchestrators, and heals it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from migrator.sim.machine import Machine
from migrator.sim.scenario import CALL_FAULTS, HOOK_FAULTS, WRITE_FAULTS, Fault
from migrator.sim.wire import Orchestrator
from migrator.sim.world import World

REAP_S = 0.6  # the runtime's CRIU is gone this long before the node ends what it held


class Strikes:
    """Hands each fault to whom it is for, and strikes with the others when the world comes to their moment.

    `at_moment` are other things to be done at a moment, in the same order as faults.
    """

    def __init__(self, world: World, faults: tuple[Fault, ...], orchestrators: list[Orchestrator]) -> None:
        self.world = world
        self.orchestrators = orchestrators
        self._due: list[tuple[int, Callable[[], None]]] = []
        for fault in faults:
            if fault.kind in CALL_FAULTS:
                orchestrators[fault.who].call_faults[fault.at] = fault
            elif fault.kind in WRITE_FAULTS:
                word = "before" if fault.kind == "kill-before-write" else "after"
                orchestrators[fault.who].write_faults[fault.at] = word
            elif fault.kind in HOOK_FAULTS:
                orchestrators[fault.who].hook_faults[fault.at] = fault.kind
            else:
                self.at_moment(fault.at, lambda fault=fault: self.strike(fault))  # type: ignore[misc]
        world.on_step = self._on_step

    def at_moment(self, at: int, act: Callable[[], None]) -> None:
        self._due.append((at, act))
        self._due.sort(key=lambda due: due[0], reverse=True)

    def _on_step(self) -> None:
        while self._due and self._due[-1][0] <= self.world.steps:
            self._due.pop()[1]()

    def strike(self, fault: Fault) -> None:
        if self.world.healed:
            return
        self.world.say(f"FAULT {fault}")
        self.world.struck = True
        if fault.kind == "kill":
            self.orchestrators[fault.who].die()
        elif fault.kind == "stall":
            self.orchestrators[fault.who].stalled_until_s = self.world.clock.now_s() + fault.seconds
        elif fault.kind in ("part", "slow"):
            self._wire(fault, frozenset((fault.node, fault.other)))
        else:
            self._machine(fault, self.world.machines[fault.node])

    def _wire(self, fault: Fault, ends: frozenset[str]) -> None:
        if fault.kind == "slow":
            self.world.slowness[ends] = fault.seconds
            return
        self.world.parted.add(ends)
        self._later(fault.seconds, lambda: self.world.parted.discard(ends))

    def _machine(self, fault: Fault, m: Machine) -> None:
        if fault.kind == "crash":
            m.crash()
            self._later(fault.seconds, m.boot)
        elif fault.kind == "hang":
            m.hung_until_s = self.world.clock.now_s() + fault.seconds
        elif fault.kind == "disk-full":
            m.disk.full = True
            self._later(fault.seconds, lambda: setattr(m.disk, "full", False))
        elif fault.kind == "clock-jumps":
            m.skew_s += fault.seconds
        elif m.ram is not None:
            self._process(fault, m)

    def _process(self, fault: Fault, m: Machine) -> None:
        if fault.kind == "restore-fails":
            m.up.fail_restore += 1
        elif fault.kind == "release-fails":
            m.up.fail_release += 1
        elif fault.kind == "dump-fails":
            m.up.fail_dump += 1
        elif fault.kind == "criu-killed":
            self._kill_criu(m)
        elif fault.kind == "receiver-dies":
            self._receiver_dies(m)
        elif fault.kind == "copy-dies":
            self._copy_dies(m)
        elif fault.kind == "process-dies" and m.up.verbs:
            next(reversed(m.up.verbs)).cancel()

    def _receiver_dies(self, m: Machine) -> None:
        """The next that lives: most moments have none."""
        found = [job for key, job in m.up.jobs.items() if key[2].startswith("receive-")] if m.ram is not None else []
        for job in found:
            if job.task is not None:
                job.task.cancel()
        if not found and not self.world.healed:
            self.at_moment(self.world.steps + 1, lambda: self._receiver_dies(m))

    def _kill_criu(self, m: Machine) -> None:
        """CRIU dies in a restore: what it holds never runs, and the node ends it a moment later."""
        held = [ct for ct, copy in m.up.copies.items() if copy.mode == "held"]

        async def reap() -> None:
            await asyncio.sleep(REAP_S)
            for ct in held:
                copy = m.copy(ct)
                if copy is not None and copy.mode == "held":
                    m.copy_dies(ct, "CRIU was killed")

        if held:
            m.spawn(reap())

    @staticmethod
    def _copy_dies(m: Machine) -> None:
        """The runtime has nothing to do with it."""
        for ct, copy in list(m.up.copies.items()):
            if copy.mode == "running":
                m.copy_dies(ct, "its program ended")

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        if seconds:
            self.world.clock.loop.call_later(seconds, act)

    def heal(self) -> None:
        """Everything works again: power, wires, disks; what has been lost stays lost."""
        world = self.world
        world.healed = True
        world.say("everything is healed")
        world.parted.clear()
        world.slowness.clear()
        for m in world.machines.values():
            m.hung_until_s = min(m.hung_until_s, world.clock.now_s())
            m.disk.full = False
            m.boot()
            m.up.fail_restore = m.up.fail_release = m.up.fail_dump = 0
