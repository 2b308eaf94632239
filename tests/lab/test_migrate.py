"""One migration on real nodes, seen by a client that stays connected."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from tests.lab.client import CountingClient
from tests.lab.hand import NODE, verb
from tests.lab.stage import Outcome, Stage

# Stands before the real CRIU in the node's path, becomes it, and is killed as soon as it restores.
WRAPPER = "/usr/local/sbin/criu"
KILLED_CRIU = """#!/bin/sh
[ "$1" != swrk ] || (
    tries=0
    until grep -qs 'Restoring' /run/migrator/move/*/work/restore.log; do
        tries=$((tries + 1))
        [ $tries -lt 2000 ] || exit
        sleep 0.005
    done
    kill -9 $$
) > /dev/null 2>&1 &
exec /usr/sbin/criu "$@"
"""


async def in_thread(stage: Stage, *words: str) -> Outcome:
    return await asyncio.to_thread(stage.migrator, *words)


async def test_a_connection_survives_a_migration_there_and_back(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 1, mib=32)
    async with CountingClient(ip) as client:
        for target in ("n2", "n1"):
            done = await in_thread(tidy, "migrate", "web", "--to", target, "--json")
            assert done.code == 0, done.err
            await client.more(20)
            assert tidy.places("web") == [(target, "running")]
            migration = done.json()["migrations"][0]
            assert migration["state"] == "done"
            assert migration["blackout_ms"] > 0


async def test_files_written_through_a_mapping_arrive_whatever_their_times_say(tidy: Stage) -> None:
    # The file is written through a mapping, then its times are put back: only its being mapped tells.
    program = (
        "import mmap, os, socketserver, time\n"
        "f = open('/root/db', 'w+b'); f.truncate(1 << 20); m = mmap.mmap(f.fileno(), 1 << 20)\n"
        "m[0] = 1; n = 0\n"
        "class H(socketserver.StreamRequestHandler):\n"
        "    def handle(self):\n"
        "        global n\n"
        "        for line in self.rfile:\n"
        "            n += 1; m[8:16] = n.to_bytes(8, 'big'); os.utime('/root/db', ns=(0, 0))\n"
        "            self.wfile.write(b'%d\\n' % n)\n"
        "socketserver.ThreadingTCPServer(('', 7000), H).serve_forever()\n"
    )
    ip = tidy.ip(2)
    words = ("ct", "create", "db", "--node", "n1", "--template", "debian", "--ip", ip)
    tidy.ok(*words, "--", "python3", "-c", program)
    async with CountingClient(ip) as client:
        await client.more(20)
        done = await in_thread(tidy, "migrate", "db", "--to", "n3")
        assert done.code == 0, done.err
        await client.more(5)
    read = "import sys; d = open('/root/db', 'rb').read(); print(int.from_bytes(d[8:16], 'big'), len(d))"
    # The page cache would answer from memory; the file on the node's disk is what must be right.
    seen = tidy.ok("ct", "exec", "db", "--", "python3", "-c", read).out.split()
    assert int(seen[0]) >= client.answers
    assert seen[1] == str(1 << 20)


async def test_a_dry_run_tells_what_a_migration_would_find_and_touches_nothing(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 5, mib=32)
    records = [tidy.on_node(node, "sh", "-c", "cat /var/lib/migrator/records/*").out for node in ("n1", "n2")]
    told = tidy.ok("migrate", "web", "--to", "n2", "--dry-run", "--json").json()
    assert (told["mode"], told["findings"]) == ("stop-and-copy", [])
    assert told["memory_bytes"] > 32 << 20
    low_s, high_s = told["blackout_s_range"]
    assert 0 < low_s < told["blackout_s"] < high_s
    assert told["blackout_s"] < told["duration_s"]
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", "head -c 40000000 /dev/zero > /root/log")
    writes = tidy.ok("migrate", "web", "--to", "n2", "--dry-run", "--json").json()
    assert writes["files_changing_bytes"] >= 40_000_000
    assert writes["blackout_s"] >= told["blackout_s"] + writes["files_pause_s"] - 0.01
    assert writes["files_pause_s"] > 0.1
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", "head -c 40000000 /dev/zero > /tmp/held")
    held = tidy.ok("migrate", "web", "--to", "n2", "--dry-run", "--json").json()
    assert held["tmpfs_bytes"] >= 40_000_000
    assert held["tmpfs_pause_s"] > 1.0
    assert held["memory_bytes"] >= told["memory_bytes"] + 40_000_000
    follows = tidy.ok("migrate", "web", "--to", "n2", "--dry-run", "--mode", "post-copy", "--json").json()
    assert follows["blackout_s"] < follows["duration_s"]
    rounds = tidy.migrator("migrate", "web", "--to", "n2", "--dry-run", "--mode", "pre-copy", "--json")
    assert rounds.code in (0, 3)  # by what the kernel here tracks
    tidy.ok("cordon", "n2")
    refused = tidy.migrator("migrate", "web", "--to", "n2", "--dry-run", "--json")
    assert "it is cordoned" in refused.json()["findings"][0]
    assert records == [tidy.on_node(node, "sh", "-c", "cat /var/lib/migrator/records/*").out for node in ("n1", "n2")]
    assert refused.code == tidy.migrator("migrate", "web", "--to", "n2").code == 3
    tidy.ok("uncordon", "n2")
    async with CountingClient(ip) as client:
        await client.more(3)


# Accepts one connection after another, each {when}; until then they stay in the kernel's queue.
ACCEPTS = (
    "import os, socket, time\n"
    "s = socket.create_server(('', 7000), backlog=64)\n"
    "while True:\n"
    "    {when}\n"
    "    c = s.accept()[0]; c.sendall(b'hello'); c.close()\n"
)


def accepting(stage: Stage, number: int, when: str) -> str:
    """Starts container `shy` with a service of that kind, and waits until it listens; returns its address."""
    ip = stage.ip(number)
    words = ("ct", "create", "shy", "--node", "n1", "--template", "debian", "--ip", ip)
    stage.ok(*words, "--", "python3", "-c", ACCEPTS.format(when=when))
    for _ in range(200):
        if ":7000 " in stage.ok("ct", "exec", "shy", "--", "ss", "-Hltn").out:
            return ip
    raise AssertionError("nothing listens")


async def test_a_connection_that_nobody_accepts_is_not_lost_and_the_error_says_so(tidy: Stage) -> None:
    ip = accepting(tidy, 3, "while not os.path.exists('/root/now'): time.sleep(0.01)")
    with socket.create_connection((ip, 7000), 10) as waits:
        done = await in_thread(tidy, "migrate", "shy", "--to", "n2")
        assert done.code == 4
        assert "a connection to TCP port 7000 of shy waits to be accepted" in done.err
        assert "container shy runs on n1 as before" in done.err
        tidy.ok("ct", "exec", "shy", "--", "touch", "/root/now")
        assert await asyncio.to_thread(waits.recv, 5) == b"hello"


# A fence whose deadline comes while it waits, without the lock, for a connection to be accepted: the container is given
# back by then, and only afterwards the service accepts.
GIVEN_BACK = """
node=$1 record=/var/lib/migrator/records/shy
sh "$node" lease shy 1 2 a-run > /dev/null || exit 1
sh "$node" fence shy 2 0 & fence=$!
tries=0
until grep -qx void=2 "$record"; do
    tries=$((tries + 1))
    [ "$tries" -lt 2000 ] || exit 1
done
touch /var/lib/migrator/containers/shy/rootfs/root/now
wait "$fence"
"""


async def test_a_fence_that_waits_while_its_container_is_given_back_takes_no_hold_of_it(tidy: Stage) -> None:
    ip = accepting(tidy, 5, "while not os.path.exists('/root/now'): time.sleep(0.01)")
    with socket.create_connection((ip, 7000), 10) as waits:
        done = tidy.on_node("n1", "sh", "-c", GIVEN_BACK, "sh", NODE)
        assert (done.code, "was given back, and the fence of token 2 has ended" in done.err) == (10, True), done.err
        assert await asyncio.to_thread(waits.recv, 5) == b"hello"
    seen = tidy.on_node("n1", "sh", NODE, "inspect", "shy").out
    assert {"state serving", "processes running", "gate open"} <= set(seen.splitlines())
    assert tidy.on_node("n1", "nft", "list", "tables").out == ""
    assert verb(tidy, "n1", "settle shy 2 1").code == 0


async def test_a_service_that_is_slow_to_accept_moves_with_its_queue_emptied(tidy: Stage) -> None:
    ip = accepting(tidy, 4, "time.sleep(0.03)")
    moved = asyncio.Event()

    def once() -> bytes:
        with socket.create_connection((ip, 7000), 20) as asks:
            return asks.recv(5)

    async def ask_on() -> set[bytes]:
        heard = set()
        while not moved.is_set():
            heard.add(await asyncio.to_thread(once))
        return heard

    async def move() -> Outcome:
        try:
            return await in_thread(tidy, "migrate", "shy", "--to", "n2")
        finally:
            moved.set()

    done, *heard = await asyncio.gather(move(), *(ask_on() for _ in range(4)))
    assert done.code == 0, done.err
    assert heard == [{b"hello"}] * 4
    assert tidy.places("shy") == [("n2", "running")]


async def test_criu_killed_in_the_restore_rolls_back_with_the_same_pids_and_connection(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 3)
    pids_before = tidy.ok("ct", "exec", "web", "--", "ps", "-eo", "pid,lstart").out.splitlines()[:2]
    tidy.on_node("n2", "sh", "-c", f"cat > {WRAPPER} && chmod 755 {WRAPPER}", stdin=KILLED_CRIU)
    async with CountingClient(ip) as client:
        done = await in_thread(tidy, "migrate", "web", "--to", "n2")
        tidy.on_node("n2", "rm", WRAPPER)
        assert done.code == 4, (done.out, done.err)
        assert "runs on n1 as before" in done.err
        await client.more(20)
    assert tidy.places("web") == [("n1", "running")]
    assert tidy.ok("ct", "exec", "web", "--", "ps", "-eo", "pid,lstart").out.splitlines()[:2] == pids_before
    states = [e["state"] for e in tidy.last_run()["migrations"][0]["events"] if e["phase"] == "end"]
    assert states[-2:] == ["aborted", "rolled-back"]


def test_what_the_cluster_files_policy_says_of_a_move_holds_unless_an_option_says_otherwise(tidy: Stage) -> None:
    tidy.counter("web", "n1", 4)
    strict = tidy.journal.with_name("strict.yaml")
    strict.write_text(tidy.paths.cluster_file.read_text() + "policy: {mode: post-copy, blackout_s_max: 0.1}\n")
    for command in (("migrate", "web", "--to", "n2"), ("rehearse", "web", "--to", "n2")):
        done = tidy.migrator(*command, cluster=str(strict))
        assert (done.code, "over the limit of 0.10 s" in done.err) == (3, True), done.err
    words = ("migrate", "web", "--to", "n2", "--dry-run", "--json", "--max-blackout", "10")
    assert tidy.migrator(*words, cluster=str(strict)).json()["mode"] == "post-copy"
    assert tidy.migrator(*words, "--mode", "restart", cluster=str(strict)).json()["mode"] == "restart"


def test_a_target_too_small_is_refused_and_nothing_is_touched(tidy: Stage) -> None:
    tidy.counter("big", "n1", 4, more=("--memory", "1G"))
    text = tidy.paths.cluster_file.read_text()
    small = tidy.journal.with_name("small.yaml")
    small.write_text(text.replace("- name: n2\n", "- name: n2\n  capacity: {memory: 512M}\n"))
    done = tidy.migrator("migrate", "big", "--to", "n2", cluster=str(small))
    assert done.code == 3
    assert "memory" in done.err
    assert done.err.count("\n") >= 1
    assert tidy.places("big") == [("n1", "running")]


def test_a_pause_predicted_over_the_limit_is_refused_before_anything_is_touched(tidy: Stage) -> None:
    tidy.counter("web", "n1", 5, mib=64)
    done = tidy.migrator("migrate", "web", "--to", "n2", "--max-blackout", "0.1")
    assert done.code == 3
    assert "--max-blackout" in done.err
    assert tidy.places("web") == [("n1", "running")]


@pytest.mark.parametrize("after", ["fenced", "dumped"])  # in the dump, and after it
async def test_ctrl_c_in_the_pause_rolls_back_and_says_so(tidy: Stage, after: str) -> None:
    ip = tidy.counter("web", "n1", 6, mib=64)
    async with CountingClient(ip) as client:
        process = tidy.start("migrate", "web", "--to", "n2")
        assert process.stderr is not None
        while after not in (line := await asyncio.to_thread(process.stderr.readline)):
            assert line
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 4
        assert "what was not committed is rolled back" in err.splitlines()[-1]
        await client.more(10)
    assert tidy.places("web") == [("n1", "running")]


@pytest.mark.parametrize("after", ["released", "done"])
async def test_a_signal_that_comes_too_late_to_stop_anything_changes_nothing(tidy: Stage, after: str) -> None:
    ip = tidy.counter("web", "n1", 8)
    async with CountingClient(ip) as client:
        process = tidy.start("migrate", "web", "--to", "n2")
        assert process.stderr is not None
        while f": {after} after" not in (line := await asyncio.to_thread(process.stderr.readline)):
            assert line
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, err
        assert out.splitlines()[-1].endswith(": done")
        await client.more(10)
    assert tidy.places("web") == [("n2", "running")]
    assert tidy.last_run()["outcome"] == "done"


async def test_a_move_goes_on_when_nobody_reads_its_output_any_more(tidy: Stage) -> None:
    ip = tidy.counter("web", "n1", 9)
    async with CountingClient(ip) as client:
        process = tidy.start("migrate", "web", "--to", "n2")
        assert process.stdout is not None
        assert process.stderr is not None
        assert "leased" in await asyncio.to_thread(process.stderr.readline)
        process.stdout.close()
        process.stderr.close()
        assert await asyncio.to_thread(process.wait, 60) == 0
        await client.more(10)
    assert tidy.places("web") == [("n2", "running")]


def test_a_run_that_is_done_is_not_rolled_back(tidy: Stage) -> None:
    tidy.counter("web", "n1", 7)
    run = tidy.ok("migrate", "web", "--to", "n2", "--json").json()["run"]
    refused = tidy.migrator("rollback", run)
    assert (refused.code, "nothing to roll back" in refused.err) == (3, True)
    assert tidy.ok("show", run, "--json").json()["outcome"] == "done"


# All that a file can be: what rsync is to bring, and the digest of both sides is to see.
ALL_KINDS = """
cd /srv && mkdir -p d && echo plain > d/plain && ln d/plain d/hard && ln -s plain d/soft && mkfifo d/fifo
truncate -s 5M d/holes && echo end >> d/holes && printf 'x\\n' > "d/new
line" && chmod 4711 d/plain && touch -d '2001-02-03 04:05:06.789' d/soft d/plain
chown 12:34 d/holes && rm -f /etc/motd && python3 -c "import os; os.setxattr('d/holes', 'user.note', b'kept')"
"""


def test_files_of_every_kind_are_equal_on_both_sides_by_a_digest_that_notices_each_difference(tidy: Stage) -> None:
    tidy.counter("web", "n1", 9)
    tidy.ok("ct", "exec", "web", "--", "sh", "-ec", ALL_KINDS)
    upper = "/var/lib/migrator/containers/web/upper/srv/d"
    ask = 'KIT=$(ls -d /var/lib/migrator/kit/* | tail -n 1); . "$KIT/lib.sh"; . "$KIT/files.sh"; check_run() { :; }; '

    def digest() -> str:
        told = tidy.on_node("n2", "sh", "-c", f"{ask} verb_manifest web 1")
        assert told.code == 0, told.err
        return told.out

    moved = tidy.migrator("migrate", "web", "--to", "n2", "--verify-files")
    assert moved.code == 0, moved.err
    events = tidy.last_run()["migrations"][0]["events"]
    synced = next(e["data"] for e in events if (e["state"], e["phase"]) == ("synced", "end"))
    assert len(synced["manifest"][0]) == 64
    seeded = next(e["data"] for e in events if (e["state"], e["phase"]) == ("seeded", "end"))
    assert seeded["sent_bytes"] < 1 << 20  # a hole is no byte of its own
    before = digest()
    for change in (
        f"printf X | dd of={upper}/holes conv=notrunc bs=1 seek=100 && touch -r {upper}/plain {upper}/holes",
        f"chmod 4710 {upper}/plain",
        f"chown 0:0 {upper}/soft -h",
        f"touch -d '2001-02-03 04:05:07' {upper}/hard",
        f'python3 -c \'import os; os.setxattr("{upper}/holes", "user.note", b"lost")\'',
        f"rm {upper}/hard && cp -p {upper}/plain {upper}/hard",
    ):
        assert tidy.on_node("n2", "sh", "-c", change).code == 0, change
        after = digest()
        assert after != before, change
        before = after


# Of many files most rest. At some, without end: new files and directories, renames, removals, links of both kinds,
# modes, and files of the template.
RESTLESS = """
import os, pathlib, random, shutil, time
root = pathlib.Path("/srv/many")
for at in range(15000):
    if at % 100 == 0:
        (here := root / str(at // 100)).mkdir(parents=True)
    (here / str(at)).write_text(str(at))
print("ready", flush=True)
chance, turn = random.Random(1), 0
while True:
    turn += 1
    time.sleep(0.001)
    d = root / str(chance.randrange(20))
    d.mkdir(exist_ok=True)
    names = sorted(d.iterdir())
    (d / f"n{turn % 500}").write_text("x" * (turn % 999))
    if names and not names[0].is_dir():
        names[0].unlink()
    if turn % 7 == 0:
        (d / "sub" / str(turn % 5)).mkdir(parents=True, exist_ok=True)
    if turn % 31 == 0:
        shutil.rmtree(root / f"moved{turn % 3}", ignore_errors=True)
        d.rename(root / f"moved{turn % 3}")
    if turn % 43 == 0 and LINKS:
        one, other = root / f"one{turn % 9}", root / f"other{turn % 9}"
        other.unlink(missing_ok=True)
        one.write_text(str(turn))
        os.link(one, other)
    if turn % 53 == 0:
        os.chmod("/etc/hosts", 0o600 + turn % 64)
        shutil.rmtree("/etc/opt", ignore_errors=True)
        os.makedirs("/etc/opt/again", exist_ok=True)
"""


@pytest.mark.parametrize("links", [False, True])
def test_the_last_pass_over_many_files_asks_for_those_that_changed_and_brings_all(tidy: Stage, links: bool) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(9), "--memory", "128M")
    tidy.ok("ct", "create", "web", *words, "--", "python3", "-u", "-c", RESTLESS.replace("LINKS", str(links)))
    assert tidy.says("web", "ready\n")
    for target in ("n2", "n1"):
        moved = tidy.migrator("migrate", "web", "--to", target, "--verify-files", "--max-blackout", "60")
        assert moved.code == 0, moved.err
        events = tidy.last_run()["migrations"][0]["events"]
        synced = next(e["data"] for e in events if (e["state"], e["phase"]) == ("synced", "end"))
        assert (synced.get("listed", 0) > 0) is not links


# Files that are rewritten without end, closed, and given their old times again: only their inodes tell that. Beside
# them one that is open and has no name any more.
BACKDATED = """
import os, pathlib, time
for at in range(REST):
    if at % 100 == 0:
        (here := pathlib.Path("/srv/many") / str(at // 100)).mkdir(parents=True)
    (here / str(at)).write_text(str(at))
gone = open("/srv/gone", "w+")
gone.write("deleted, and open")
gone.flush()
os.unlink("/srv/gone")
names, turn = ["/#kept", "/;kept", "/srv/a b\\nc", *(f"/srv/kept{at}" for at in range(9))], 0
while True:
    turn += 1
    for name in names:
        pathlib.Path(name).write_text(f"{turn:9}")
        os.utime(name, ns=(0, 0))
    time.sleep(0.01)
    if turn == 2:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("rest", [0, 12000])  # of more than ten thousand the last pass is given names alone
def test_files_arrive_whose_times_were_put_back(tidy: Stage, rest: int) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(9))
    tidy.ok("ct", "create", "web", *words, "--", "python3", "-u", "-c", BACKDATED.replace("REST", str(rest)))
    assert tidy.says("web", "ready\n")
    moved = tidy.migrator("migrate", "web", "--to", "n2", "--verify-files")
    assert moved.code == 0, moved.err
