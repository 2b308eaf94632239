"""Moves by restart on real nodes: what cannot be dumped is stopped, its files go, and it begins anew, in one place."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest

from migrator.lab import lab as labs
from migrator.protocol.states import FORWARD, State
from tests.lab.stage import Stage

# Holds what CRIU cannot dump; counts its starts in a file, and on SIGTERM takes a while and writes that it was asked.
HOLDER = """
import ctypes, os, signal, socketserver, sys, time
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0
os.makedirs("/srv/data", exist_ok=True)
with open("/srv/data/starts", "a") as starts:
    starts.write("start\\n")
os.chown("/srv/data/starts", 33, 33)
def end(number, frame):
    time.sleep(float(sys.argv[1]))
    with open("/srv/data/ended", "a") as ended:
        ended.write("asked\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        starts = open("/srv/data/starts").read().count("start")
        ended = open("/srv/data/ended").read().count("asked") if os.path.exists("/srv/data/ended") else 0
        self.wfile.write(f"{starts} {ended} {os.getpid()} {os.stat('/srv/data/starts').st_uid}\\n".encode())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("", 7000), Handler).serve_forever()
"""
MOMENTS = [
    f"{state}:{phase}"
    for state in FORWARD[1:]
    for phase in (("end",) if state is State.COMMITTED else ("begin", "end"))
]


def holder(stage: Stage, number: int, ends_in_s: float = 0.0, *more: str) -> str:
    ip = stage.ip(number)
    words = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", ip, "--seccomp", "off", *more)
    stage.ok(*words, "--", "python3", "-c", HOLDER, str(ends_in_s))
    return ip


async def asked(ip: str, tries: int = 100) -> tuple[int, int, int, int]:
    """How often it was started and asked to end, its PID, and who owns its file, when it answers."""

    def ask() -> str:
        with socket.create_connection((ip, 7000), timeout=1) as connection:
            return connection.makefile().readline()

    for _ in range(tries):
        try:
            if line := await asyncio.to_thread(ask):
                starts, ended, pid, owner = map(int, line.split())
                return starts, ended, pid, owner
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(f"nobody answers at {ip}")


async def test_what_cannot_be_dumped_is_refused_with_the_hint_and_moves_by_restart(tidy: Stage) -> None:
    ip = await asyncio.to_thread(holder, tidy, 1)
    assert (await asked(ip))[:2] == (1, 0)
    refused = await asyncio.to_thread(tidy.migrator, "migrate", "web", "--to", "n2")
    assert refused.code == 3
    assert "--mode restart: it is stopped, and its processes begin anew on n2" in refused.err
    words = ("migrate", "web", "--to", "n2", "--mode", "restart")
    told = await asyncio.to_thread(tidy.ok, *words, "--dry-run")
    assert "restart (asked for)" in told.out
    assert "its processes begin anew on n2, and connections end" in told.out
    assert re.search(r"pause: up to 1\d\.\d s", told.out)  # ten, and what its source was seen to need beside
    assert (await asked(ip))[:2] == (1, 0)  # a dry run touches nothing
    done = await asyncio.to_thread(tidy.ok, *words)
    assert "container web was stopped, and its processes begin anew on n2" in done.out
    assert await asked(ip) == (2, 1, 1, 33)
    assert tidy.places("web") == [("n2", "running")]
    checked = next(
        event["data"]
        for event in tidy.last_run()["migrations"][0]["events"]
        if event["state"] == "checked" and event["phase"] == "end"
    )
    assert checked == {"findings": 0, "mode": "restart", "mode_why": "asked for"}


async def test_a_rehearsal_of_it_is_refused_and_says_what_is_possible(tidy: Stage) -> None:
    ip = await asyncio.to_thread(holder, tidy, 2)
    await asked(ip)
    refused = await asyncio.to_thread(tidy.migrator, "rehearse", "web", "--to", "n2")
    assert refused.code == 3
    assert "which is not rehearsed, for that would stop it" in refused.err
    assert (await asked(ip))[:2] == (1, 0)


async def test_one_that_does_not_end_is_killed_at_its_time(tidy: Stage) -> None:
    ip = await asyncio.to_thread(holder, tidy, 3, 100.0)
    await asked(ip)
    await asyncio.to_thread(tidy.ok, "migrate", "web", "--to", "n2", "--mode", "restart", "--stop-timeout", "0.5")
    assert await asked(ip) == (2, 0, 1, 33)


@pytest.mark.parametrize(
    "moment",
    [moment if n % 4 == 2 else pytest.param(moment, marks=pytest.mark.full) for n, moment in enumerate(MOMENTS)],
)
async def test_resume_after_a_kill_leaves_one_running_copy(tidy: Stage, moment: str) -> None:
    ip = await asyncio.to_thread(holder, tidy, 4)
    await asked(ip)
    assert await asyncio.to_thread(tidy.kill_at, "web", "n2", moment, mode="restart") == -9
    run = tidy.last_run()["run"]
    resumed = await asyncio.to_thread(tidy.migrator, "resume", run)
    assert resumed.code == 0, resumed.err
    assert (await asked(ip))[2] == 1
    assert tidy.places("web") == [("n2", "running")]
    await asyncio.to_thread(tidy.ok, "resume", run)
    assert tidy.places("web") == [("n2", "running")]


@pytest.mark.parametrize("moment", ["fenced:end", "restored:end"])
async def test_without_an_orchestrator_its_source_starts_it_again(tidy: Stage, moment: str) -> None:
    ip = await asyncio.to_thread(holder, tidy, 5)
    await asked(ip)
    assert await asyncio.to_thread(tidy.kill_at, "web", "n2", moment, 11, mode="restart") == -9
    assert (await asked(ip, 300))[:2] == (2, 1)  # nobody resumes
    assert ("n1", "running") in tidy.places("web")
    run = tidy.last_run()["run"]
    await asyncio.to_thread(tidy.ok, "rollback", run)
    assert (await asked(ip))[:2] == (2, 1)
    assert tidy.places("web") == [("n1", "running")]


async def test_a_target_that_cannot_make_it_gives_it_back_and_says_that_it_began_anew(tidy: Stage) -> None:
    ip = await asyncio.to_thread(holder, tidy, 6)
    await asked(ip)
    runc = (await asyncio.to_thread(tidy.on_node, "n2", "sh", "-c", "command -v runc")).out.strip()
    stub = f"""mv {runc} {runc}.away
cat > {runc} << 'STUB'
#!/bin/sh
for word; do [ "$word" != create ] || {{ echo 'level=error msg="no such thing"' >&2; exit 1; }}; done
exec {runc}.away "$@"
STUB
chmod 755 {runc}"""
    await asyncio.to_thread(tidy.on_node, "n2", "sh", "-c", stub)
    try:
        failed = await asyncio.to_thread(tidy.migrator, "migrate", "web", "--to", "n2", "--mode", "restart")
    finally:
        await asyncio.to_thread(tidy.on_node, "n2", "mv", f"{runc}.away", runc)
    assert failed.code == 4, failed.err
    assert "runc: no such thing" in failed.err
    assert "runs on n1 again: it was stopped for the move, and its processes begin anew" in failed.err
    assert (await asked(ip))[:3] == (2, 1, 1)
    assert tidy.places("web") == [("n1", "running")]


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("moment", ["fenced:end", "restored:end", "sealed:end", "committed:end"])
async def test_a_node_that_reboots_meanwhile_leaves_one_running_copy(tidy: Stage, moment: str, node: str) -> None:
    ip = await asyncio.to_thread(holder, tidy, 7)
    await asked(ip)
    assert await asyncio.to_thread(tidy.kill_at, "web", "n2", moment, mode="restart") == -9
    labs.crash(tidy.paths, node)
    labs.boot(tidy.paths, node)
    run = tidy.last_run()["run"]
    ended = await asyncio.to_thread(tidy.migrator, "resume", run)
    if ended.code != 0:
        ended = await asyncio.to_thread(tidy.migrator, "resume", run)
    assert ended.code == 0, ended.err
    assert (await asked(ip))[2] == 1
    assert [state for _, state in tidy.places("web")] == ["running"]


async def test_auto_takes_it_where_it_is_allowed_and_says_why(tidy: Stage, tmp_path: Path) -> None:
    ip = await asyncio.to_thread(holder, tidy, 8)
    await asked(ip)
    text = await asyncio.to_thread(Path(tidy.cluster).read_text)
    assert "policy:" not in text
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(f"{text}policy: {{allow: [{{containers: web, modes: [restart]}}]}}\n")
    told = await asyncio.to_thread(tidy.migrator, "migrate", "web", "--to", "n2", "--dry-run", cluster=str(cluster))
    assert "restart (auto: allowed, and it cannot be dumped: process 1 (python3) uses io_uring" in told.out, told.err
    done = await asyncio.to_thread(tidy.migrator, "migrate", "web", "--to", "n2", cluster=str(cluster))
    assert done.code == 0, done.err
    assert "container web was stopped, and its processes begin anew on n2" in done.out
    assert (await asked(ip))[:2] == (2, 1)
