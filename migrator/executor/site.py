"""Telling the site where a container is: its hooks, what they are told, and what is written of it.

Each call is in the journal before it begins and after it ends. Who recovers a migration calls a hook again of which no
end is written: it may be called twice, and is told where the container is, never what has changed.
"""

from __future__ import annotations

import json

from migrator.errors import FailedSafe
from migrator.journal.events import Progress
from migrator.journal.store import Journal
from migrator.model.site import When
from migrator.protocol.states import State
from migrator.steps.base import Move
from migrator.transport.hooks import HookFailed

VERSION = 1
BEGUN, ENDED, FAILED = "begun", "ended", "failed"


def document(move: Move, when: When) -> bytes:
    """What a hook reads on stdin: docs/operations.md tells of each key."""
    at = move.source if when is When.AFTER_ROLLBACK else move.target
    told = {
        "version": VERSION,
        "phase": str(when),
        "run": move.run,
        "migration": move.id,
        "token": move.token,
        "container": move.name,
        "labels": move.descriptor.labels,
        "addresses": move.descriptor.addresses,
        "gateways": move.descriptor.gateways,
        "mac": move.descriptor.mac,
        "source": move.source.node.name,
        "source_address": move.source.migration_host,
        "target": move.target.node.name,
        "target_address": move.target.migration_host,
        "node": at.node.name,
        "node_address": at.migration_host,
    }
    return json.dumps(told).encode() + b"\n"


async def ask(move: Move, journal: Journal) -> None:
    """Calls the hooks before the commit, one after the other. FailedSafe at the first that does not end well."""
    when = When.BEFORE_COMMIT
    hooks = move.site.at(when)
    if not hooks:
        return
    journal.note(move.id, {"hook": str(when), "is": BEGUN})
    for hook in hooks:
        try:
            await move.hooks.call(hook, document(move, when))
        except HookFailed as error:
            journal.note(move.id, {"hook": str(when), "is": FAILED, "error": str(error)})
            raise FailedSafe(f"container {move.name}: {when}: {error}") from error
    journal.note(move.id, {"hook": str(when), "is": ENDED})


async def tell(move: Move, journal: Journal, when: When) -> None:
    """Calls the hooks of a moment from which there is no way back, unless they have been: what fails is a warning."""
    hooks = move.site.at(when)
    if not hooks or journal.progress(move.id).told.get(str(when)) in (ENDED, FAILED):
        return
    journal.note(move.id, {"hook": str(when), "is": BEGUN})
    end = ENDED
    for hook in hooks:
        try:
            await move.hooks.call(hook, document(move, when))
        except HookFailed as error:
            end = FAILED
            warning = f"container {move.name}: {when}: {error}; nothing calls it again"
            journal.note(move.id, {"hook": str(when), "is": BEGUN, "warning": warning})
    journal.note(move.id, {"hook": str(when), "is": end})


def may_be_told_wrong(progress: Progress) -> bool:
    """Whether a site may have been told that a container is on its target: also by one with a newer journal, which has
    not written further than this into a backup that nodes do not show to be old.
    """
    return State.RESTORED in progress.begun
