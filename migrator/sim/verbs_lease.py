"""Simulated verbs about who may change what, what a node tells, and jobs; after lease.sh, lib.sh and probe.sh."""

from __future__ import annotations

import asyncio
import contextlib

from migrator.sim.gate import BRIDGE
from migrator.sim.machine import Job, JobKey, Machine, Record, refuse
from migrator.sim.restart import armed, keeper_start
from migrator.sim.verbs_volumes import volume_fault

# What all simulated nodes have in common; the rest of a probe follows from the machine.
_SAME = f"""hostname sim
kernel 6.18.0
arch x86_64
cpu_flags avx2 sse4_2
inodes_available 1000000
cgroup 2 cpu memory
criu 4.2
runc 1.3
feature mem_dirty_track
rsync 3.4
bridge {BRIDGE}
"""
_TOLD = ("state", "token", "generation", "run", "role", "armed", "memory_bytes")
_LASTING = ("watchdog", "restore", "dump")


def is_lasting(job: str) -> bool:
    """Whether a job goes on when the token is raised."""
    return job in _LASTING or job.startswith("pre-dump")


async def lease(m: Machine, ct: str, expect: str, new: str, run: str, holder: str = "-") -> str:
    async with m.locked():
        record = m.record(ct)
        token = int(new)
        if record.token == token and record.run == run:
            if record.holder != holder:
                raise refuse(
                    f"container {ct} is held by another orchestrator that works on run {run}; wait for its end, then: "
                    f"migrator resume {run}"
                )
            return "lease had\n"
        if record.token != int(expect) and record.run == "-":
            since = f"was changed since it was looked at (token {record.token}, not {expect}); give the command again"
            raise refuse(f"container {ct} {since}")
        if record.token != int(expect):
            raise refuse(f"container {ct} is held by run {record.run} with token {record.token}, not {expect}")
        if token <= int(expect):
            raise refuse(f"token {new} is not above {expect}")
        floor = m.disk.floors.get(ct, 0)
        if record.state == "absent" and token <= floor:
            raise refuse(f"token {new} of container {ct} is past: its record with token {floor} was removed here")
        follows = m.memory_follows(ct)
        if not follows:
            end_access(m, ct, token)
        await kill_older(m, ct, token, follows)
        record = m.edit(record, token=token, run=run, holder=holder)
        if record.state == "absent":
            record = m.edit(record, state="reserved", role="target", boot=m.up.boot)
        await m.write_record(ct, record)
        return "lease taken\n"


async def kill_older(m: Machine, ct: str, token: int, follows: bool) -> None:
    """Ends what older tokens still do here, but for the way back, the hold, a dump, and memory that follows."""
    for key in [key for key in m.up.jobs if key[0] == ct and key[1] < token and not is_lasting(key[2])]:
        if not (follows and key[2].startswith("receive-stream")):
            await m.kill_job(key)


def end_access(m: Machine, ct: str, below: int | None = None) -> None:
    """Ends what keys of a container's older tokens (or, without a bound, of any) still can do here."""
    revoke_keys(m, ct)
    for other in m.world.machines.values():
        for key, link in other.up.links.items() if other.ram is not None else ():
            if key[0] == ct and link.target == m.name and (below is None or key[1] < below):
                link.alive = False  # the process that served it here was ended
    m.up.keys = {key for key in m.up.keys if key[0] != ct or (below is not None and key[1] >= below)}
    close_links(m, ct)


async def reserve(m: Machine, ct: str, token: str, *numbers: str) -> str:
    memory, cpu, disk, cap_memory, cap_cpu, cap_disk = (int(number) for number in numbers)
    async with m.locked():
        record = m.check_run(ct, int(token))
        others = [r for name, r in m.disk.records.items() if name != ct]
        rooms = (
            ("memory", memory, cap_memory - sum(r.memory_bytes for r in others)),
            ("CPU", cpu, cap_cpu - sum(r.cpu_milli for r in others)),
            ("disk", disk, cap_disk - sum(r.disk_bytes for r in others)),
        )
        for what, wanted, free in rooms:
            if wanted > max(0, free):
                raise refuse(f"no room: {ct} needs {wanted} of {what}, {free} are free")
        await m.write_record(ct, m.edit(record, memory_bytes=memory, cpu_milli=cpu, disk_bytes=disk))
        return ""


async def settle(m: Machine, ct: str, token: str, generation: str, run: str = "") -> str:
    async with m.locked():
        record = m.record(ct)
        if record.run == "-" and record.state != "absent" and record.token <= int(token):
            if record.token < int(token):  # never leased: the lease may still come, and must find that it is past
                await m.write_record(ct, m.edit(record, token=int(token)))
            keeper_start(m, ct)
            return "settled before\n"
        m.check_token(ct, int(token), run)
        if record.state not in ("serving", "stopped", "released"):
            raise refuse(f"container {ct} is {record.state} and cannot be settled")
        await clean_move(m, ct, int(token))
        state = "serving" if record.state == "released" else record.state
        changes = {"generation": max(int(generation), record.generation), "boot": m.up.boot}
        settled = m.edit(
            record, state=state, role="owner", run="-", holder="-", deadline_s=0, void=0, cold="no", **changes
        )
        await m.write_record(ct, armed(m, ct, settled))
        keeper_start(m, ct)
        return "settled now\n"


async def clean_move(m: Machine, ct: str, token: int) -> None:
    """Everything about a move that dies with it. The record and the container stay."""
    end_access(m, ct)
    await m.kill_jobs(ct)
    await m.step("clean move")
    for key in [key for key in m.up.moves if key[0] == ct and key[1] <= token]:
        del m.up.moves[key]
    m.disk.parts = {key: part for key, part in m.disk.parts.items() if key[0] != ct}


def revoke_keys(m: Machine, ct: str) -> None:
    m.disk.keys = {key: until for key, until in m.disk.keys.items() if key[0] != ct}


def close_links(m: Machine, ct: str) -> None:
    for key in [key for key in m.up.links if key[0] == ct]:
        m.up.links.pop(key).alive = False


async def inspect(m: Machine, ct: str) -> str:
    await m.step("inspect")
    record, copy = m.record(ct), m.copy(ct)
    lines = [f"{key} {getattr(record, key)}" for key in _TOLD]
    if record.cold == "yes":
        lines.append("cold yes")
    lines.append(f"floor {m.disk.floors.get(ct, 0)}")
    lines.append(f"same_boot {'yes' if record.boot == m.up.boot else 'no'}")
    modes = {"running": "running", "frozen": "frozen", "held": "running"}
    lines.append(f"processes {modes[copy.mode] if copy else 'none'}")
    if ct in m.disk.trees:
        lines.append(f"gate {'open' if m.gate_is_open(ct) else 'closed'}")
    lines += [f"move {token}" for name, token in m.up.moves if name == ct]
    if m.is_held(ct):
        lines.append("held yes")
    told = ["lost" if move.lost else "follows" for key, move in m.up.moves.items() if key[0] == ct and move.unfilled]
    told += ["lost" for key, move in m.up.moves.items() if key[0] == ct and move.not_let_go]
    lines += [f"memory {word}" for word in told if record.role == "target"]
    for (name, token, word), job in m.up.jobs.items():
        if name == ct:
            lines.append(f"{'job_running' if job.alive else 'job_ended'} {name}.{token}.{word}")
    return "\n".join(lines) + "\n"


async def cordon(m: Machine, run: str) -> str:
    async with m.locked():
        m.disk.cordon = run
        return ""


async def uncordon(m: Machine) -> str:
    async with m.locked():
        m.disk.cordon = None
        return ""


async def job(m: Machine, ct: str, token: str, name: str, wait_s: str, *words: str) -> str:
    """Starts the job unless it was started before, waits for its end, and says how it stands."""
    from migrator.sim.verbs import JOBS  # noqa: PLC0415   (the table names this verb too)

    key: JobKey = (ct, int(token), name)
    await m.step("job")
    if key not in m.up.jobs:
        async with m.locked():
            m.check_run(ct, int(token))
            if key not in m.up.jobs:
                body = JOBS[words[0]]
                m.start_job(key, lambda: body(m, *words[1:]))
    found = m.up.jobs[key]
    if found.alive and int(wait_s) > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(int(wait_s)):
                await found.done.wait()
    return _report(found)


def _report(job: Job) -> str:
    if job.alive:
        return "job running\n"
    if job.code is None:
        return "job lost\n"
    lines = ["job done", f"exit {job.code}"]
    lines += [f"out {line}" for line in job.out.splitlines()]
    if job.code != 0:
        lines.append(f"err {job.err}")
    return "\n".join(lines) + "\n"


async def described(m: Machine) -> str:
    await m.step("described")
    trees = ((ct, m.disk.trees[ct]) for ct in m.disk.records if ct in m.disk.trees)
    lines = [
        f"descriptor {ct} {tree.text('descriptor.json')}" for ct, tree in trees if "descriptor.json" in tree.bundle
    ]
    return "\n".join([*lines, "end described"]) + "\n"


async def probe(m: Machine, *volumes: str) -> str:
    await m.step("probe")
    gib = sum(r.memory_bytes for r in m.disk.records.values())
    lines = [
        f"boot_id {m.up.boot}",
        f"machine_id {m.name}",
        _SAME.rstrip("\n"),
        f"cpus {m.cpus}",
        f"memory_bytes {m.memory_bytes}",
        f"memory_available_bytes {max(0, m.memory_bytes - gib)}",
        f"disk_bytes {m.disk_bytes}",
        f"disk_available_bytes {0 if m.disk.full else m.disk_bytes}",
    ]
    if m.world.streams:
        lines += ["stream_out yes", "stream_in yes"]
    if m.disk.cordon is not None:
        lines.append(f"cordon {m.disk.cordon}")
    asked = (volume.partition("=") for volume in volumes)
    lines += [f"volume {name} {volume_fault(m, path) or 'yes'}" for name, _, path in asked]
    lines += [f"template {name} {digest}" for name, digest in m.disk.templates.items()]
    for ct, record in m.disk.records.items():
        lines += _probe_container(m, ct, record)
    return "\n".join([*lines, f"time_ms {m.world.clock.wall_ms()}", "end probe"]) + "\n"


def _probe_container(m: Machine, ct: str, record: Record) -> list[str]:
    copy = m.copy(ct)
    alive = "yes" if copy else "no"
    lines = [
        f"container {ct} {record.state} {record.token} {record.generation} {alive} {record.run}",
        f"holds {ct} {record.memory_bytes} {record.cpu_milli} {record.disk_bytes}",
    ]
    if copy:
        lines.append(f"gate {ct} {'open' if m.gate_is_open(ct) else 'closed'}")
        lines.append(f"memory {ct} {record.memory_bytes // 4} {record.memory_bytes // 4}")
    tree = m.disk.trees.get(ct)
    if tree is not None:
        lines.append(f"files {ct} 1000000")
        if "descriptor.json" in tree.bundle:
            lines.append(f"descriptor {ct} {tree.text('descriptor.json')}")
    return lines


async def arp_owner(m: Machine, bridge: str, ip: str, soon: str = "") -> str:
    await m.step("arp")
    for other in m.world.machines.values():
        if other.ram is None or (other is not m and not m.world.joined(m.name, other.name)):
            continue
        for ct, is_open in other.ram.gates.items():
            tree = other.disk.trees.get(ct)
            lines = [line.partition(" ") for line in tree.text("net").splitlines()] if tree else []
            if is_open and ip in (value.partition("/")[0] for key, _, value in lines if key == "address"):
                return "".join(f"owner {value}\n" for key, _, value in lines if key == "mac")
    await asyncio.sleep(1)
    return ""


async def obstacles(m: Machine, ct: str) -> str:
    await m.step("obstacles")
    return ""


async def criu_check(m: Machine) -> str:
    await m.step("criu check")
    return "criu works\n"
