"""An init that divides its group, where groups have controllers: it starts, and its groups keep theirs in a move."""

from __future__ import annotations

from tests.lab.stage import Stage
from tests.vms.test_limits import BLACKOUT, MIB, migrator

# As systemd does it: itself in a group of its own, controllers for those below, limits for a service. One of the files
# that come with a controller is open, and another is watched.
DIVIDES = f"""
import ctypes, os, time
root = '/sys/fs/cgroup/'
os.mkdir(root + 'init.scope')
open(root + 'init.scope/cgroup.procs', 'w').write('0')
open(root + 'cgroup.subtree_control', 'w').write('+memory +pids')
os.mkdir(root + 'work')
for name, value in (('memory.max', {48 * MIB}), ('pids.max', 40)):
    open(root + 'work/' + name, 'w').write(str(value))
events = open(root + 'work/memory.events')
libc = ctypes.CDLL(None)
assert libc.inotify_add_watch(libc.inotify_init(), (root + 'init.scope/memory.events').encode(), 2) > 0
if os.fork() == 0:
    open(root + 'work/cgroup.procs', 'w').write('0')
    print('divided', flush=True)
time.sleep(100000)
"""
FILES = ("cgroup.subtree_control", "memory.max", "pids.max", "work/memory.max", "work/pids.max")
MORE = ("init.scope/pids.max", "work/cgroup.subtree_control")


def groups(vms: Stage, node: str) -> list[str]:
    return vms.on_node(node, "grep", "-r", "", *(f"/sys/fs/cgroup/ct/web/{name}" for name in FILES + MORE)).out.split(
        "\n"
    )


def owners(vms: Stage, node: str) -> list[str]:
    look = ("find", "/sys/fs/cgroup/ct/web", "-printf", "%U %P\\n")
    base = vms.on_node(node, "cat", "/var/lib/migrator/containers/web/id_base").out.strip()
    return sorted(row.removeprefix(f"{base} ") for row in vms.on_node(node, *look).out.splitlines())


def test_groups_below_keep_their_controllers_limits_and_owners(vms: Stage) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", vms.ip(6), "--memory", "128M", "--pids", "100")
    migrator(vms, "ct", "create", "web", *words, "--init", "systemd", "--", "python3", "-c", DIVIDES)
    assert vms.says("web", "divided\n")
    had, whose = groups(vms, "n1"), set(owners(vms, "n1"))
    assert any(row.endswith("work/pids.max:40") for row in had)
    migrator(vms, "migrate", "web", "--to", "n2", *BLACKOUT)
    assert groups(vms, "n2") == had
    assert vms.on_node("n2", "cat", "/sys/fs/cgroup/ct/web/work/cgroup.procs").out.count("\n") == 1
    assert {row for row in owners(vms, "n2") if row.startswith("0 ")} & whose == {
        row for row in whose if row.startswith("0 ")
    }
    assert migrator(vms, "ct", "exec", "web", "--", "cat", "/sys/fs/cgroup/work/pids.max").out == "40\n"
