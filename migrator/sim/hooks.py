"""A simulated site: it believes what its hooks were told last, and a hook may fail, or hang after it has acted."""

from __future__ import annotations

import asyncio
import json

from migrator.model.site import Hook
from migrator.sim.wire import Orchestrator
from migrator.transport.hooks import HookFailed

HOOK_S = 0.05


class SimHooks:
    """Hooks as one orchestrator calls them. What an older token says is too late, as docs/operations.md has it."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator

    def fault(self, hook: Hook) -> str:
        return ""

    async def call(self, hook: Hook, document: bytes) -> None:
        o, world = self.orchestrator, self.orchestrator.world
        told = json.loads(document)
        truth, what = world.truths[told["container"]], f"hook {told['phase']} of {told['container']}"
        o.alive()
        o.hooks += 1
        fault = o.hook_faults.pop(o.hooks, "")
        await o.moment(what)
        if fault:
            # From here on nobody calls it again, unless what failed was before the commit: then it is told the rest.
            truth.site_failed = told["phase"] != "before_commit"
        if fault == "hook-fails":
            world.say(f"{o.name}: {what} fails")
            raise HookFailed("hook /site ended with 1, and said nothing")
        if told["token"] >= truth.site_token:
            truth.site_token, truth.site = told["token"], told["node"]
            world.say(f"{o.name}: {what}: {told['node']}")
        if fault == "hook-hangs":
            await asyncio.sleep(hook.timeout_s)
            o.alive()
            raise HookFailed(f"hook /site has not ended after {hook.timeout_s:g} s, and was ended")
        await asyncio.sleep(HOOK_S)
        await o.moment(f"{what} ended")
