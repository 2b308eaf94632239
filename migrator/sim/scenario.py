"""What a seed means: the nodes, the containers, what is asked for, and what goes wrong when. Data, so it can shrink."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

STEPS = 210  # moments of one undisturbed migration; later ones fall into its recovery
CALLS = 39
WRITES = 28
ASKED_WRITES, ASKED = (16, 26), (153, 174)  # about the site's hooks, from the verification to after the release
HELD = (141, 152)  # moments about the hold and the seal
FENCING, LAST_PASS = (106, 118), (114, 134)
LEASE_CALL, FENCE_CALL = 7, 24  # an undisturbed migration's calls: its lease on the target, its fence
FROZEN_WRITES = (11, 24)  # from the fence's begin to the end of the source
DECIDING_WRITES = (15, 21)  # from the restore's end to the release's
RELEASED_WRITES, RELEASED = (21, 22), (165, 170)  # the release is over, the end of the source is not
SEALING = (153, 157)  # moments after the seal's begin and before the commit
SEALING_WRITES = (12, 18)  # from the fence's end to the seal's: undecided
# The moments of an undisturbed migration's FROZEN_WRITES; a third node or a template to be sent makes them a few later.
MOMENTS = (101, 113, 136, 136, 150, 150, 150, 156, 156, 156, 164, 164, 173, 173)

FENCED, NOT_DUMPED = 116, 24  # the fence's end, and how many moments after it a move by restart does without

# What befalls an orchestrator's n-th call, its n-th write, or anything at the world's n-th moment.
CALL_FAULTS = ("cut-before", "cut-mid", "cut-after", "late", "twice")
WRITE_FAULTS = ("kill-before-write", "kill-after-write")
HOOK_FAULTS = ("hook-fails", "hook-hangs")  # of an orchestrator's n-th call of a hook; one that hangs was effective
STEP_FAULTS = (
    "kill",
    "stall",
    "crash",
    "hang",
    "part",
    "slow",
    "disk-full",
    "restore-fails",
    "release-fails",
    "dump-fails",
    "criu-killed",
    "receiver-dies",
    "copy-dies",
    "process-dies",
    "clock-jumps",
)
OFTEN = ("process-dies", "process-dies", "receiver-dies", "receiver-dies", "slow", "crash")
HOT = (84, 175)  # the moments between the last pass and the end: half of what goes wrong goes wrong there


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` counts calls or writes of orchestrator `who`, or moments of the world, by kind.

    `seconds` is how long it lasts; 0 is until everything is healed. A late command is so late, or for 0 as late as the
    world's chance has it. `node` and `other` are the ends it is about.
    """

    kind: str
    at: int
    who: int = 0
    node: str = ""
    other: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        where = "-".join(end for end in (self.node, self.other) if end) or f"orchestrator {self.who}"
        counted = {**dict.fromkeys((*CALL_FAULTS, *HOOK_FAULTS), "call"), **dict.fromkeys(WRITE_FAULTS, "write")}
        unit = counted.get(self.kind, "moment")
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind} of {where} at {unit} {self.at}{lasting}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One life of a small cluster: `containers` on the nodes that are drained, or one that is migrated.

    With `ring` so many nodes are full, each with one container that goes to the next, and one more node is free: one
    container moves twice.

    `second` is what a second orchestrator does from moment `second_at` on: "duel" moves the same container by a
    journal of its own, "rival" another one to the same node, which has room for one of them, "steal" resumes the first
    one's run from another machine, "backup" resumes it from a backup of the journal taken at moment `backup_at`, "twin"
    is two operators who end the first one's run at one moment, each by a copy of its journal. The operator comes
    `patience_s` after the run has ended or its orchestrator has died, goes back instead of forward if `back`, and
    finds everything healed only at the second try if `early`.
    """

    seed: int
    nodes: int = 2
    containers: int = 1
    drained: int = 0
    ring: int = 0
    templates: bool = True  # whether every node has the template
    deadline_s: float = 15.0
    second: str = ""
    second_at: int = 0
    backup_at: int = 0
    patience_s: float = 0.0
    back: bool = False
    early: bool = False
    hooks: bool = False  # whether the site is told where containers are
    restart: bool = False  # whether the nodes' restarters start the containers again
    streams: bool = False  # whether memory is streamed, or goes by images
    follows: bool = False  # whether memory that is streamed follows after the release
    rounds: bool = False  # whether memory that is streamed is copied in rounds before
    cold: bool = False  # whether containers are moved by restart
    faults: tuple[Fault, ...] = ()

    def lines(self) -> list[str]:
        """What happens, for people."""
        what = f"drain of {self.drained} with {self.containers} containers" if self.drained else "1 migration"
        what = f"ring of {self.ring} full nodes" if self.ring else what
        second = f", {self.second} at moment {self.second_at}" if self.second else ""
        return [f"seed {self.seed}: {what} over {self.nodes} nodes{second}", *(f"  {fault}" for fault in self.faults)]


def generate(seed: int) -> Scenario:
    """The scenario of a seed: mostly one migration with one to three faults. Every kind of life has its turn."""
    scenario = _generate(seed)
    return in_cold_time(scenario) if scenario.cold and scenario.containers == 1 else scenario


def in_cold_time(scenario: Scenario) -> Scenario:
    """The same for a move by restart, in which nothing is dumped: all that comes after the fence comes earlier."""

    def earlier(at: int) -> int:
        return at - min(NOT_DUMPED, max(0, at - FENCED))

    faults = tuple(replace(f, at=earlier(f.at)) if f.kind in STEP_FAULTS else f for f in scenario.faults)
    second_at, backup_at = earlier(scenario.second_at), earlier(scenario.backup_at)
    return replace(scenario, faults=faults, second_at=second_at, backup_at=backup_at)


def _generate(seed: int) -> Scenario:
    rng = Random(seed)
    turn = seed % 8
    drain = turn == 0 and rng.random() < 0.5
    scenario = Scenario(
        seed=seed,
        nodes=3 if drain else rng.choice((2, 2, 3)),
        containers=rng.randint(2, 4) if drain else 1,
        drained=int(drain),
        templates=rng.random() < 0.8,
        deadline_s=rng.choice((3.0, 15.0, 15.0)),
        patience_s=rng.choice((0.0, 0.0, 2.0, 200.0)),
        back=rng.random() < 0.3,
        early=rng.random() < 0.3,
        restart=rng.random() < 0.5,
        streams=Random(~seed).random() < 0.6,
        follows=Random(~seed).random() < 0.3,
        cold=Random(seed ^ 0xC01D).random() < 0.2,
    )
    if turn == 1:
        patient = replace(scenario, deadline_s=3.0, patience_s=200.0)
        return replace(patient, nodes=2, templates=True, restart=False, faults=_ghost(rng))
    if turn in (2, 3):
        return replace(scenario, early=True, faults=_crux(rng))
    if turn == 4:
        scenario = _with_a_second(rng, scenario)
        if scenario.second == "backup":
            return _with_a_backup(rng, scenario)
        if scenario.second == "twin":
            return _with_twins(rng, scenario)
    if turn == 7 and rng.random() < 0.5:
        scenario = _ring(rng, scenario)
    if turn in (5, 6):
        scenario = replace(scenario, hooks=True)
        if turn == 5:
            return replace(scenario, early=rng.random() < 0.5, faults=_asked(rng, scenario))
    scenario = replace(
        scenario,
        rounds=scenario.streams and not (scenario.follows or scenario.cold) and Random(~seed * 7).random() < 0.6,
    )
    count = rng.choices((0, 1, 2, 3, 4), weights=(3, 42, 32, 16, 7))[0]
    return replace(scenario, faults=tuple(_fault(rng, scenario) for _ in range(count)))


def _ring(rng: Random, scenario: Scenario) -> Scenario:
    """Full nodes that exchange what they hold, by one orchestrator, or by two with one journal or two."""
    size = rng.choice((2, 2, 3))
    second = rng.choice(("", "", "", "steal", "duel", "backup"))
    at, backup_at = (rng.randint(1, STEPS * (size + 1)) for _ in range(2))
    return replace(
        scenario,
        ring=size,
        nodes=size + 1,
        containers=size,
        second=second,
        second_at=at if second else 0,
        backup_at=backup_at if second == "backup" else 0,
    )


def _with_a_second(rng: Random, scenario: Scenario) -> Scenario:
    second = rng.choice(("duel", "duel", "rival", "steal", "backup", "backup", "twin", "twin"))
    at = rng.randint(1, 30) if second in ("duel", "rival") and rng.random() < 0.7 else _moment(rng)
    containers = 2 if second == "rival" else 1
    return replace(scenario, second=second, second_at=at, backup_at=_moment(rng), containers=containers)


def _with_a_backup(rng: Random, scenario: Scenario) -> Scenario:
    """A journal from before the world went on, to a moment at which only the newer one may decide."""
    if rng.random() < 0.3:  # it was taken at the seal, and the target, which has been released since, is silent
        kill = Fault(rng.choice(WRITE_FAULTS), rng.randint(*RELEASED_WRITES))
        silent = Fault("hang", rng.randint(*RELEASED), node="n2", seconds=90.0)
        backup_at = rng.randint(*SEALING)
        return replace(scenario, early=True, patience_s=0.0, backup_at=backup_at, faults=(kill, silent))
    kill = Fault(rng.choice(WRITE_FAULTS), rng.randint(*rng.choice((SEALING_WRITES, FROZEN_WRITES))))
    faults = (kill, *(_fault(rng, scenario) for _ in range(rng.choice((0, 0, 1, 2)))))
    if rng.random() < 0.3:
        return replace(scenario, faults=faults)
    return replace(scenario, backup_at=_moment_of(kill) - rng.randint(0, 70), faults=faults)


def _with_twins(rng: Random, scenario: Scenario) -> Scenario:
    """An orchestrator that dies when the container is frozen, which two then want to end in their own way."""
    kill = Fault(rng.choice(WRITE_FAULTS), rng.randint(*rng.choice((DECIDING_WRITES, FROZEN_WRITES))))
    faults = (kill, *(_fault(rng, scenario) for _ in range(rng.choice((0, 0, 1)))))
    return replace(scenario, second_at=0, backup_at=0, faults=faults)


def _moment_of(kill: Fault) -> int:
    return MOMENTS[kill.at - FROZEN_WRITES[0]]


def _ghost(rng: Random) -> tuple[Fault, ...]:
    """What happens at one moment alone: a command that comes late into a world that has moved on, after a watchdog or
    an abort; a fence that dies half-way; a last pass that dies."""
    draw = rng.random()
    if draw < 0.4:
        after_the_watchdog_s = rng.choice((0.0, round(rng.uniform(3.0, 8.0), 1)))
        call = rng.choice((FENCE_CALL, FENCE_CALL, FENCE_CALL, FENCE_CALL + 2))
        late = Fault("late", call, seconds=after_the_watchdog_s)
        return late, Fault("stall", rng.randint(*HELD), seconds=rng.choice((6.0, 6.0, 20.0)))
    if draw < 0.55:
        return (Fault("process-dies", rng.randint(*FENCING), node="n1"),)
    if draw < 0.7:
        return (Fault("receiver-dies", rng.randint(*LAST_PASS), node="n2"),)
    late = Fault("late", rng.choice((LEASE_CALL, rng.randint(LEASE_CALL - 1, FENCE_CALL))))
    broken = rng.choice((("dump-fails", "n1"), ("restore-fails", "n2"), ("disk-full", "n2")))
    return late, Fault(broken[0], rng.randint(60, 120), node=broken[1])


def _crux(rng: Random) -> tuple[Fault, ...]:
    """What recovery is for: the orchestrator dies between fence and end, and one node dies or cannot be reached."""
    kill = Fault(rng.choice(WRITE_FAULTS), rng.randint(*rng.choice((FROZEN_WRITES, DECIDING_WRITES))))
    node = rng.choice(("n1", "n2"))
    at = _moment_of(kill) + rng.randint(-8, 12)
    if rng.random() < 0.5:
        return kill, Fault("part", at, node="o0", other=node, seconds=rng.choice((0.0, 30.0)))
    return kill, Fault("crash", at, node=node, seconds=rng.choice((0.0, 5.0, 5.0, 30.0)))


def _asked(rng: Random, scenario: Scenario) -> tuple[Fault, ...]:
    """What befalls a site's hooks: they fail or hang, or who calls them dies, and perhaps something else."""
    draw = rng.random()
    if draw < 0.4:
        first = Fault(rng.choice(HOOK_FAULTS), rng.choice((1, 1, 1, 2)))
    elif draw < 0.8:
        first = Fault(rng.choice(WRITE_FAULTS), rng.randint(*ASKED_WRITES))
    else:
        first = Fault("kill", rng.randint(*ASKED))
    return first, *(_fault(rng, scenario) for _ in range(rng.choice((0, 0, 1))))


def fleet(seed: int) -> Scenario:
    """A large drain: 20 nodes with 400 containers, onto 20 others, and a fault for every tenth container."""
    rng = Random(seed)
    scenario = Scenario(seed=seed, nodes=40, drained=20, containers=400)
    return replace(scenario, faults=tuple(_fault(rng, scenario) for _ in range(40)))


def _moment(rng: Random) -> int:
    return rng.randint(*HOT) if rng.random() < 0.5 else rng.randint(1, STEPS)


def _fault(rng: Random, scenario: Scenario) -> Fault:
    names = [f"n{number + 1}" for number in range(scenario.nodes)]
    who = 1 if scenario.second and rng.random() < 0.3 else 0
    scale = scenario.ring + 1 if scenario.ring else scenario.containers
    draw = rng.random()
    if draw < 0.22:
        return Fault(rng.choice(CALL_FAULTS), rng.randint(1, CALLS * scale), who)
    if draw < 0.40:
        return Fault(rng.choice(WRITE_FAULTS), rng.randint(1, WRITES * scale), who)
    kind = rng.choice((*STEP_FAULTS, *OFTEN))
    at = rng.randint(1, STEPS * scale) if scale > 1 else _moment(rng)
    if kind == "kill":
        return Fault(kind, at, who)
    if kind == "stall":
        return Fault(kind, at, who, seconds=rng.choice((5.0, 40.0, 120.0)))
    if kind == "part":
        one, other = rng.sample([*names, "o0"], 2)
        return Fault(kind, at, node=one, other=other, seconds=rng.choice((0.0, 5.0, 5.0, 60.0)))
    if kind == "slow":
        return Fault(kind, at, node=names[0], other=rng.choice(names[1:]), seconds=rng.choice((20.0, 400.0)))
    if kind == "clock-jumps":
        return Fault(kind, at, node=rng.choice(names), seconds=rng.choice((-86400.0, 86400.0)))
    lasting = {"crash": (0.0, 5.0, 30.0), "hang": (3.0, 25.0, 90.0), "disk-full": (0.0, 5.0)}.get(kind, (0.0,))
    return Fault(kind, at, node=rng.choice(names), seconds=rng.choice(lasting))
