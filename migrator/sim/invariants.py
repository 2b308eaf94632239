"""What must never be, judged from what is true in the world and from the journals' bare events.

Nothing here calls the product: no fold, no recovery table, no verb. `watch` is asked after every change, `at_end` when
everything has been healed and every run was resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.journal.memory import MemoryStore
from migrator.sim.laws import Law
from migrator.sim.world import World

AWAIT_DUMP_S = 60  # a watchdog lets a dump come to its end, for so long
SLACK_S = 5.0
LOOK_MS = 500  # a decision may rest on what was seen this long before
FOR_SOURCE, FOR_TARGET = ("aborted", "revoked", "settled"), ("committed", "settled")
FINAL = ("done", "rolled-back")
AT_TARGET = ("reserved", "held", "released")
AT_AN_END = (*AT_TARGET, "fenced", "sealed")
LASTING = ("watchdog", "restore", "dump", "pre-dump")  # jobs that a take-over leaves to whoever comes after it
ANNOUNCED = {"fenced": "fenced", "held": "restored", "sealed": "sealed", "released": "released"}


class Watch:
    """Judges after each change of a container; remembers the records, to see what became of them."""

    def __init__(self, world: World, stores: Sequence[MemoryStore]) -> None:
        self.world = world
        self.stores = stores
        self._states: dict[tuple[str, str], str] = {}
        self._runs: dict[tuple[str, str], str] = {}
        self._tokens: dict[tuple[str, str], int] = {}
        self._fenced_s: dict[tuple[str, str], float] = {}
        self._deadline_s: dict[tuple[str, str], float] = {}  # as it was then: who gives back writes none
        world.on_change = self.after
        world.was_given_up = self._was_given_up

    def after(self, ct: str) -> None:
        """What has to hold at every moment, for one container."""
        self._one_running(ct)
        for name, machine in self.world.machines.items():
            record = machine.disk.records.get(ct)
            if record is None and (name, ct) not in self._states:
                continue  # it has never been there
            state = record.state if record else "absent"
            self._let_go(ct, name, record.run if record else "")
            if record is not None and record.token > self._tokens.get((name, ct), 0):
                self._tokens[(name, ct)] = record.token
                self._old_ends(ct, name, record.token)
            before = self._states.get((name, ct), "absent")
            if state != before:
                self._states[(name, ct)] = state
                self._transition(ct, name, before, state)
                self._ledger(name)
            if state == "fenced" and record is not None:
                self._overdue(ct, name, record.deadline_s)

    def _one_running(self, ct: str) -> None:
        copies = self.world.copies(ct)
        running = [copy.node for copy in copies if copy.mode == "running"]
        if len(running) > 1:
            self.world.violate(Law.ONE_RUNS, f"{ct} runs twice: on {' and '.join(running)}")
        gates = [m.name for m in self.world.machines.values() if m.ram is not None and m.ram.gates.get(ct)]
        if len(gates) > 1:
            self.world.violate(Law.ONE_RUNS, f"{ct} has two open gates: on {' and '.join(gates)}")

    def _transition(self, ct: str, node: str, before: str, state: str) -> None:
        run = self._run_of(ct, node)
        if state in ANNOUNCED and not self._journaled(ct, run, (ANNOUNCED[state], "settled"), node, state):
            self.world.violate(Law.ANNOUNCED, f"{ct} is {state} on {node}, and no journal had announced it")
        if state == "reserved" and not any(store.migrations(run) for store in self.stores):
            self.world.violate(Law.ANNOUNCED, f"{ct} is reserved on {node} for {run}, which no journal knows")
        if state == "fenced":
            self._fenced_s[(node, ct)] = self.world.clock.now_s()
            self._deadline_s[(node, ct)] = self.world.machines[node].disk.records[ct].deadline_s
        if state == "released" and not self._journaled(ct, run, FOR_TARGET, node, state):
            self.world.violate(Law.DECIDED, f"{ct} is released on {node}, and no journal has committed it")
        if (
            before == "sealed"
            and state in ("serving", "stopped")
            and not self._journaled(ct, run, FOR_SOURCE, node, before)
        ):
            self.world.violate(Law.DECIDED, f"{ct} on {node} was sealed and comes back, and no journal has aborted it")
        if before == "fenced" and state == "serving":
            waited_s = self.world.clock.now_s() - self._fenced_s.get((node, ct), 0.0)
            if waited_s < self._deadline_s.get((node, ct), 0.0) and not self._journaled(
                ct, run, FOR_SOURCE, node, before
            ):
                self.world.violate(
                    Law.DECIDED, f"{ct} on {node} is thawed before its deadline, and no journal has aborted it"
                )

    def _let_go(self, ct: str, node: str, run: str) -> None:
        """A run's hold on a container ends by that run's own decision, and by nobody else's."""
        before = self._runs.get((node, ct), "-")
        self._runs[(node, ct)] = run
        ends = ("aborted", "revoked", "settled", "done")
        state = self._states.get((node, ct), "absent")
        if run == "-" and before not in ("-", "") and not self._journaled(ct, before, ends, node, state):
            self.world.violate(Law.DECIDED, f"{ct} on {node} is let go for {before}, and its journal has not decided")

    def _old_ends(self, ct: str, node: str, token: int) -> None:
        """Judged as the token is raised: a rollback ends the same once more, and would hide that the lease had not.

        Connections are judged where they are let in. One that is being made while the source is leased may still come
        to stand there; it ends with the target's lease.
        """
        machine = self.world.machines[node]
        if machine.ram is None:
            return
        jobs = [key for key, job in machine.ram.jobs.items() if job.alive and not key[2].startswith(LASTING)]
        if machine.memory_follows(ct):
            return  # its way stays open, until it has come
        goes_on = [(word, of, old) for of, old, word in jobs]
        links = [
            key
            for other in self.world.machines.values()
            for key, link in (other.ram.links.items() if other.ram else ())
            if link.alive and node == link.target
        ]
        goes_on += [("access", of, old) for of, old in (*links, *machine.ram.keys, *machine.disk.keys)]
        for what, of, old in goes_on:
            if of == ct and old < token:
                self.world.violate(Law.OLD_ENDS, f"{what} of {ct}'s token {old} goes on on {node}, under {token}")

    def _run_of(self, ct: str, node: str) -> str:
        record = self.world.machines[node].disk.records.get(ct)
        return record.run if record else "-"

    def _journaled(self, ct: str, run: str, words: tuple[str, ...], node: str, state: str) -> bool:
        """Whether a journal has one of these events, of a migration of the run in which the node is what it is now.

        A container may move several times in one run, and what was decided where this node was its target says nothing
        of where it is the source. `state` is its record's; one that serves may be either, and an operator settles both.
        """
        for store in self.stores:
            for migration in store.migrations(run):
                ends = (migration.source, migration.target)
                if migration.container != ct or node not in ends:
                    continue
                is_that = state not in AT_AN_END or node == (ends[1] if state in AT_TARGET else ends[0])
                wanted = words if is_that else tuple(word for word in words if word == "settled")
                if any(str(event.state) in wanted for event in store.events(migration.id)):
                    return True
        return False

    def _was_given_up(self, ct: str) -> bool:
        """After ABORTED, or once the watchdog has written down that the source serves, the held copy is void: a source
        that dies before it is thawed takes the memory with it. So does one that dies between the look and the decision.
        """
        lost_ms = self.world.truths[ct].frozen_lost_ms + LOOK_MS
        records = [m.disk.records.get(ct) for m in self.world.machines.values()]
        return any(record is not None and record.state == "serving" for record in records) or any(
            str(event.state) == "aborted" and event.at_ms <= lost_ms
            for store in self.stores
            for migration in store.migrations_of(ct)
            for event in store.events(migration.id)
        )

    def _ledger(self, node: str) -> None:
        machine = self.world.machines[node]
        held = sum(record.memory_bytes for record in machine.disk.records.values())
        if held > machine.memory_bytes:
            self.world.violate(Law.LEDGER, f"{node} has given away {held} of {machine.memory_bytes} bytes of memory")

    def _overdue(self, ct: str, node: str, deadline_s: float) -> None:
        machine = self.world.machines[node]
        copy = machine.ram.copies.get(ct) if machine.ram else None
        since_s = self._fenced_s.get((node, ct))
        record = machine.disk.records[ct]
        stopped = record.cold == "yes" and machine.ram is not None and record.boot == machine.ram.boot
        if since_s is None or not (stopped or (copy is not None and copy.mode == "frozen")):
            return
        late_s = self.world.clock.now_s() - max(since_s, machine.hung_until_s) - deadline_s
        dumping = machine.ram is not None and any(
            key[0] == ct and key[2] == "dump" and job.alive for key, job in machine.ram.jobs.items()
        )
        if late_s > (AWAIT_DUMP_S if dumping else 0) + SLACK_S:
            how = "stopped" if stopped else "frozen"
            self.world.violate(Law.DEADLINE, f"{ct} is {how} on {node} {late_s:.0f} s after its deadline")

    def all(self) -> None:
        for ct in self.world.truths:
            self.after(ct)


def at_end(world: World, stuck: dict[str, str], two_journals: bool) -> None:
    """What has to hold when everything is over: one running copy each, and nothing left behind.

    `stuck` has the containers that were reported as stuck, with the reason given; `two_journals` is whether somebody
    has worked on one run by two journals that do not know of each other, which explains that too.
    """
    for ct, truth in world.truths.items():
        running = [copy.node for copy in world.copies(ct) if copy.mode == "running"]
        if ct in stuck:
            if not truth.loss and not two_journals:
                world.violate(Law.CONVERGES, f"{ct} is stuck for no fault that explains it: {stuck[ct]}")
            continue
        if len(running) != 1:
            modes = [f"{copy.mode} on {copy.node}" for copy in world.copies(ct)]
            world.violate(
                Law.CONVERGES, f"{ct} runs {len(running)} times at the end ({', '.join(modes) or 'no copy anywhere'})"
            )
        if truth.site and running and truth.site != running[0] and not truth.site_failed:
            world.violate(Law.SITE_KNOWS, f"the site believes {ct} on {truth.site}, and it runs on {running[0]}")
        _kept_up(world, ct, running)
        if truth.connection != "kept" and not truth.loss and not truth.restarted:
            world.violate(Law.CONNECTION, f"the connection of {ct} is {truth.connection}, and no fault explains it")
    if not stuck:
        for left in leftovers(world):
            world.violate(Law.NOTHING_LEFT, f"left behind: {left}")


def _kept_up(world: World, ct: str, running: list[str]) -> None:
    for m in world.machines.values():
        record, keeper = m.disk.records.get(ct), m.up.keepers.get(ct)
        tree = m.disk.trees.get(ct)
        always = record is not None and tree is not None and tree.text("restart") == "always\n"
        if always and running == [m.name] and (keeper is None or not keeper.alive):
            world.violate(Law.KEPT_UP, f"{ct} is to run always, and nobody on {m.name} would start it again")


def at_goals(world: World, store: MemoryStore, goals: dict[str, str]) -> None:
    """A run that calls itself done has brought every container to where its plan has it at the end."""
    if [run.outcome for run in store.runs()] != ["done"]:
        return
    for ct, goal in goals.items():
        holders = [m.name for m in world.machines.values() if ct in m.disk.records]
        if holders != [goal]:
            world.violate(
                Law.CONVERGES, f"the run is done, and {ct} is on {', '.join(holders) or 'no node'}, not on {goal}"
            )


def older_than_the_world(world: World, backup: MemoryStore) -> bool:
    """Whether some node shows what a journal never announced: a token above its own, or a state it never began."""
    for run in backup.runs():
        newest = {migration.container: migration for migration in backup.migrations(run.id)}
        for migration in newest.values():
            begun = {str(event.state) for event in backup.events(migration.id)}
            for m in world.machines.values():
                record = m.disk.records.get(migration.container)
                if record is None or record.run != run.id:
                    continue
                if record.token > migration.token or ANNOUNCED.get(record.state, "planned") not in begun | {"planned"}:
                    return True
    return False


def leftovers(world: World) -> Iterator[str]:
    """Everything of a migration that is on any node."""
    for m in world.machines.values():
        ram = m.up
        yield from (f"job {'.'.join(map(str, key))} on {m.name}" for key in ram.jobs)
        yield from (f"images {key[0]}.{key[1]} on {m.name}" for key in ram.moves)
        yield from (f"private key {key[0]}.{key[1]} on {m.name}" for key in ram.keys)
        yield from (f"connection {key[0]}.{key[1]} from {m.name}" for key in ram.links)
        yield from (f"authorized key {key[0]}.{key[1]} on {m.name}" for key in m.disk.keys)
        yield from (f"part of a template {key[0]}.{key[1]} on {m.name}" for key in m.disk.parts)
        for ct, record in m.disk.records.items():
            if record.state not in ("serving", "stopped") or record.run != "-":
                yield f"record {ct} {record.state} of run {record.run} on {m.name}"
        yield from (f"files of {ct} on {m.name} without a record" for ct in m.disk.trees if ct not in m.disk.records)
        yield from (
            f"{copy.mode} copy of {copy.ct} on {m.name}" for copy in ram.copies.values() if copy.mode != "running"
        )
        for ct, keeper in ram.keepers.items():
            if keeper.alive and (ct not in m.disk.records or m.disk.records[ct].armed != "yes"):
                yield f"keeper of {ct} on {m.name}, which may not start it"
        yield from (f"new connections of {ct} held back on {m.name}" for ct in ram.held_back)
        yield from (f"cable of {ct} on {m.name}" for ct in ram.gates if ct not in ram.copies)


def fingerprint(world: World) -> list[str]:
    """All that a second resume must not change: copies, gates, files, records but for their token."""
    lines = []
    for m in world.machines.values():
        lines += [f"{m.name} {r.state} {ct} {r.generation} {r.run}" for ct, r in sorted(m.disk.records.items())]
        lines += [f"{m.name} files {ct} {tree.stamp}" for ct, tree in sorted(m.disk.trees.items())]
        if m.ram is not None:
            lines += [
                f"{m.name} {copy.mode} {ct} {copy.stamp}" for ct, copy in sorted(m.ram.copies.items()) if copy.counts
            ]
            lines += [f"{m.name} gate {ct} {is_open}" for ct, is_open in sorted(m.ram.gates.items())]
    return lines
