"""A reboot in groups: each drain and each return replayed from where all before it have led.

A return is what its intent says if it moves only what its group's drain has moved, and to where that was. Where one
plan does not hold it is not known where it ends, so of those after it nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from migrator.checker.check import check
from migrator.checker.findings import Code, Finding
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.reboot import Reboot
from migrator.model.what_if import rebooted, returned


def check_reboot(cluster: Cluster, reboot: Reboot) -> tuple[Finding, ...]:
    """All findings of the first plan that has any, its group named in each; none means that every group holds."""
    now, done = cluster, set[str]()
    for number, (drain, back) in enumerate(zip(reboot.groups, reboot.returns, strict=True), 1):
        found = [*_twice(drain, done), *check(now, drain, reboot.policy)]
        if found:
            return _of(f"group {number}", found)
        done.update(drain.empties)
        found = [*_not_home(drain, back), *check(rebooted(now, drain), back, reboot.policy)]
        if found:
            return _of(f"return of group {number}", found)
        now = returned(now, drain, back)
    return ()


def _of(what: str, found: list[Finding]) -> tuple[Finding, ...]:
    return tuple(replace(finding, text=f"{what}: {finding.text}") for finding in found)


def _twice(drain: Plan, done: set[str]) -> Iterator[Finding]:
    """Nodes that were rebooted with an earlier group, and a group of none."""
    if not drain.empties:
        yield Finding(Code.INTENT, "no node is rebooted")
    for name in drain.empties:
        if name in done:
            yield Finding(Code.INTENT, f"{name} was rebooted with an earlier group", node=name)


def _not_home(drain: Plan, back: Plan) -> Iterator[Finding]:
    """Containers that the return takes elsewhere than to where the drain found them."""
    homes = {name: way[0].source for name, way in drain.ways().items()}
    for name, way in back.ways().items():
        if homes.get(name) != way[-1].target:
            was = f"was on {homes[name]}" if name in homes else "was not moved"
            yield Finding(Code.INTENT, f"container {name} comes to {way[-1].target} and {was}", name, way[-1].target)
    if back.empties:
        yield Finding(Code.INTENT, f"{back.intent}: it empties {', '.join(back.empties)}")
