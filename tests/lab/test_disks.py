"""Volumes of a container's own on real nodes go with it, with all that is in them, and what is written meanwhile."""

from __future__ import annotations

import time

from tests.lab.stage import Stage
from tests.lab.test_volumes import LOGGER

AT = "/var/lib/migrator/containers/web/disks/data"
# Every kind of file, and what rsync is asked for by an option of its own: holes, links, attributes, owners, modes.
FILL = """
import os, socket
os.chdir("/srv/data")
os.makedirs("d/e")
open("plain", "w").write("x")
os.link("plain", "d/again")
os.symlink("/nowhere", "link")
os.mkfifo("fifo")
with open("hole", "wb") as f:
    f.truncate(32 << 20)
    f.seek(16 << 20)
    f.write(b"in the middle")
os.setxattr("plain", "user.colour", b"blue")
os.chown("d/e", 1000, 1001)
os.chmod("plain", 0o4751)
os.utime("d/again", ns=(1, 123456789))
open("a name\\nwith a line", "w").write("y")
"""
# Not the log and the map, which are being written.
LOOK = """
import hashlib, os
os.chdir("/srv/data")
for top, dirs, files in os.walk("."):
    dirs.sort()
    for name in sorted(dirs + files):
        path = os.path.join(top, name)
        s = os.lstat(path)
        kind = s.st_mode >> 12
        data = hashlib.sha256(open(path, "rb").read()).hexdigest() if kind == 8 else ""
        if name not in ("log", "map"):
            print([path, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink if kind == 8 else 0,
                s.st_mtime_ns if kind != 4 else 0, s.st_blocks < 1000, data,
                os.listxattr(path, follow_symlinks=False)])
print(os.stat("plain").st_ino == os.stat("d/again").st_ino)
"""


def create(stage: Stage) -> None:
    given = ("--node", "n1", "--template", "debian", "--ip", stage.ip(1), "--volume", "data:/srv/data:64M")
    stage.ok("ct", "create", "web", *given, "--", "python3", "-c", LOGGER)
    inside(stage, FILL)


def inside(stage: Stage, program: str) -> str:
    return stage.ok("ct", "exec", "web", "--", "python3", "-c", program).out


def numbers(stage: Stage) -> list[int]:
    log = stage.ok("ct", "exec", "web", "--", "cat", "/srv/data/log").out
    return [int(line) for line in log.split("\n")[:-1]]


def more(stage: Stage) -> int:
    """Waits for more numbers in the log; returns the last one."""
    begun = len(numbers(stage))
    for _ in range(200):
        if len(seen := numbers(stage)) > begun + 20:
            assert seen == list(range(1, len(seen) + 1))
            return seen[-1]
        time.sleep(0.05)
    raise AssertionError(stage.ok("ct", "logs", "web").out[-500:])


def on(stage: Stage, node: str) -> str:
    return stage.on_node(node, "sh", "-c", f"ls -d {AT} 2> /dev/null").out.strip()


def test_every_kind_of_file_goes_with_it_and_what_is_written_meanwhile(tidy: Stage) -> None:
    create(tidy)
    first, before = inside(tidy, LOOK), more(tidy)
    for words, target, left in ((("--verify-files",), "n2", "n1"), (("--mode", "restart"), "n1", "n2")):
        tidy.ok("migrate", "web", "--to", target, *words)
        assert inside(tidy, LOOK) == first
        after = more(tidy)
        assert after > before
        before = after
        assert (on(tidy, target), on(tidy, left)) == (AT, "")
    (row,) = tidy.ok("ct", "list", "--json").json()["containers"]
    assert (row["volumes"], row["disk_bytes"]) == (["data:/srv/data:64M"], (1 << 30) + (64 << 20))
    tidy.ok("ct", "destroy", "web", "--force", "--yes")
    assert on(tidy, "n1") == ""


def test_one_whose_files_are_gone_is_not_begun_anew_with_an_empty_one(tidy: Stage) -> None:
    create(tidy)
    tidy.ok("ct", "stop", "web", "--grace", "0")
    assert tidy.on_node("n1", "mv", AT, f"{AT}.away").code == 0
    refused = tidy.migrator("ct", "start", "web")
    assert (refused.code, "volume data: its files are gone from this node" in refused.err) == (4, True), refused
    assert tidy.on_node("n1", "mv", f"{AT}.away", AT).code == 0
    tidy.ok("ct", "start", "web")
    more(tidy)
