"""The steps of a migration, in order: PREPARE, FROZEN, the decision, RELEASE, AFTER_RELEASE."""

from migrator.model.modes import FOLLOWED
from migrator.steps import (
    check,
    dump,
    fence,
    fill,
    lease,
    release,
    remove,
    reserve,
    restore,
    seal,
    seed,
    settle,
    sync,
    verify,
)
from migrator.steps.base import Move, Step

PREPARE = (lease.STEP, check.STEP, reserve.STEP, seed.STEP)
FROZEN = (fence.STEP, dump.STEP, sync.STEP, restore.STEP, verify.STEP, seal.STEP)
RELEASE = release.STEP
FILL = fill.STEP
AFTER_RELEASE = (remove.STEP, settle.STEP)
# A rollback ends the pause first; the target's copy cannot run without a release, so it may wait.
UNDO_ORDER = (fence.STEP, reserve.STEP, lease.STEP)


def after_release(move: Move) -> tuple[Step, ...]:
    """What follows the release of a move, in order."""
    return (FILL, *AFTER_RELEASE) if move.mode in FOLLOWED else AFTER_RELEASE
