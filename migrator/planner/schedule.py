"""How long a plan takes, if each move takes as long as estimated."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence

from migrator.model.plan import PlannedMove


def makespan_s(moves: Sequence[PlannedMove], moves_per_node_max: int) -> float:
    """The end of the last move when each starts, in their order, as soon as its waits and its nodes' limits let it."""
    waiting, running, ended = list(moves), list[tuple[float, int]](), set[str]()
    busy: Counter[str] = Counter()
    now_s = 0.0
    while waiting or running:
        rest = []
        for move in waiting:
            free = busy[move.source] < moves_per_node_max and busy[move.target] < moves_per_node_max
            if free and ended.issuperset(move.waits_for):
                busy.update((move.source, move.target))
                heapq.heappush(running, (now_s + move.estimate.duration_s, moves.index(move)))
            else:
                rest.append(move)
        waiting = rest
        now_s, index = heapq.heappop(running)
        busy.subtract((moves[index].source, moves[index].target))
        ended.add(moves[index].container)
    return round(now_s, 3)
