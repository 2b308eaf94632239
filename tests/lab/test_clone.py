"""Clones: another machine of the same files, and of the same memory, while its source and that one's clients go on."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

from migrator.transport import kit
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

NODE = f"{kit.directory()}/node"
FROZEN = "grep -q 'frozen 1' /sys/fs/cgroup/ct/web/cgroup.events"
# Everything that a file of a container may be; told below in one line each, as its owner in the container sees it.
FILES = """
import os, socket, struct
os.chdir("/root")
acl = lambda tag, may, who=0xffffffff: struct.pack("<HHI", tag, may, who)
for name, owner, mode in (("plain", 0, 0o640), ("setuid", 1, 0o4755), ("acl", 0, 0o644), ("cap", 0, 0o755)):
    open(name, "w").write(name)
    os.chown(name, owner, owner + 5)
    os.chmod(name, mode)
os.setxattr("acl", "system.posix_acl_access",
            struct.pack("<I", 2) + acl(1, 6) + acl(2, 4, 7) + acl(4, 4) + acl(16, 4) + acl(32, 4))
os.setxattr("cap", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
os.setxattr("plain", "user.word", b"said")
os.link("plain", "hard")
os.mkfifo("fifo")
os.symlink("/nowhere", "link")
os.lchown("link", 3, 3)
fd = os.open("hole", os.O_CREAT | os.O_RDWR)
os.pwrite(fd, b"end", 20 << 20)
os.mkdir("sticky")
os.chmod("sticky", 0o1777)
socket.socket(socket.AF_UNIX).bind("socket")
os.remove("/etc/issue")
for name in os.listdir():
    os.utime(name, ns=(978310861123456789, 978310861123456789), follow_symlinks=False)
"""
TELL = """
import json, os
os.chdir("/root")
told = {}
for name in sorted(os.listdir()):
    if name.startswith("."):
        continue
    seen = os.lstat(name)
    names = os.listxattr(name, follow_symlinks=False)
    more = {key: os.getxattr(name, key, follow_symlinks=False).hex() for key in names}
    told[name] = [oct(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_nlink, seen.st_size, seen.st_blocks < 1000,
                  seen.st_mtime_ns, more]
told["issue"] = os.path.exists("/etc/issue")
print(json.dumps(told))
"""
# Much, and two files that are always changed one after the other, by the same word.
WRITER = """
import os
os.makedirs("/srv/many", exist_ok=True)
for n in range(2500):
    open(f"/srv/many/{n}", "w").write(str(n))
if os.fork() == 0:
    os.setsid()
    for fd in range(3):
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
    a, b = (open(f"/srv/{name}", "w") for name in "ab")
    n = 100000
    while True:
        n += 1
        for file in (a, b):
            file.seek(0)
            file.write(str(n))
            file.flush()
"""
IDENTITY = "cat /etc/machine-id; hostname; cat /etc/hostname; cat /sys/class/net/eth0/address"


def python(stage: Stage, name: str, program: str) -> str:
    return stage.ok("ct", "exec", name, "--", "python3", "-c", program).out


def told(stage: Stage, name: str) -> Any:
    return json.loads(python(stage, name, TELL))


def identity(stage: Stage, name: str) -> list[str]:
    return stage.ok("ct", "exec", name, "--", "sh", "-c", IDENTITY).out.split()


def make_a_machine(stage: Stage, number: int, more: tuple[str, ...] = ()) -> str:
    """A container that counts, with files of every kind, a machine-id and ssh host keys."""
    ip = stage.counter("web", "n1", number, more=more)
    python(stage, "web", FILES)
    keys = "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; "
    fallback = "mkdir -p /etc/ssh; command -v ssh-keygen > /dev/null || echo old > /etc/ssh/ssh_host_ed25519_key; "
    last = (
        "hostname > /etc/hostname; [ -s /etc/ssh/ssh_host_ed25519_key ] || "
        + keys
        + "echo 0123456789abcdef0123456789abcdef > /etc/machine-id"
    )
    stage.ok("ct", "exec", "web", "--", "sh", "-c", fallback + last)
    return ip


def key_of(stage: Stage, name: str) -> str:
    return stage.ok("ct", "exec", name, "--", "cat", "/etc/ssh/ssh_host_ed25519_key").out


async def first_answer(ip: str) -> int:
    reader, writer = await asyncio.open_connection(ip, 7000)
    writer.write(b"next\n")
    number = int(await reader.readline())
    writer.close()
    return number


def test_a_twin_has_the_memory_of_its_source_and_is_another_machine_while_that_ones_clients_go_on(tidy: Stage) -> None:
    ip, other = make_a_machine(tidy, 1), tidy.ip(2)

    async def clone_under_a_client() -> tuple[dict[str, Any], int, int, int]:
        async with CountingClient(ip) as client:
            await client.more(50)
            before = client.answers
            made = await asyncio.to_thread(tidy.ok, "ct", "clone", "web", "twin", "--live", "--ip", other, "--json")
            after = client.answers
            await client.more(3)
            return made.json(), before, await first_answer(other), after

    made, before, twins, after = asyncio.run(clone_under_a_client())
    assert before < twins <= after + 1  # it goes on counting from the moment at which it was made
    assert (made["node"], made["state"], made["addresses"]) == ("n1", "running", [f"{other}/24"])
    assert set(made["renewed"]) == {
        "/etc/machine-id",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/ssh/ssh_host_ed25519_key",
    }
    for name, has in (("web", ip), ("twin", other)):
        assert tidy.ok("ct", "exec", name, "--", "getent", "hosts", name).out.split() == [has, name]
    (machine, host, file, mac), (its_machine, its_host, its_file, its_mac) = (
        identity(tidy, name) for name in ("web", "twin")
    )
    assert (host, file, its_host, its_file) == ("web", "web", "twin", "twin")
    assert machine != its_machine and mac != its_mac and len(its_machine) == 32
    assert key_of(tidy, "web") != key_of(tidy, "twin")
    assert told(tidy, "twin") == told(tidy, "web")
    bases = {row["name"]: row for row in tidy.ok("ct", "list", "--json").json()["containers"]}
    assert {row["state"] for row in bases.values()} == {"running"}
    # And it is a container as any: it moves, with what it has in memory.
    tidy.ok("migrate", "twin", "--to", "n2")
    assert asyncio.run(first_answer(other)) == twins + 1
    tidy.ok("ct", "destroy", "web", "--force", "--yes")
    assert asyncio.run(first_answer(other)) == twins + 2


def test_files_of_a_stopped_container_arrive_as_they_are_in_a_clone_whose_address_is_found(
    tidy: Stage,
) -> None:
    make_a_machine(tidy, 1)
    before = told(tidy, "web")
    tidy.ok("ct", "stop", "web", "--grace", "0")
    made = tidy.ok("ct", "clone", "web", "copy", "--no-start", "--json").json()
    assert (made["state"], made["paused_ms"], made["addresses"]) == ("stopped", None, [f"{tidy.ip(2)}/24"])
    assert tidy.places("copy") == [("n1", "stopped")]
    tidy.ok("ct", "start", "copy")
    assert told(tidy, "copy") == before


def test_much_that_is_written_meanwhile_is_copied_in_two_passes_and_is_of_one_moment(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1)
    tidy.ok("ct", "exec", "web", "--", "python3", "-c", WRITER)
    made = tidy.ok("ct", "clone", "web", "copy", "--json").json()
    assert made["paused_ms"] is not None
    look = "cat /srv/a; echo; cat /srv/b; echo; ls /srv/many | wc -l; cat /srv/many/2499"
    a, b, count, last = tidy.ok("ct", "exec", "copy", "--", "sh", "-c", look).out.split()
    assert int(a) - int(b) in (0, 1)
    assert (count, last) == ("2500", "2499")


def test_what_a_clone_may_not_be_is_refused_and_nothing_is_made(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 1)
    tidy.counter("db", "n2", 3)
    bind = f"import socket, time; s = socket.create_server(('{ip}', 8080)); time.sleep(600)"
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", f"python3 -c {shlex.quote(bind)} > /dev/null 2>&1 < /dev/null &")
    for words, code, said in (
        (("web", "db"), 2, "container db exists already on n2"),
        (("nobody", "twin"), 2, "there is no container 'nobody'"),
        (("web", "twin", "--ip", ip), 3, f"--ip {ip}: container web on n1 has this address"),
        (("web", "twin", "--live", "--no-start"), 2, "leave out --no-start"),
        (("web", "twin", "--share-volume", "data"), 2, "has no such volume"),
    ):
        done = tidy.migrator("ct", "clone", *words)
        assert (done.code, said in done.err, len(done.err.strip().splitlines())) == (code, True, 1), done
    for _ in range(50):  # the one that listens may still be starting
        done = tidy.migrator("ct", "clone", "web", "twin", "--live", "--ip", tidy.ip(2))
        if done.code:
            break
        tidy.ok("ct", "destroy", "twin", "--force", "--yes")
    assert (done.code, f"has a tcp socket at {ip}:8080" in done.err) == (3, True), done
    assert tidy.places("twin") == []


def test_a_source_is_let_go_on_when_who_copies_it_has_died_or_takes_too_long(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1)
    hold = "echo /nowhere > $h; exec 6<> $h; flock 6; echo 1 > /sys/fs/cgroup/ct/web/cgroup.freeze; "
    until = f"i=0; while {FROZEN}; do i=$((i+1)); [ $i -lt 400 ] || exit 1; sleep 0.05; done; [ ! -e $h ]"
    watched = f"(sh {NODE} clone-watchdog web $h 60 6>&- &); {FROZEN} || exit 3; exec 6>&-; "
    died = tidy.on_node("n1", "sh", "-c", f"h=/run/migrator/held.web.1; {hold} {watched} {until}")
    assert died.code == 0, died
    lingers = f"(sleep 2 & exec 6>&-); exec 6>&-; sh {NODE} clone-watchdog web $h 1; "
    slow = tidy.on_node("n1", "sh", "-c", f"h=/run/migrator/held.web.2; {hold} {lingers} {until}")
    assert slow.code == 0, slow


def test_a_clone_on_another_node_is_made_and_moved_there(tidy: Stage) -> None:
    tidy.counter("web", "n1", 1)
    made = tidy.ok("ct", "clone", "web", "twin", "--live", "--node", "n2", "--ip", tidy.ip(2), "--json").json()
    assert made["node"] == "n2"
    assert (tidy.places("web"), tidy.places("twin")) == ([("n1", "running")], [("n2", "running")])
    assert asyncio.run(first_answer(tidy.ip(2))) == 1
    gone = tidy.migrator("ct", "clone", "web", "third", "--node", "n9", "--ip", tidy.ip(3))
    assert (gone.code, tidy.places("third")) == (2, [])


def test_volumes_of_its_own_are_copied_and_belong_to_the_clone(tidy: Stage) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--volume", "data:/srv/data:10M")
    tidy.ok("ct", "create", "web", *words, "--", "sleep", "1000")
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", "echo kept > /srv/data/x && chown 7:8 /srv/data/x")
    tidy.ok("ct", "clone", "web", "twin", "--ip", tidy.ip(2))
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", "echo later > /srv/data/x")
    assert (
        tidy.ok("ct", "exec", "twin", "--", "sh", "-c", "cat /srv/data/x; stat -c %u:%g /srv/data/x").out
        == "kept\n7:8\n"
    )
