"""Simulated verbs about a container's limits, after limits.sh: the same writes, in the same order."""

from __future__ import annotations

from itertools import accumulate

from migrator.sim.machine import Exit, Machine, Record, refuse
from migrator.sim.restart import armed, keeper_end, keeper_start
from migrator.sim.verbs_ct import check_at_rest, check_not_leased


async def ct_see(m: Machine, ct: str) -> str:
    await m.step("see")
    record = m.record(ct)
    if record.state == "absent":
        return "state absent\n"
    others = [other for name, other in m.disk.records.items() if name != ct]
    told: dict[str, object] = {
        "state": record.state,
        "token": record.token,
        "run": record.run,
        **{key: getattr(record, key) for key in ("memory_bytes", "cpu_milli", "disk_bytes")},
        **{
            f"others_{key}": sum(getattr(other, key) for other in others)
            for key in ("memory_bytes", "cpu_milli", "disk_bytes")
        },
        "cpus": m.cpus,
        "node_memory_bytes": m.memory_bytes,
        "memory_available_bytes": m.memory_bytes,
        "cgroup": "2 cpu memory",
    }
    if ct in m.disk.trees and (text := m.disk.trees[ct].text("descriptor.json")):
        told["descriptor"] = text
    return "".join(f"{key} {value}\n" for key, value in told.items())


async def ct_set(
    m: Machine,
    ct: str,
    expect: str,
    memory: str,
    cpu: str,
    swap: str,
    pids: str,
    weight: str,
    cap_memory: str,
    cap_cpu: str,
    descriptor_bytes: str,
    config_bytes: str,
    *more: str,
    stdin: bytes = b"",
) -> str:
    """Changes a container's limits: the record with the higher, the files, the record as it is to be."""
    if ct not in m.disk.trees:
        raise Exit(11, f"container {ct} is not on this node")
    files = _received(ct, (int(descriptor_bytes), int(config_bytes)), more, stdin)
    async with m.locked():
        record = m.record(ct)
        check_at_rest(ct, record)
        check_not_leased(ct, record)
        bundle = m.disk.trees[ct].bundle
        same = bundle.get("descriptor.json") == files["descriptor.json"]
        if record.token != int(expect) and not same:
            raise refuse(f"container {ct} was changed meanwhile (its token is {record.token}, not {expect})")
        _check_room(m, ct, record, int(memory), int(cpu), int(cap_memory), int(cap_cpu))
        promised = m.edit(
            record,
            token=record.token if same else record.token + 1,
            memory_bytes=max(record.memory_bytes, int(memory)),
            cpu_milli=max(record.cpu_milli, int(cpu)),
        )
        if promised != record:
            await m.write_record(ct, promised)
        if more and more[5] != "-" and m.copy(ct):
            raise refuse(f"container {ct} runs, and {more[5]} is changed only while it is stopped")
        for name, data in files.items():
            if bundle.get(name, b"") == data and name not in ("descriptor.json", "config.json"):
                continue
            await m.step(f"replace {name}")
            bundle[name] = data
        wanted = m.edit(promised, memory_bytes=int(memory), cpu_milli=int(cpu))
        if wanted != promised:
            await m.write_record(ct, wanted)
        if "restart" in files:
            await _follow_policy(m, ct, wanted)
        return f"token {wanted.token}\nin_force {'now' if m.copy(ct) else 'started'}\n"


def _received(ct: str, sizes: tuple[int, ...], more: tuple[str, ...], stdin: bytes) -> dict[str, bytes]:
    """The files that come with a change, by name."""
    sizes = (*sizes, *map(int, more[1:4]))
    if len(stdin) != sum(sizes):
        raise Exit(1, f"the limits of {ct} came cut short")
    ends = list(accumulate(sizes, initial=0))
    names = ("descriptor.json", "config.json", "net", "resolv.conf", "firewall")
    files = {name: stdin[start:end] for name, start, end in zip(names, ends, ends[1:], strict=False)}
    if more:
        files["io"] = b"" if more[0] == "0,0,0,0" else f"{more[0]}\n".encode()
        if more[6] != "-":
            files["restart"] = f"{more[6]}\n".encode()
    return files


async def _follow_policy(m: Machine, ct: str, record: Record) -> None:
    if (now := armed(m, ct, record)) != record:
        await m.write_record(ct, now)
    if now.armed == "yes":
        keeper_start(m, ct)
    else:
        await keeper_end(m, ct)


def _check_room(m: Machine, ct: str, record: Record, memory: int, cpu: int, cap_memory: int, cap_cpu: int) -> None:
    others = [other for name, other in m.disk.records.items() if name != ct]
    if memory > record.memory_bytes and memory > cap_memory - sum(other.memory_bytes for other in others):
        raise refuse(f"no room: {ct} needs {memory >> 20} MiB of memory")
    if cpu > record.cpu_milli and cpu > cap_cpu - sum(other.cpu_milli for other in others):
        raise refuse(f"no room: {ct} needs {cpu / 1000:g} CPUs")
