"""A container that runc or crun began without us: what it is (foreign.py look), and made ours (foreign.py take).

    look ROOT ID                                one line of JSON, as model/foreign.py reads it
    take NAME ROOT ID UPPER VETH MAC CREATOR    its processes' group, its cable, its files
    note NAME ROOT ID UPPER                     the runtime's own note of it, written anew as ours
    forget NAME ROOT ID                         the note that it had, once ours is there
    give-back NAME UPPER                        its files, where all of that has failed

Each part of `take` is left alone where it is done already, so one that was cut short is finished by the next.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import groups
import notes
import origins

CONTAINERS = Path("/var/lib/migrator/containers")
TOLD_MAX, MOUNTS_MAX = 50, 200
STANDARD = 3  # descriptors that whoever starts a container gives it
MARK = "taken-from"  # in a container's directory: where what is its upper layer now has been


def fail(code: int, text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.exit(code)


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20).stdout


def namespaces(pid: int) -> dict[str, bool]:
    """Of each kind whether it is the container's own."""
    kinds = ("pid", "net", "ipc", "uts", "mnt", "user", "cgroup")
    return {
        kind: str(Path(f"/proc/{pid}/ns/{kind}").readlink()) != str(Path(f"/proc/self/ns/{kind}").readlink())
        for kind in kinds
    }


def ranges(pid: int, kind: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in Path(f"/proc/{pid}/{kind}_map").read_text().splitlines()]


def parents(pid: int) -> Iterator[list[str]]:
    """Who would notice its end, nearest first, up to the node's first process."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"^PPid:\t(\d+)", status, re.MULTILINE)
        pid = int(found[1]) if found else 0
        if pid <= 1:
            return
        yield [str(pid), Path(f"/proc/{pid}/comm").read_text().strip()]


def descriptors(pids: list[int]) -> Iterator[list[str]]:
    """Those that lead out of the container: to a file of the node's, or to a pipe that another has."""
    inside = {}
    for pid in pids:
        known = {mount.id for mount in origins.mounts(str(pid))}
        for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                leads = str(Path(f"/proc/{pid}/fd/{fd}").readlink())
                info = Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
                mount = re.search(r"^mnt_id:\t(\d+)", info, re.MULTILINE)
                if leads.startswith("/") and mount and mount[1] not in known and not leads.startswith("/memfd:"):
                    yield [str(pid), fd, leads]
                elif leads.startswith(("pipe:", "socket:")):
                    inside[leads] = [str(pid), fd, leads]
    yield from shared(inside, set(pids))


def shared(inside: dict[str, list[str]], pids: set[int]) -> Iterator[list[str]]:
    for other in Path("/proc").iterdir():
        if not other.name.isdigit() or int(other.name) in pids or not inside:
            continue
        with contextlib.suppress(OSError):
            for fd in os.listdir(other / "fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    if (leads := str((other / "fd" / fd).readlink())) in inside:
                        yield inside.pop(leads)


def network(pid: int) -> dict[str, Any]:
    def told(*words: str) -> Any:
        return json.loads(output("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", *words) or "[]")

    ends = {link["ifindex"]: link for link in json.loads(output("ip", "-j", "link", "show") or "[]")}
    links = []
    for link in told("link", "show"):
        if link["ifname"] == "lo" or "UP" not in link["flags"]:
            continue
        end = ends.get(link.get("link_index", 0), {})
        links.append([link["ifname"], link.get("address", ""), end.get("ifname", ""), end.get("master", "")])
    addresses = [
        f"{of['local']}/{of['prefixlen']}"
        for link in told("address", "show", "scope", "global")
        for of in link.get("addr_info", [])
        if "local" in of  # what was not asked for is told as nothing
    ]
    gateways = [route.get("gateway", "") for v in ("-4", "-6") for route in told(v, "route", "show", "default")]
    return {"links": links, "addresses": addresses, "gateways": gateways}


def look(root: str, name: str) -> None:
    place = Path(root, name)
    runtime = notes.runtime_of(place)
    if not runtime:
        fail(11, f"there is no container {name} of runc's or crun's under {root}")
    check_root_s(place)
    there = shutil.which(runtime) is not None  # else nothing can be said of it but that
    state = json.loads((there and output(runtime, "--root", root, "state", name)) or "{}")
    pid, status = int(state.get("pid", 0)), state.get("status", "unknown")
    # Asked of the process itself: crun says stopped of one whose group is gone, by an earlier try.
    if there and status in ("running", "stopped"):
        pid, status = (notes.first_process(place)[0], "running") if notes.lives(place) else (pid, "stopped")
    told: dict[str, Any] = {"runtime": runtime, "status": status, "pid": pid}
    if status == "running":
        try:
            told |= of_running(pid, place, notes.configuration(place, Path(state.get("bundle", "/"))))
        except OSError as error:
            if notes.lives(place):
                fail(12, f"container {name} cannot be looked at: {error}")
            told["status"] = "stopped"
    sys.stdout.write(f"foreign {json.dumps(told)}\n")


def check_root_s(place: Path) -> None:
    """Whoever else one of the two directories is of could have written the note, or may yet."""
    for path in (place.parent, place):
        if path.stat().st_uid != 0:
            fail(10, f"{path} is not root's, and what it tells of container {place.name} is not believed")


def root_of(pid: int, named: Path) -> Path | None:
    """The directory that is its root: as its bundle names it, or where an adoption that was cut short has put it."""
    root = Path(f"/proc/{pid}/root").stat()
    for path in (named, *CONTAINERS.glob("*/upper")):
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), root):
                return path
    return None


def of_running(pid: int, place: Path, config: dict[str, Any]) -> dict[str, Any]:
    process, linux = config.get("process") or {}, config.get("linux") or {}
    rootfs = root_of(pid, notes.first_process(place)[1])
    seen = origins.mounts(str(pid))
    group = groups.group_of(pid)
    limits = linux.get("resources") or {}
    bounding = (process.get("capabilities") or {}).get("bounding") or []
    wanted = ((m["destination"], {*(m.get("options") or []), m.get("type")}) for m in config.get("mounts") or [])
    binds = [target for target, words in wanted if words & {"bind", "rbind"}]
    return {
        "started": notes.started(pid),
        "rootfs": str(rootfs or ""),
        "root_type": next((mount.kind for mount in seen if mount.target == "/"), ""),
        "same_disk": rootfs is not None and rootfs.stat().st_dev == CONTAINERS.stat().st_dev,
        "namespaces": namespaces(pid),
        "uid_map": ranges(pid, "uid"),
        "gid_map": ranges(pid, "gid"),
        "mounts": [[mount.kind, mount.target] for mount in seen if mount.target != "/"][:MOUNTS_MAX],
        "outside": origins.outside(seen, origins.mounts("self"))[:MOUNTS_MAX],
        "untold": max(len(seen) - MOUNTS_MAX, 0),  # nobody judges these
        "binds": binds[:TOLD_MAX],
        "devices": [device["path"] for device in linux.get("devices") or []][:TOLD_MAX],
        "hooks": sorted(kind for kind, hooks in (config.get("hooks") or {}).items() if hooks),
        "handler": (config.get("annotations") or {}).get("run.oci.handler", ""),
        "terminal": bool(process.get("terminal")),
        "descriptors": list(descriptors(groups.own(pid)))[:TOLD_MAX],
        "parents": list(parents(pid)),
        "group": group,
        "strangers": list(groups.strangers(pid, groups.GROUPS / group.lstrip("/")))[:TOLD_MAX] if group else [],
        "args": process.get("args") or [],
        "env": process.get("env") or [],
        "cwd": process.get("cwd") or "/",
        "uid": (process.get("user") or {}).get("uid", 0),
        "capabilities": sorted(word.removeprefix("CAP_") for word in bounding),
        "no_new_privileges": bool(process.get("noNewPrivileges")),
        "memory_bytes": max((limits.get("memory") or {}).get("limit") or 0, 0),
        "files_kib": int((output("du", "-skx", str(rootfs)) or "0").split()[0]) if rootfs else 0,
        **network(pid),
    }


def take(name: str, root: str, foreign: str, upper: str, veth: str, mac: str, creator: str) -> None:
    """All but the runtime's note: as long as that is where it was, this can be done again."""
    place = Path(root, foreign)
    if not notes.lives(place):
        fail(12, f"container {foreign} has ended meanwhile")
    check_root_s(place)
    pid, rootfs = notes.first_process(place)
    if creator != f"adopt-{pid}-{notes.started(pid)}":
        fail(12, f"container {foreign} is not the one any more that was looked at; look again")
    try:
        groups.take(pid, name)  # first: from here on it is seen to run, and is not removed
        take_cable(pid, veth, mac)
        take_files(pid, rootfs, Path(upper))
    except (OSError, groups.NotMoved) as error:
        fail(12, f"container {foreign} is not taken: {error}")


def take_files(pid: int, rootfs: Path, upper: Path) -> None:
    """Its root becomes the layer that a container of ours has; for its processes it is where it was."""
    if is_root(upper, pid):
        return
    if not is_root(rootfs, pid):
        fail(12, f"{rootfs} is not the root of process {pid}")
    mark = upper.parent / MARK
    mark.write_text(str(rootfs))
    for path in (mark, upper.parent):
        notes.sync(path)  # whoever comes upon the files must know that they are not ours to delete
    rootfs.rename(upper)  # which is empty: there is no moment without one
    for parent in (upper.parent, rootfs.parent):
        notes.sync(parent)  # before the record says that it is there


def give_back(name: str, upper: str) -> None:
    """The files of one that was not taken after all go where they were; where they cannot, nothing is removed."""
    layer, mark = Path(upper), Path(upper).parent / MARK
    if not mark.exists() or not layer.exists() or not any(layer.iterdir()):
        return
    rootfs = Path(mark.read_text())
    try:
        layer.rename(rootfs)  # which is not there, or empty
    except OSError as error:
        why = f"{rootfs}: {os.strerror(error.errno or 0)}"
        fail(10, f"its files are in {upper} and cannot go back to {why}; move them, then: migrator ct destroy {name}")
    for parent in (rootfs.parent, layer.parent):
        notes.sync(parent)


def is_root(path: Path, pid: int) -> bool:
    return os.path.samestat(path.stat(), Path(f"/proc/{pid}/root").stat())


def take_cable(pid: int, veth: str, mac: str) -> None:
    links = network(pid)["links"]
    if not links:
        return
    _, _, host, _ = links[0]
    if host != veth:
        output("ip", "link", "set", "dev", host, "down")
        output("ip", "link", "set", "dev", host, "name", veth)
    output("ip", "link", "set", "dev", veth, "addrgenmode", "none", "up")  # a try before may have ended in between
    output("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "dev", "eth0", "address", mac)


if __name__ == "__main__":
    DOES: dict[str, Callable[..., None]] = {
        "look": look,
        "take": take,
        "note": notes.write,
        "forget": notes.forget,
        "give-back": give_back,
    }
    DOES[sys.argv[1]](*sys.argv[2:])
