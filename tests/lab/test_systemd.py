"""A container whose first process is systemd: it boots, is seen and bounded as others are, ends cleanly, and moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from migrator.lab.booted import BOOTED
from migrator.transport import kit
from tests.lab.stage import Stage
from tests.lab.test_init import logged_in, until

GROUPS = "/sys/fs/cgroup/ct"
GROUP = f"{GROUPS}/box"


@pytest.fixture(scope="module")
def stocked(stage: Stage) -> Iterator[None]:
    """The template with systemd on the first node."""
    BOOTED.build(print)
    BOOTED.offer(stage.paths, "n1")
    yield
    for node in stage.spec.nodes:
        stage.on_node(node, "sh", "-c", "umount /var/lib/migrator/containers/*/* 2>/dev/null; true")
        BOOTED.take_back(stage.paths, node)


def make_box(stage: Stage, number: int) -> str:
    ip = stage.ip(number)
    words = ("ct", "create", "box", "--node", "n1", "--template", BOOTED.name, "--ip", ip, "--hostname", "box.example")
    stage.ok(*words, "--init", "systemd")
    return ip


def groups(stage: Stage, node: str, name: str = "box") -> list[str]:
    return sorted(
        stage.on_node(node, "find", f"{GROUPS}/{name}", "-type", "d", "-printf", "%P %U %m\\n").out.splitlines()
    )


def owned(stage: Stage, node: str, name: str = "box") -> list[str]:
    """What in its group is its own: not its limits, its freezer, its kill."""
    look = ("find", f"{GROUPS}/{name}", "-maxdepth", "1", "!", "-uid", "0", "-printf", "%P\\n")
    return sorted(stage.on_node(node, *look).out.split())


def services(stage: Stage, name: str = "box") -> list[str]:
    """What runs, each with its process as it is called inside, and its control group."""
    told = stage.ok("ct", "exec", name, "--", "ps", "-eo", "pid=,comm=,cgroup=").out.splitlines()
    wanted = ("systemd", "systemd-journal", "systemd-logind", "cron", "dbus-daemon", "sshd", "bash")
    return sorted(" ".join(row.split()) for row in told if row.split()[1] in wanted)


# Five processes, each in a group of its own making and with locks of both kinds.
DIVIDED = """
import fcntl, os, time
root = '/sys/fs/cgroup/'
def into(group):
    os.makedirs(root + group, exist_ok=True); open(root + group + '/cgroup.procs', 'w').write('0')
for n in range(5):
    if os.fork() == 0:
        into('g%d' % n)
        held = open('/root/a%d' % n, 'w'), open('/root/b%d' % n, 'w')
        fcntl.flock(held[0], fcntl.LOCK_EX); fcntl.lockf(held[1], fcntl.LOCK_EX)
        open('/root/ready%d' % n, 'w').close(); time.sleep(1000)
into('init'); time.sleep(1000)
"""
FREE = """
import fcntl
def free(lock, name):
    try: lock(open(name, 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB); return True
    except OSError: return False
print(sum(free(fcntl.flock, '/root/a%d' % n) + free(fcntl.lockf, '/root/b%d' % n) for n in range(5)))
"""


# What the kernel says to one who asks a second time, by the same open file, to be told of pressure.
ARMED = f"""
import ctypes, errno, os, pathlib, sys
sys.path.insert(0, {kit.directory()!r})
import rearm
for process in rearm.processes(pathlib.Path(sys.argv[1])):
    for fd in rearm.waited_for(process):
        ours = ctypes.CDLL(None).syscall(438, os.pidfd_open(int(process.name)), fd, 0)
        try: os.write(ours, rearm.DEFAULT); print("free")
        except OSError as error: print("busy" if error.errno == errno.EBUSY else error)
"""


async def test_processes_in_groups_of_their_own_making_keep_their_groups_and_locks(tidy: Stage) -> None:
    words = ("ct", "create", "box", "--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--init", "systemd")
    await asyncio.to_thread(tidy.ok, *words, "--", "python3", "-c", DIVIDED)
    await until(tidy, "all have their locks", "sh", "-c", "[ $(ls /root/ready* | wc -l) = 5 ]")
    divided, its = groups(tidy, "n1"), owned(tidy, "n1")
    assert len(divided) == 7
    await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2")
    assert (groups(tidy, "n2"), owned(tidy, "n2")) == (divided, its)
    assert {"cgroup.freeze", "cgroup.kill", "cgroup.max.descendants"}.isdisjoint(its)
    assert tidy.ok("ct", "exec", "box", "--", "python3", "-c", FREE).out == "0\n"
    # And so does a twin, as whose they are by its own range.
    base = {path: uid for path, uid, _ in (row.split() for row in divided if len(row.split()) == 3)}["init"]
    await asyncio.to_thread(tidy.ok, "ct", "clone", "box", "twin", "--live", "--ip", tidy.ip(2))
    assert tidy.ok("ct", "exec", "twin", "--", "python3", "-c", FREE).out == "0\n"
    twins = tidy.on_node("n2", "cat", "/var/lib/migrator/containers/twin/id_base").out.strip()
    assert groups(tidy, "n2", "twin") == [row.replace(f" {base} ", f" {twins} ") for row in divided]
    assert owned(tidy, "n2", "twin") == its
    others = ("find", "/sys/fs/cgroup/ct/twin", "-mindepth", "2", "!", "-uid", twins)
    assert tidy.on_node("n2", *others).out == ""


async def test_a_user_who_is_logged_in_and_all_services_go_on_after_a_move(tidy: Stage, stocked: None) -> None:
    ip = await asyncio.to_thread(make_box, tidy, 1)
    await until(tidy, "it has booted", "systemctl", "is-active", "multi-user.target")
    owners = tidy.on_node(
        "n1", "stat", "-c", "%u", GROUP, f"{GROUP}/cgroup.procs", f"{GROUP}/cgroup.freeze"
    ).out.split()
    assert owners[0] == owners[1] != "0" == owners[2]
    assert (
        tidy.ok("ct", "exec", "box", "--", "sh", "-c", "hostname; cat /etc/hostname").out.split() == ["box.example"] * 2
    )
    async with logged_in(tidy, ip) as login:
        await login.types("stty -echo; kept=value-$((6 * 7)); cd /var/log; sleep 1000 &")
        before = await login.types('echo "<$kept $PWD $$ $(tty) $(jobs -p)>"')
        ran = await asyncio.to_thread(services, tidy)
        assert any("sshd" in row for row in ran)
        assert any("session" in row for row in ran)
        divided = groups(tidy, "n1")
        await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2")
        after = await login.types('echo "<$kept $PWD $$ $(tty) $(jobs -p)>"')
        between = [text[text.index("<") : text.index(">")] for text in (before, after)]
        assert between[0] == between[1]
        assert await asyncio.to_thread(services, tidy) == ran
        assert tidy.places("box") == [("n2", "running")]
        assert groups(tidy, "n2") == divided
    for unit in ("cron", "ssh"):
        await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "systemctl", "restart", unit)
    await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "pkill", "-KILL", "-x", "cron")
    await until(tidy, "who has ended is started anew", "pgrep", "-x", "cron")
    # A twin has the same services, in which it goes on; what it was told of pressure wakes nobody without end.
    ran = await asyncio.to_thread(services, tidy)
    await asyncio.to_thread(tidy.ok, "ct", "clone", "box", "twin", "--live", "--ip", tidy.ip(2))
    assert await asyncio.to_thread(services, tidy, "twin") == ran
    await asyncio.to_thread(tidy.ok, "ct", "exec", "twin", "--", "systemctl", "restart", "cron")
    assert set(tidy.on_node("n2", "python3", "-c", ARMED, f"{GROUPS}/twin").out.split()) == {"busy"}


@pytest.mark.full
async def test_what_criu_does_not_restore_is_told_before_anything_is_touched(tidy: Stage, stocked: None) -> None:
    await asyncio.to_thread(make_box, tidy, 3)
    pretends = ("python3", "-c", "import time; open('/proc/self/comm', 'w').write('(sd-pam)'); time.sleep(1000)")
    await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "systemd-run", "--quiet", "--no-block", *pretends)
    await until(tidy, "it runs", "pgrep", "-f", "sd-pam")
    refused = await asyncio.to_thread(tidy.migrator, "migrate", "box", "--to", "n2")
    assert refused.code == 3
    assert "user@.service" in refused.err + refused.out
    assert tidy.places("box") == [("n1", "running")]


@pytest.mark.full
async def test_it_ends_cleanly_and_a_restart_elsewhere_boots_it(tidy: Stage, stocked: None) -> None:
    await asyncio.to_thread(make_box, tidy, 2)
    await until(tidy, "it has booted", "systemctl", "is-active", "multi-user.target")
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=touch /var/log/ended-well\n"
    put = f"printf '{unit}' > /etc/systemd/system/last.service && systemctl start last"
    await asyncio.to_thread(tidy.ok, "ct", "exec", "box", "--", "sh", "-c", put.replace("\n", "\\n"))
    await asyncio.to_thread(tidy.ok, "migrate", "box", "--to", "n2", "--mode", "restart")
    await until(tidy, "it was ended by its own init", "test", "-e", "/var/log/ended-well")
    await until(tidy, "its sshd runs", "pgrep", "-x", "sshd")
    await asyncio.to_thread(tidy.ok, "ct", "stop", "box", "--grace", "30")
    assert tidy.places("box") == [("n2", "stopped")]
    assert tidy.on_node("n2", "test", "-e", GROUP).code == 1
