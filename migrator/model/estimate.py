"""How long a move takes and how long the pause is, in each mode, before anything is touched.

Theory. A move is set up (`setup_s`), its files go, it is paused, and then memory may follow. Of a pause one part does
not grow with bytes (`Rates.constant_s`, and there where it was measured); the rest depends on the mode:

| mode          | in the pause, beside the constant                    | before it               | after it            |
|---------------|------------------------------------------------------|-------------------------|---------------------|
| stop-and-copy | memory / rate (by images: written and read as well)  |                         |                     |
| post-copy     | what the restore itself touches / rate               | huge pages              | memory / rate       |
| pre-copy      | what the last round left / rate                      | rounds (rounds.py)      | rounds are placed   |
| restart       | the time it takes to end, at most `stop_timeout_s`   |                         |                     |

To each pause is added what the last pass over the files has to look at (file_passes.py): it goes beside memory, over
the same link and by the same processors. And where it is dumped, what packing its files in memory takes (tmpfs).

The rate is the slowest of what the machinery reaches (rates.py) and the speeds that links declare, a node's own or one
that nodes share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from migrator.model.facts import ContainerFacts, Link
from migrator.model.file_passes import PASSES_MAX, ExpectedPasses, passes_of, tmpfs_s
from migrator.model.modes import ROUNDS_REST_S, STOP_TIMEOUT_S, Mode
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES, Rates
from migrator.model.rounds import ExpectedRounds, rounds_of

# Of post-copy, what goes in the pause: images without pages (1.2 MB were seen), and the pages that a restore touches.
FOLLOW_PAUSE_BYTES = 2_000_000
# What rounds have brought is read from the target's memory as images are, when the container runs there already.
ROUNDS_READ_BYTES_PER_S = DEFAULT_RATES["images"].restore_bytes_per_s
# Memory that will follow is gathered into huge pages before (kit/huge_pages.py), for so long at most. It goes beside
# the files and what else seeding does, which takes about so long.
GATHER_BYTES_PER_S, GATHER_S_MAX, SEEDING_S = 500_000_000, 60.0, 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one move will cost. `blackout_s` is from the freeze to the release on the target.

    `memory_bytes` is all that crosses the link of its memory: `ahead_bytes` of it in `rounds` but the last, before the
    pause (pre-copy), `following_bytes` after it (post-copy). Until all of it is in its place `following_s` of
    `duration_s` pass after the pause. At files that are written meanwhile passes look again for `files_again_s` before
    the pause, and in it `files_pause_s` go to them and to files that lie in memory (tmpfs). For `gather_s` nothing
    is done but gathering memory into huge pages, before the pause (post-copy).
    """

    memory_bytes: int
    files_bytes: int
    blackout_s: float
    duration_s: float
    rounds: int = 1
    ahead_bytes: int = 0
    following_bytes: int = 0
    following_s: float = 0.0
    files_again_s: float = 0.0
    files_pause_s: float = 0.0
    gather_s: float = 0.0

    @property
    def bytes(self) -> int:
        return self.memory_bytes + self.files_bytes

    @property
    def paused_bytes(self) -> int:
        """Memory that is sent in the pause."""
        return self.memory_bytes - self.ahead_bytes - self.following_bytes

    @property
    def ready_s(self) -> float:
        """How long it takes until its pause."""
        return self.duration_s - self.blackout_s - self.following_s


@dataclass(frozen=True, slots=True)
class Manner:
    """How a move is to be made: its mode, and what bounds it.

    `written_bytes_per_s` is how fast the container was seen to write its memory; None where it was not.
    """

    mode: Mode = Mode.STOP_AND_COPY
    stop_timeout_s: float = STOP_TIMEOUT_S
    target_blackout_s: float | None = None
    rounds_max: int = 8
    written_bytes_per_s: int | None = None


PLAIN = Manner()


def manner_of(mode: Mode, policy: Policy, written_bytes_per_s: int | None = None) -> Manner:
    """How a move is made by this mode under what an operator allows."""
    return Manner(mode, policy.stop_timeout_s, policy.target_blackout_s, policy.rounds_max, written_bytes_per_s)


def send_rate_bytes_per_s(source: Link, target: Link, rates: Rates, shared: Iterable[int] = ()) -> int:
    """The slowest of what the machinery reaches, what the two ends of the link declare, and the speeds of the `shared`
    links between them, all in bytes a second.
    """
    declared = [rate for rate in (source.up_bytes_per_s, target.down_bytes_per_s) if rate]
    return min([rates.send_bytes_per_s, *declared, *shared])


def estimate_move(
    container: ContainerFacts,
    source: Link,
    target: Link,
    rates: Rates,
    shared: Iterable[int] = (),
    manner: Manner = PLAIN,
) -> Estimate:
    """Predicts a move of a container over links that nothing else uses.

    `shared` are the speeds of the links between the two nodes that they share with others (`Crossings.speeds`).
    """
    rate = send_rate_bytes_per_s(source, target, rates, shared)
    memory, files, mode = container.anon_bytes, container.files_bytes, manner.mode
    files_rate = min(rate, rates.files_bytes_per_s)
    before_s, rounds, ahead, following, gather_s = rates.setup_s + files / files_rate, 1, 0, 0, 0.0
    if mode is Mode.RESTART:
        memory = 0
    elif mode is Mode.POST_COPY:
        following = max(0, container.paged_bytes - FOLLOW_PAUSE_BYTES)
        gather_s = round(
            max(0.0, min(following / GATHER_BYTES_PER_S, GATHER_S_MAX) - SEEDING_S - files / files_rate), 3
        )
        before_s += gather_s
    elif mode is Mode.PRE_COPY:
        expected = expected_rounds(container, source, target, rates, shared, manner)
        rounds, ahead = len(expected.sizes_bytes) + 1, expected.ahead_bytes
        memory = ahead + expected.rest_bytes + container.tmpfs_bytes
        before_s += expected.ahead_s
    packed_s = 0.0 if mode is Mode.RESTART else tmpfs_s(container)
    paused = memory - ahead - following
    blackout_s = paused / rate + sum(silent_s(mode, rates, paused, manner.stop_timeout_s))
    passes = _passes(container, files_rate, manner, blackout_s + packed_s)
    files_again_s, files_pause_s = round(passes.ahead_s, 3), round(passes.last_s + packed_s, 3)
    blackout_s, before_s = blackout_s + files_pause_s, before_s + files_again_s
    following_s = following / rate + ahead / ROUNDS_READ_BYTES_PER_S
    return Estimate(
        memory_bytes=memory,
        files_bytes=files + passes.again_bytes,
        blackout_s=round(blackout_s, 3),
        duration_s=round(before_s + blackout_s + following_s, 3),
        rounds=rounds,
        ahead_bytes=ahead,
        following_bytes=following,
        following_s=round(following_s, 3),
        files_again_s=files_again_s,
        files_pause_s=files_pause_s,
        gather_s=gather_s,
    )


def passes_of_move(
    container: ContainerFacts, source: Link, target: Link, rates: Rates, shared: Iterable[int], manner: Manner
) -> ExpectedPasses:
    """The passes over the files that a move over these links is expected to need."""
    shared = tuple(shared)
    told = estimate_move(container, source, target, rates, shared, manner)
    files_rate = min(send_rate_bytes_per_s(source, target, rates, shared), rates.files_bytes_per_s)
    packed_s = 0.0 if manner.mode is Mode.RESTART else tmpfs_s(container)
    return _passes(container, files_rate, manner, told.blackout_s - told.files_pause_s + packed_s)


def _passes(container: ContainerFacts, rate_bytes_per_s: float, manner: Manner, others_s: float) -> ExpectedPasses:
    target_s = manner.target_blackout_s
    more_max = PASSES_MAX if target_s is None else manner.rounds_max
    return passes_of(container, rate_bytes_per_s, files_wanted_s(target_s, others_s), more_max)


def files_wanted_s(target_s: float | None, others_s: float) -> float:
    """How long the pass over the files in the pause may take, where a pause of `target_s` is wanted and the rest of it
    is predicted to take `others_s`; None is what is usual.
    """
    return ROUNDS_REST_S if target_s is None else max(0.0, target_s - others_s)


def silent_s(mode: Mode, rates: Rates, paused_bytes: int, stop_timeout_s: float) -> tuple[float, float]:
    """What of a pause sends no memory: the seconds before its pages go over the link, and those after."""
    constant_s = rates.constant_s(mode)
    if mode is Mode.RESTART:
        return stop_timeout_s + constant_s, 0.0
    written_s, read_s = rates.images_s(paused_bytes)
    return constant_s + written_s, read_s


def expected_rounds(
    container: ContainerFacts, source: Link, target: Link, rates: Rates, shared: Iterable[int], manner: Manner
) -> ExpectedRounds:
    """The rounds of pre-copy that a move over these links is expected to need."""
    return rounds_of(
        container.paged_bytes,
        send_rate_bytes_per_s(source, target, rates, shared),
        manner.written_bytes_per_s,
        manner.target_blackout_s,
        rates.constant_s(Mode.PRE_COPY),
        manner.rounds_max,
    )
