"""The table of verbs: what a simulated node can be asked, by the names that the kit gives them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from migrator.sim import cold, restart
from migrator.sim import verbs_ct as life
from migrator.sim import verbs_lease as lease
from migrator.sim import verbs_limits as limits
from migrator.sim import verbs_rounds as rounds
from migrator.sim import verbs_settle as settle
from migrator.sim import verbs_source as source
from migrator.sim import verbs_target as target
from migrator.sim import verbs_volumes as volumes

Verb = Callable[..., Awaitable[str]]

VERBS: dict[str, Verb] = {
    "probe": lease.probe,
    "survey": lease.probe,
    "described": lease.described,
    "boot": restart.boot,
    "inspect": lease.inspect,
    "lease": lease.lease,
    "reserve": lease.reserve,
    "settle": lease.settle,
    "cordon": lease.cordon,
    "uncordon": lease.uncordon,
    "job": lease.job,
    "arp-owner": lease.arp_owner,
    "obstacles": lease.obstacles,
    "criu-check": lease.criu_check,
    "mark-volume": volumes.mark_volume,
    "unmark-volume": volumes.unmark_volume,
    "see-mark": volumes.see_mark,
    "ct-put": life.ct_put,
    "ct-see": limits.ct_see,
    "ct-set": limits.ct_set,
    "ct-start": life.ct_start,
    "ct-stop": life.ct_stop,
    "ct-remove": life.ct_remove,
    "keygen": source.keygen,
    "link": source.link,
    "own-network": source.own_network,
    "fence": source.fence,
    "stop": cold.stop,
    "census": source.census,
    "await-ready": rounds.await_ready,
    "await-dumped": source.await_dumped,
    "await-nearly": source.await_nearly,
    "seal": source.seal,
    "thaw": source.thaw,
    "reclaim": source.reclaim,
    "retire": source.retire,
    "stand-down": settle.stand_down,
    "adopt": settle.adopt,
    "admit": target.admit,
    "prepare": target.prepare,
    "template-done": target.template_done,
    "await-held": target.await_held,
    "release": target.release,
    "await-filled": target.await_filled,
    "discard-target": target.discard_target,
}
# What runs as a job, under the name of the job's first word.
JOBS: dict[str, Verb] = {
    "send-template": source.send_template,
    "send-files": source.send_files,
    "manifest": source.manifest,
    "huge-pages": rounds.huge_pages,
    "pre-dump": rounds.pre_dump,
    "dump": source.dump,
    "restore": target.restore,
}
