"""What a move is expected to take under a plan's policy: by the mode that is asked for, or that auto would take.

Auto takes the shortest predicted pause (modes.choose). What a plan counts of that are stop-and-copy and, where it is
allowed, post-copy. Whether rounds of pre-copy are worth their memory is seen when the move begins, by what the target
has free then; they make its pause shorter than the plan says.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrator.model.estimate import Estimate, Manner, estimate_move
from migrator.model.facts import ContainerFacts, Link, NodeFacts
from migrator.model.modes import AUTO, Mode
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import Rates


def manner(container: ContainerFacts, policy: PlanPolicy, mode: Mode) -> Manner:
    """How a container would be moved by this mode."""
    return Manner(
        mode,
        policy.stop_timeout_s,
        policy.target_blackout_s,
        written_bytes_per_s=policy.written_bytes_per_s.get(container.name),
    )


def predicted(
    container: ContainerFacts, source: Link, target: Link, rates: Rates, shared: Iterable[int], policy: PlanPolicy
) -> tuple[Mode, Estimate]:
    """The mode that a plan counts with, and its estimate, over links that nothing else uses."""
    if policy.mode != AUTO:
        mode = Mode(policy.mode)
        return mode, estimate_move(container, source, target, rates, shared, manner(container, policy, mode))
    plain = estimate_move(container, source, target, rates, shared, manner(container, policy, Mode.STOP_AND_COPY))
    if policy.allow and rates.way == "stream" and Mode.POST_COPY in _allowed(container, policy):
        follows = estimate_move(container, source, target, rates, shared, manner(container, policy, Mode.POST_COPY))
        if follows.blackout_s < plain.blackout_s:
            return Mode.POST_COPY, follows
    return Mode.STOP_AND_COPY, plain


def _allowed(container: ContainerFacts, policy: PlanPolicy) -> tuple[str, ...]:
    """What auto may also take for it."""
    return policy.modes_allowed(container.name, container.descriptor.labels) if container.descriptor else ()


def predict(
    container: ContainerFacts, source: NodeFacts, target: NodeFacts, policy: PlanPolicy, shared: Iterable[int]
) -> Estimate:
    """What a move between these nodes is estimated at; `shared` are the speeds of links that they share with others."""
    rates = policy.rates_between(source, target)
    return predicted(container, source.link, target.link, rates, shared, policy)[1]
