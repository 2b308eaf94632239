"""What an operator allows: bounds on a run, with defaults that suit a first drain."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.model.modes import AUTO, STOP_TIMEOUT_S

BLACKOUT_S_MAX = 15.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds on moves.

    `blackout_s_max` is both the longest predicted pause that is begun and the deadline of the watchdog.
    `moves_per_node_max` counts moves that leave or enter a node at one time; `overlapping_pauses` is whether pauses of
    several may overlap on one link. `key_lifetime_s` outlasts the template and every pass, each as long as
    `job_timeout_s` lets it be: a key that has ended receives nothing more, even mid-move. `mode` is one of modes.Mode,
    or auto, which may also take what the plan's policy allows. `fill_timeout_s` bounds how long the orchestrator waits
    for memory that follows; the container runs meanwhile, and after it. `verify_files` compares both sides' files in
    the pause. Pre-copy ends when a pause under `target_blackout_s` is predicted (None: a fifth of a second over what
    no round can shorten), or after `rounds_max`; `not_convergent` is one of modes.WAYS_OUT, and empty is to give up
    where pre-copy was asked for by name and to go on with a longer pause where auto took it. `stop_timeout_s` is how
    long a container that is moved by restart may take to end by itself. `bandwidth_bytes_per_s` bounds what one move
    sends, memory and files; pages that a process waits for are not held back. `checks_waived` are the checks of
    sameness.py that nodes need not pass.
    """

    blackout_s_max: float = BLACKOUT_S_MAX
    moves_per_node_max: int = 2
    seed_passes_max: int = 3
    seed_rest_bytes_max: int = 4_000_000
    job_timeout_s: float = 3600.0
    recovery_timeout_s: float = 60.0
    key_lifetime_s: int = 18_000
    overlapping_pauses: bool = False
    mode: str = AUTO
    fill_timeout_s: float = 3600.0
    verify_files: bool = False
    target_blackout_s: float | None = None
    rounds_max: int = 8
    not_convergent: str = ""
    stop_timeout_s: float = STOP_TIMEOUT_S
    bandwidth_bytes_per_s: int | None = None
    checks_waived: tuple[str, ...] = ()
