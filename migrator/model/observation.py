"""What one node says of one container when asked: the record it keeps, and what is really there."""

from __future__ import annotations

from dataclasses import dataclass

# What a record may say, and what may really be there. A node that tells anything else is not understood.
STATES = frozenset({"absent", "reserved", "serving", "stopped", "fenced", "sealed", "held", "released"})
PROCESSES = frozenset({"none", "frozen", "running"})
COUNTER_MAX = 10**15  # of tokens and generations: one more can still be counted, and told to a node
MEMORY = frozenset({"none", "follows", "lost"})
GATES = frozenset({"none", "open", "closed"})


@dataclass(frozen=True, slots=True)
class Observation:
    """`state` is the record's; `same_boot` whether the node has been up since it was written.

    `processes` is none, frozen or running; `held` whether a restored copy waits for its release; `floor` the highest
    token of the container's records that were removed there: a new one has to be above it. `memory`
    is, in post-copy, whether the rest of it follows, or is lost, and the copy with it; none when all of it is there.
    `cold` is whether the record is of a move by restart: a source that is fenced or sealed for one was stopped.
    """

    state: str = "absent"
    token: int = 0
    generation: int = 0
    run: str = "-"
    same_boot: bool = True
    processes: str = "none"
    gate: str = "none"
    held: bool = False
    jobs: tuple[str, ...] = ()
    floor: int = 0
    memory: str = "none"
    cold: bool = False

    @property
    def alive(self) -> bool:
        return self.processes != "none"

    @property
    def whole(self) -> bool:
        """Whether a source that is fenced or sealed has all that its container is: in memory, or, if it was stopped for
        the move, in its files, which a reboot leaves."""
        return self.cold or (self.alive and self.same_boot)

    @property
    def holds(self) -> bool:
        """Whether a restored copy waits here for its release. One whose node's disk was full is not in the record,
        which then is of whatever boot the lease was in; held, it is of this one."""
        return self.held and (self.state == "reserved" or (self.state == "held" and self.same_boot))
