"""What CRIU cannot dump, or would lose, is refused in the check with the process, the reason and what helps; and it is
true of each that CRIU fails on it. What it can dump is not refused.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.lab.stage import Stage

BEGIN = """
import ctypes, fcntl, mmap, os, select, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    code = libc.syscall(*(ctypes.c_long(word) if isinstance(word, int) else word for word in words))
    assert code >= 0, os.strerror(ctypes.get_errno())
    return code
def child(work):
    pid = os.fork()
    if not pid:
        work()
        time.sleep(100000)
    return pid
"""
END = """
print("ready", flush=True)
time.sleep(100000)
"""
# By what the refusal says: a program that CRIU fails on.
FAILS = {
    "uses io_uring": "call(425, 8, ctypes.create_string_buffer(120))",
    "uses userfaultfd": "call(323, 1)",
    "uses landlock-ruleset": "call(444, struct.pack('Q', 1), 8, 0)",
    "uses secretmem": "call(447, 0)",
    "has memory in huge pages": "os.memfd_create('x', os.MFD_HUGETLB)",
    "has a pipe of packets": "ends = os.pipe2(os.O_DIRECT)",
    "the message queue /dev/mqueue/q": (
        "rt = ctypes.CDLL('librt.so.1')\nassert rt.mq_open(b'/q', os.O_CREAT | os.O_RDWR, 0o600, None) >= 0"
    ),
    "is traced": "p = subprocess.Popen(['sleep', '1000'])\nassert libc.ptrace(0x4206, p.pid, None, None) == 0",
    "has a user namespace of its own": "child(lambda: libc.unshare(0x10000000))\ntime.sleep(0.3)",
    "has ended its first thread": (
        "def work():\n    threading.Thread(target=time.sleep, args=(100000,)).start()\n    time.sleep(0.2)\n"
        "    libc.syscall(60, 0)\nchild(work)\ntime.sleep(0.6)"
    ),
    "uses /usr/bin/sleep, of which this name": (
        "import shutil\nshutil.copy('/usr/bin/sleep', '/usr/bin/new')\n"
        "p = subprocess.Popen(['/usr/bin/sleep', '1000'])\ntime.sleep(0.3)\nos.rename('/usr/bin/new', '/usr/bin/sleep')"
    ),
    "has /srv/large open, which was removed": (
        "f = open('/srv/large', 'wb')\nf.write(os.urandom(40_000_000))\nf.flush()\nos.unlink('/srv/large')"
    ),
    "watches a file whose name is gone": (
        "f = open('/srv/f', 'w')\nfd = libc.inotify_init1(0)\nassert libc.inotify_add_watch(fd, b'/srv/f', 0xfff) > 0\n"
        "os.unlink('/srv/f')"
    ),
    "waits by epoll": (
        "poll = select.epoll()\na, b = socket.socketpair()\npoll.register(a, select.EPOLLIN)\n"
        "child(lambda: os.close(poll.fileno()))\na.close()"
    ),
    "has a socket of kind MPTCP": "s = socket.socket(2, 1, 262)\ns.bind(('', 9000))\ns.listen()",
    "has a socket of kind AF_VSOCK": "s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "has a netlink socket with messages": (
        "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\ns.bind((0, 0))\n"
        "s.send(struct.pack('IHHII', 20, 18, 0x301, 1, 0) + bytes(4))\ntime.sleep(0.2)"
    ),
}
# What is lost without a failure: it is refused for what it would cost.
LOSES = {
    "multicast group 239.1.2.3": (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nlocal = socket.inet_aton(sys.argv[1])\n"
        "s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('239.1.2.3') + local)"
    ),
}
# Much of the same kinds that CRIU can dump, in one program.
CAN = """
import shutil, tempfile
os.makedirs("/srv/w")
fd = libc.inotify_init1(0)
for path in (b"/srv/w", b"/etc/passwd", b"/tmp", b"/usr/bin"):
    assert libc.inotify_add_watch(fd, path, 0xfff) > 0
memory = os.memfd_create("x")
os.write(memory, b"x")
pidfd = os.pidfd_open(subprocess.Popen(["sleep", "1000"]).pid)
poll = select.epoll()
a, b = socket.socketpair()
poll.register(a, select.EPOLLIN)
child(a.close)
gone = open("/srv/gone", "wb")
gone.write(os.urandom(5_000_000))
gone.flush()
os.unlink("/srv/gone")
pipe = os.pipe()
shared = mmap.mmap(os.open("/dev/zero", os.O_RDWR), 4096)
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
netlink.bind((0, 0))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
lower = open("/etc/passwd")
open("/etc/passwd", "a").write("# more\\n")
event, clock = os.eventfd(0), libc.timerfd_create(1, 0)
master, slave = os.openpty()
zombie = subprocess.Popen(["true"])
"""


async def begun(stage: Stage, program: str) -> None:
    """A container whose program has come to where it stays."""
    ip = stage.ip(1)
    words = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", ip, "--seccomp", "off")
    await asyncio.to_thread(stage.ok, *words, "--", "python3", "-u", "-c", BEGIN + program + END, ip)
    assert await asyncio.to_thread(stage.says, "web", "ready\n")


def try_criu(stage: Stage) -> int:
    """Freezes and dumps the container on its node, as a move would, and lets it go on; how that ended."""
    script = (
        "runc --root /run/migrator/runc pause web; mkdir -p /run/try; "
        "timeout 30 runc --root /run/migrator/runc checkpoint --leave-running --tcp-established --file-locks "
        "--image-path /run/try --work-path /run/try web; code=$?; runc --root /run/migrator/runc resume web; "
        "rm -rf /run/try; exit $code"
    )
    return stage.on_node("n1", "sh", "-c", script, timeout_s=60).code


@pytest.mark.parametrize("reason", [*FAILS, *LOSES])
async def test_what_criu_fails_on_or_would_lose_is_refused_before_anything_is_touched(tidy: Stage, reason: str) -> None:
    await begun(tidy, (FAILS | LOSES)[reason])
    refused = await asyncio.to_thread(tidy.migrator, "migrate", "web", "--to", "n2")
    assert refused.code == 3, refused.err
    assert reason in refused.err
    if reason in FAILS:
        assert await asyncio.to_thread(try_criu, tidy) != 0


async def test_a_command_put_in_from_outside_is_refused_as_long_as_it_runs(tidy: Stage) -> None:
    await begun(tidy, "")
    other = tidy.start("ct", "exec", "web", "--", "sleep", "1000")
    try:
        for _ in range(100):
            found = tidy.migrator("migrate", "web", "--to", "n2", "--dry-run")
            if found.code == 3:
                break
            await asyncio.sleep(0.1)
        assert "(sleep) was put in from outside" in found.out + found.err
    finally:
        tidy.migrator("ct", "exec", "web", "--", "pkill", "-x", "sleep")
        other.communicate(timeout=30)
    await asyncio.to_thread(tidy.ok, "migrate", "web", "--to", "n2")


async def test_what_criu_can_dump_is_not_refused_and_moves(tidy: Stage) -> None:
    await begun(tidy, CAN)
    await asyncio.to_thread(tidy.ok, "migrate", "web", "--to", "n2")
