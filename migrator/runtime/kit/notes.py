"""What a runtime notes of a container, in a directory below its root: read where it is foreign, written anew as ours.

runc's is `state.json`. crun's is `status` and the configuration that it has started with, `config.json`, of which a
dump reads mounts, namespaces and annotations; and `seccomp.bpf` where there is a filter, for who is put in later.

Ours is made whole under a name that nobody reads, synced, and renamed into place; the other goes last, and its first
file last of all. So whatever ends this, one of the two is whole, and the same again finishes it.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import groups
import origins

RUN, GROUPS = Path("/run/migrator"), Path("/sys/fs/cgroup")
BIND = 4096  # MS_BIND
FIRST = {"runc": "state.json", "crun": "status"}


def runtime_of(place: Path) -> str:
    return next((runtime for runtime, file in FIRST.items() if (place / file).exists()), "")


def first_process(place: Path) -> tuple[int, Path]:
    """Its pid, and the directory that the runtime was given as its root."""
    if runtime_of(place) == "crun":
        status = read(place / "status")
        return int(status["pid"]), Path(os.path.realpath(Path(status["bundle"], status["rootfs"])))
    state = read(place / "state.json")
    return int(state["init_process_pid"]), Path(state["config"]["rootfs"])


def configuration(place: Path, bundle: Path) -> dict[str, Any]:
    """What it runs with, as a bundle would say it: by the runtime's own copy, for a bundle may be another by now.

    runc keeps none of the process's command, environment and user: these are of the bundle, and for the next start.
    """
    with contextlib.suppress(FileNotFoundError):
        if runtime_of(place) == "crun":
            return read(place / "config.json")
    config: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        config = read(bundle / "config.json")
    return config if runtime_of(place) == "crun" else config | of_runcs(config, read(place / "state.json")["config"])


def of_runcs(config: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """Each part of a configuration that runc keeps, in the words of a bundle."""
    kept = lowered(kept)
    bounding = lowered(kept.get("capabilities") or {}).get("bounding") or []
    binds = [
        mount for mount in kept.get("mounts") or [] if mount.get("device") == "bind" or mount.get("flags", 0) & BIND
    ]
    memory = (kept.get("cgroups") or {}).get("memory") or 0
    linux = (config.get("linux") or {}) | {
        "devices": [device for device in kept.get("devices") or [] if device.get("path") and not is_usual(device)],
        "resources": {"memory": {"limit": max(memory, 0)}},
    }
    process = (config.get("process") or {}) | {
        "capabilities": {"bounding": bounding},
        "noNewPrivileges": kept.get("no_new_privileges"),
    }
    asked = [{"destination": mount["destination"], "type": "bind"} for mount in binds]
    return {"hooks": kept.get("hooks"), "linux": linux, "process": process, "mounts": asked}


def lowered(config: dict[str, Any]) -> dict[str, Any]:
    """Some of runc's keys have changed their case, which it does not mind."""
    return {key.lower(): value for key, value in config.items()}


def is_usual(device: dict[str, Any]) -> bool:
    """Whether it is one that runc gives to every container: it notes them among those by request."""
    name = origins.DEVICES.get((device.get("major", 0), device.get("minor", 0)))
    return device.get("path") == f"/dev/{name}"


def lives(place: Path) -> bool:
    """Whether its first process is still the one that the runtime has noted, whatever the runtime thinks of it."""
    runtime = runtime_of(place)
    key = "process-start-time" if runtime == "crun" else "init_process_start"
    with contextlib.suppress(OSError):
        pid = first_process(place)[0]
        return started(pid) == str(read(place / FIRST[runtime]).get(key)) and not groups.has_ended(pid)
    return False


def started(pid: int) -> str:
    """When it began, as the kernel counts."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def write(name: str, root: str, foreign: str, upper: str) -> None:
    there, new, ours = Path(root, foreign), RUN / f".note.{name}", RUN / "runc" / name
    shutil.rmtree(new, ignore_errors=True)  # of one that was cut short
    shutil.copytree(there, new)
    if runtime_of(new) == "crun":
        told = {"status": as_cruns(read(new / "status"), name, Path(upper).parent)}
        told["config.json"] = as_configured(read(new / "config.json"), name, Path(upper).parent)
    else:
        told = {"state.json": as_runcs(read(new / "state.json"), name, Path(upper).parent)}
    for file, value in told.items():
        (new / file).write_text(json.dumps(value))
    for path in (*new.iterdir(), new):
        sync(path)
    new.rename(ours)
    sync(ours.parent)


def forget(name: str, root: str, foreign: str) -> None:
    """Nothing where it is gone, or where the two are not of the same process."""
    there, ours = Path(root, foreign), RUN / "runc" / name
    if not (first := FIRST.get(runtime_of(there))) or first_process(there)[0] != first_process(ours)[0]:
        return
    for path in sorted(there.iterdir(), key=lambda path: path.name == first):
        path.unlink()
    with contextlib.suppress(OSError):
        there.rmdir()


def as_runcs(state: dict[str, Any], name: str, place: Path) -> dict[str, Any]:
    """runc's, under our name, with our group and CRIU's configuration."""
    config = state["config"]
    state["id"] = name
    state["cgroup_paths"] = {key: str(GROUPS / "ct" / name) for key in state["cgroup_paths"]}
    config["cgroups"] = (config.get("cgroups") or {}) | {"path": f"/ct/{name}"}
    labels = [label for label in config.get("labels") or [] if not label.startswith(("bundle=", "org.criu.config="))]
    config["labels"] = [*labels, f"bundle={place}", f"org.criu.config={place}/criu.conf"]
    config["rootfs"] = f"{place}/rootfs"
    config |= {key: {} for key in config if key.lower() == "hooks"}  # they would be run as root at its end
    return state


def as_cruns(status: dict[str, Any], name: str, place: Path) -> dict[str, Any]:
    """crun's, in our group, of our bundle. Where its first descriptors led is past: they are closed since."""
    group = {"cgroup-path": f"/ct/{name}", "scope": "", "systemd-cgroup": False}
    files = {"bundle": str(place), "rootfs": f"{place}/rootfs"}
    return status | group | files | {"external_descriptors": json.dumps(["/dev/null"] * 3)}


def as_configured(config: dict[str, Any], name: str, place: Path) -> dict[str, Any]:
    """What crun has started it with, as a dump may read it.

    Not what it was to hide: crun would tell CRIU of each by a name that a restore by our configuration does not know.
    Without, CRIU sees that they are binds of the null device, which it is told of. And no hooks: they would be run as
    root at its end.
    """
    linux = (config.get("linux") or {}) | {"cgroupsPath": f"/ct/{name}", "maskedPaths": []}
    root = (config.get("root") or {}) | {"path": f"{place}/rootfs"}
    return config | {"linux": linux, "root": root, "annotations": {}, "hooks": {}}


def read(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
