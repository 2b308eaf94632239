"""Rings: containers that wait for each other's room, and who of them is put aside so that the others can move.

Theory. Taken one after the other, some moves never have room. What each of them lacks is held by another, so among
the nodes that they leave and enter there are rings (strongly connected components). A ring is opened by moving one
container to a third node, its stop-over; then the others follow one another, and it goes on to its goal: one move more
than there are containers. All that could be put aside are tried, those with the fewest bytes and seconds first, each
with what follows from it, and the first that empties the ring is taken. Where one is not enough, the one that lets most
others go is, and the rest is looked at again; and a search over single steps, by the number of moves (A*, whose bound
is the number of containers that are not where they are to be), looks for fewer, or for what no such step opens. It is
bounded by a count, so that equal input gives equal answers. Only containers that the plan moves are put aside.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from migrator.planner.ordering import Leg, at_the_end, has_room, sequence
from migrator.planner.room import stay_of
from migrator.planner.stop_overs import Ground, Stop

STOPS_MAX = 400  # stop-overs that are tried to open one ring
STEPS_MAX = 20_000  # moves that the search looks at
BYSTANDERS_MAX = 8  # of those that were named to stay, tried to be put aside
CLOSELY_MAX = 10  # containers up to which fewer moves are searched for, and all of them from the beginning
Order = tuple[Leg, ...]


def untangle(legs: Sequence[Leg], ground: Ground, closely: bool = True) -> tuple[Order, Order]:
    """The order in which moves start, stop-overs included, and those that never have room.

    Raises nothing: what no stop-over helps is in the second part. Without `closely` nothing is searched step by step.
    """
    order, blocked = sequence(legs, ground.rooms, seats=ground.seats)
    if not blocked or any(not has_room(ground.rooms[n], at_the_end(legs, n), True) for n in {g.target for g in legs}):
        return order, blocked  # where all of it never fits no stop-over helps
    scene = Scene(ground, order, blocked)
    while scene.left:
        opened = next((new for ring in rings(scene) if (new := _open(scene, ring, closely))), None)
        if opened is None:
            opened = _open(scene, tuple(scene.left), closely)
        if opened is None:
            break
        scene = opened
        scene.settle(scene.left)
    if scene.left and closely and len(legs) <= CLOSELY_MAX:  # what went first may have taken the room
        scene = _search(Scene(ground, (), tuple(legs)), [leg.mover.name for leg in legs]) or scene
    return tuple(scene.order), tuple(scene.left.values())


def untangle_beside(legs: Sequence[Leg], bystanders: Sequence[Leg], ground: Ground) -> Order:
    """The same order, where one of those that stay (their legs lead to where they are) goes aside and comes back; empty
    if there is none.
    """
    if len(legs) >= CLOSELY_MAX:
        return ()
    for one in bystanders[:BYSTANDERS_MAX]:
        wider = replace(ground, legs=(*ground.legs, one))
        scene = Scene(wider, (), (*legs, one))
        for stop in scene.choices([one.mover.name]):
            tried = scene.copy()
            tried.put_aside(stop)
            tried.settle(tried.left, stop.there.source)
            done = _open(tried, tuple(tried.left), closely=True) if tried.left else tried
            if done is not None:
                return tuple(done.order)
    return ()


class Scene:
    """Where everything is at one moment of a plan: `order` has been done, `left` has still to go, by container."""

    def __init__(self, ground: Ground, order: Sequence[Leg], left: Sequence[Leg]) -> None:
        self.ground = ground
        self.order = list[Leg]()
        self.left = {leg.mover.name: leg for leg in (*order, *left) if leg.number == 1}
        self.free = dict(ground.rooms)
        self.here = Counter((leg.source, thing) for leg in self.left.values() for thing in ground.apart(leg.mover))
        self.come = Counter[tuple[str, object]]()
        self.taken = ground.seats.first.copy()
        self.stops: tuple[Stop, ...] = ()
        self.extra = 0
        following = {(leg.mover.name, leg.number - 1): leg for leg in (*order, *left)}
        for leg in order:
            on = following.get((leg.mover.name, leg.number))
            if on is None:
                self.go(leg)
            else:
                self.put_aside(Stop(leg, on))

    def copy(self) -> Scene:
        """One to be changed by itself."""
        other = Scene.__new__(Scene)
        other.ground, other.stops, other.extra = self.ground, self.stops, self.extra
        other.order, other.left, other.free = self.order.copy(), self.left.copy(), self.free.copy()
        other.here, other.come, other.taken = self.here.copy(), self.come.copy(), self.taken.copy()
        return other

    def may(self, leg: Leg) -> bool:
        """Whether a move has room on both its nodes now, and meets nobody there that it must not meet."""
        coming = stay_of(leg.mover.container) + leg.transit(leg.target)
        return (
            has_room(self.free[leg.target], coming, True)
            and has_room(self.free[leg.source], leg.transit(leg.source), False)
            and not any(self.here[leg.target, thing] for thing in self.ground.apart(leg.mover))
            and self.ground.seats.free(self.taken, leg)
        )

    def go(self, leg: Leg) -> None:
        """Moves a container to its goal."""
        self._shift(leg)
        del self.left[leg.mover.name]
        self.come.update((leg.target, thing) for thing in self.ground.apart(leg.mover))

    def put_aside(self, stop: Stop) -> None:
        """Moves a container to a stop-over; from there it still has to go to its goal."""
        self._shift(stop.there)
        self.left[stop.on.mover.name] = stop.on
        self.here.update((stop.there.target, thing) for thing in self.ground.apart(stop.on.mover))
        self.stops += (stop,)
        self.extra += stop.cost

    def _shift(self, leg: Leg) -> None:
        stay = stay_of(leg.mover.container)
        self.free[leg.target] = self.free[leg.target] - stay
        self.free[leg.source] = self.free[leg.source] + stay
        self.here.subtract((leg.source, thing) for thing in self.ground.apart(leg.mover))
        if self.ground.seats:
            self.ground.seats.shift(self.taken, leg)
        self.order.append(leg)

    def settle(self, names: Collection[str], freed: str | None = None) -> None:
        """Moves of these containers all that can go to their goals, as long as one can.

        What has just left a node lets only those go that want to come there, or to leave it; `freed` is that node, if
        before it none could go.
        """
        waiting = {name: self.left[name] for name in names if name in self.left}
        about: dict[str, list[str]] = {}
        for name, leg in waiting.items():
            about.setdefault(leg.source, []).append(name)
            about.setdefault(leg.target, []).append(name)
        asked = deque(waiting if freed is None or self.ground.seats else about.get(freed, ()))
        while asked:
            name = asked.popleft()
            if name in waiting and self.may(waiting[name]):
                leg = waiting.pop(name)
                self.go(leg)
                asked.extend(waiting if self.ground.seats else about[leg.source])  # seats are not of one node alone

    def choices(self, names: Collection[str]) -> list[Stop]:
        """Where these containers could be put aside now, the cheapest first."""
        found = [
            stop
            for name in names
            for stop in self.ground.stops(self.left[name], self.stops)
            if self.may(stop.there) and not self.meets(stop)
        ]
        return sorted(found, key=lambda stop: stop.rank)

    def meets(self, stop: Stop) -> bool:
        """Whether somebody is there already that it must not share a node with."""
        node = stop.there.target
        held = self.ground.held(node)
        return any(thing in held or self.come[node, thing] for thing in self.ground.apart(stop.on.mover))


def rings(scene: Scene) -> Iterator[tuple[str, ...]]:
    """The containers of each ring, the smallest first."""
    # Most plans have no ring, and networkx takes longer to load than a small plan to make.
    import networkx as nx  # noqa: PLC0415

    graph = nx.MultiDiGraph()
    for name, leg in scene.left.items():
        graph.add_edge(leg.source, leg.target, container=name)
    found = [
        tuple(data["container"] for *_, data in graph.subgraph(nodes).edges(data=True))
        for nodes in nx.strongly_connected_components(graph)
        if len(nodes) > 1
    ]
    yield from sorted((tuple(sorted(ring)) for ring in found), key=lambda ring: (len(ring), ring))


def _open(scene: Scene, names: Sequence[str], closely: bool) -> Scene | None:
    """The scene once all of these containers are at their goals; None if no way there was found."""
    found = _by_steps(scene, names)
    if not closely or (found is not None and len(found.stops) - len(scene.stops) < 2):
        return found
    if found is not None and len(names) > CLOSELY_MAX:
        return found
    searched = _search(scene, names)
    if searched is None or (found is not None and len(found.order) <= len(searched.order)):
        return found
    return searched


def _by_steps(scene: Scene, names: Sequence[str]) -> Scene | None:
    """One container after the other put aside, each time the one that lets most others go."""
    while left := [name for name in names if name in scene.left]:
        best: Scene | None = None
        least = len(left)
        for stop in scene.choices(left)[:STOPS_MAX]:
            tried = scene.copy()
            tried.put_aside(stop)
            tried.settle(left, stop.there.source)
            still = sum(name in tried.left for name in left)
            if still < least:
                best, least = tried, still
            if not still:
                break
        if best is None:
            return None
        scene = best
    return scene


def _search(scene: Scene, names: Sequence[str]) -> Scene | None:
    """The fewest moves that bring all of these containers to their goals, of those the cheapest; within a bound."""

    def missing(of: Scene) -> int:
        return sum(name in of.left for name in names)

    def places(of: Scene) -> tuple[str, ...]:
        return tuple(of.left[name].source if name in of.left else "" for name in names)

    numbers = count()
    waiting = [(missing(scene), 0, missing(scene), next(numbers), scene)]
    known: dict[tuple[str, ...], tuple[int, int]] = {}
    tried = 0
    while waiting and tried < STEPS_MAX:
        *_, still, _, at = heapq.heappop(waiting)
        if not still:
            return at
        reached = (len(at.order), at.extra)
        if known.get(places(at), reached) < reached:
            continue
        for child in _steps(at, [name for name in names if name in at.left]):
            tried += 1
            cost = (len(child.order), child.extra)
            if known.get(places(child), (len(child.order) + 1, 0)) > cost:
                known[places(child)] = cost
                left = missing(child)
                moves = len(child.order) - len(scene.order)
                heapq.heappush(waiting, (moves + left, child.extra - scene.extra, left, next(numbers), child))
    return None


def _steps(scene: Scene, left: Sequence[str]) -> Iterator[Scene]:
    """Every scene that is one move away."""
    for name in left:
        if scene.may(scene.left[name]):
            child = scene.copy()
            child.go(scene.left[name])
            yield child
    for stop in scene.choices(left):
        child = scene.copy()
        child.put_aside(stop)
        yield child


def said(legs: Sequence[Leg], reasons: Mapping[str, str]) -> dict[str, str]:
    """The reason of each move, by its name: `reasons` has those of the containers' last ones."""
    goals = {leg.mover.name: leg.target for leg in legs}
    last = {leg.mover.name: leg.name for leg in legs}
    return {
        leg.name: reasons[leg.mover.name]
        if last[leg.mover.name] == leg.name
        else f"put aside, so that others can move: {leg.source} is needed, {goals[leg.mover.name]} has no room yet"
        for leg in legs
    }
