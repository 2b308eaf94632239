"""python -m migrator.demo.fleets: a fleet of any size in Ganeti's text format, the same for the same seed.

Theory. Nodes of 256 GiB and 64 CPUs, about 75 % full when there are ten containers a node: sizes are powers of two from
1 to 64 GiB, dealt from a shuffled deck, 19.4 GiB in the mean. Five containers at a time share a tag `svc:N` and stand
on five nodes, for they exclude each other. Places are drawn by chance, and one is taken only if the node can still be
emptied: its containers taken smallest first, each has room for its images beside what is left.
"""

from __future__ import annotations

import argparse
import random
import sys
from bisect import insort
from dataclasses import dataclass, field

NODE_MIB = 256 << 10
OWN_MIB = 1 << 10
NODE_DISK_MIB = 4 << 20
NODE_CPUS = 64
CPU_RATIO = 16.0
IMAGE_MARGIN_MIB = 64
SIZES_MIB = tuple(gib << 10 for gib in (1, 2, 4, 8, 16, 16, 32, 32, 64))
DISK_MIB = 10 << 10
CPUS = (2, 4, 8)
GROUP = 5
TRIES = 16  # nodes drawn by chance before the emptiest are asked

_TYPES = "diskless,file,sharedfile,plain,blockdev,drbd,rbd,ext"
_POLICY = f"128,1,1024,1,1,1|128,1,1024,1,1,1;262144,16,1048576,16,8,12|{_TYPES}|{CPU_RATIO}|32.0"


@dataclass(slots=True)
class _Node:
    """What a node holds, in MiB: `sizes_mib` ascending."""

    name: str
    free_mib: int = NODE_MIB - OWN_MIB
    sizes_mib: list[int] = field(default_factory=list)
    group: int = -1  # the group that was the last to come

    def takes(self, size_mib: int, group: int) -> bool:
        """Whether one more has room, is not beside one of its group, and leaves a node that can be emptied."""
        if self.group == group or self.free_mib < size_mib:
            return False
        free_mib = self.free_mib - size_mib
        for held_mib in sorted((*self.sizes_mib, size_mib)):
            if free_mib < held_mib + IMAGE_MARGIN_MIB:
                return False
            free_mib += held_mib
        return True

    def take(self, size_mib: int, group: int) -> None:
        self.free_mib -= size_mib
        self.group = group
        insort(self.sizes_mib, size_mib)


def fleet_text(nodes: int, containers: int, emptied: int, seed: int = 1, racks: int = 0) -> str:
    """A fleet's file: the first `emptied` nodes are marked Y. ValueError if the containers do not all find a place.

    With `racks` every node has a tag rack:rN, round about; a link that a rack shares is given when it is imported.
    """
    chance = random.Random(seed)
    made = [_Node(f"n{number:05d}") for number in range(nodes)]
    instances: list[str] = []
    deck: list[int] = []
    for number in range(containers):
        deck = deck or chance.sample(SIZES_MIB, len(SIZES_MIB))
        group, size_mib = number // GROUP, deck.pop()
        home = _home(made, size_mib, group, chance)
        home.take(size_mib, group)
        cpus = chance.choice(CPUS)
        instances.append(
            f"i{number:06d}|{size_mib}|{DISK_MIB}|{cpus}|running|Y|{home.name}||rbd|svc:{group}|1",
        )
    rows = [
        f"{node.name}|{NODE_MIB}|{OWN_MIB}|{node.free_mib}|{NODE_DISK_MIB}|{NODE_DISK_MIB}|{NODE_CPUS}|"
        f"{'Y' if number < emptied else 'M' if number == nodes - 1 else 'N'}|u1|1"
        + (f"|rack:r{number % racks + 1}" if racks else "")
        for number, node in enumerate(made)
    ]
    parts = (["g1|u1|preferred||"], rows, instances, ["htools:iextags:svc"], [f"|{_POLICY}", f"g1|{_POLICY}"])
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def ring_text(full: int) -> str:
    """So many full nodes with one container of 48 GiB each, and one node of the same size that is free.

    A node has room for one of them that comes beside the headroom, and for no second one.
    """
    size_mib, node_mib = 48 << 10, 96 << 10
    rows = [
        f"n{number:05d}|{node_mib}|{OWN_MIB}|{node_mib - OWN_MIB - (size_mib if number < full else 0)}|{NODE_DISK_MIB}|"
        f"{NODE_DISK_MIB}|{NODE_CPUS}|N|u1|1"
        for number in range(full + 1)
    ]
    instances = [f"i{n:06d}|{size_mib}|{DISK_MIB}|4|running|Y|n{n:05d}||rbd||1" for n in range(full)]
    parts = (["g1|u1|preferred||"], rows, instances, [""], [f"|{_POLICY}", f"g1|{_POLICY}"])
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _home(nodes: list[_Node], size_mib: int, group: int, chance: random.Random) -> _Node:
    """A node by chance, or the emptiest that takes it."""
    for _ in range(TRIES):
        node = nodes[chance.randrange(len(nodes))]
        if node.takes(size_mib, group):
            return node
    fits = (node for node in nodes if node.takes(size_mib, group))
    found = max(fits, key=lambda node: (node.free_mib, node.name), default=None)
    if found is None:
        raise ValueError(f"no node takes {size_mib} MiB more")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.fleets", description=__doc__)
    parser.add_argument("nodes", type=int)
    parser.add_argument("containers", type=int)
    parser.add_argument("emptied", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--racks", type=int, default=0, help="tag the nodes with so many racks")
    given = parser.parse_args()
    sys.stdout.write(fleet_text(given.nodes, given.containers, given.emptied, given.seed, given.racks))


if __name__ == "__main__":
    main()
