"""Pre-copy, where the kernel tracks what is written: memory goes in rounds, and all of it arrives."""

from __future__ import annotations

import asyncio

from tests.lab.client import CountingClient
from tests.lab.stage import Stage
from tests.vms.test_moves import BLACKOUT, CONNECT_TRIES, LIMIT_BYTES, MOVE_TIMEOUT_S

MIB = 1 << 20
GIVEN_UP, NEEDS_OPERATOR = 4, 5
ROUND_LOOKS = 20

# Every page of its memory, of a child's and of what they share holds its own number and how often it was written; the
# program keeps the same in a list. Asked on 7001 it compares all of them, and tells how many there are.
PROGRAM = """
import array, mmap, os, socketserver, sys, threading, time
MIB, PAGES_S, PAGE = int(sys.argv[1]), int(sys.argv[2]), 4096
class Memory:
    def __init__(self, number, size, flags):
        self.number, self.pages = number, size // PAGE
        self.map, self.versions = mmap.mmap(-1, size, flags), array.array("I", bytes(4 * (size // PAGE)))
        self.lock = threading.Lock()
        for page in range(self.pages): self.write(page)
    def text(self, page): return b"%d:%d:%d;" % (self.number, page, self.versions[page])
    def write(self, page):
        with self.lock:
            self.versions[page] += 1
            text = self.text(page)
            self.map[page * PAGE:page * PAGE + len(text)] = text
    def check(self):
        with self.lock:
            for page in range(self.pages):
                text = self.text(page)
                if self.map[page * PAGE:page * PAGE + len(text)] != text:
                    return "page %d of %d is wrong" % (page, self.number)
        return "%d pages" % self.pages
PRIVATE, SHARED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
def go_on(memory, port, pages_s):
    class Check(socketserver.StreamRequestHandler):
        def handle(self): self.wfile.write(memory.check().encode())
    threading.Thread(target=Server(("", port), Check).serve_forever, daemon=True).start()
    page = 0
    while pages_s:
        for _ in range(max(1, pages_s // 10)):
            memory.write(page)
            page = (page + 1) % memory.pages
        time.sleep(0.1)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
if os.fork() == 0:
    go_on(Memory(1, MIB << 18, PRIVATE), 7002, max(1, PAGES_S // 4))
if os.fork() == 0:
    go_on(Memory(2, MIB << 18, SHARED), 7003, max(1, PAGES_S // 4))
threading.Thread(target=go_on, args=(Memory(0, MIB << 20, PRIVATE), 7001, PAGES_S), daemon=True).start()
count = 0
class Count(socketserver.StreamRequestHandler):
    def handle(self):
        global count
        for line in self.rfile:
            count += 1
            self.wfile.write(b"%d\\n" % count)
Server(("", 7000), Count).serve_forever()
"""


def make(vms: Stage, name: str, number: int, mib: int, pages_s: int) -> str:
    ip = vms.ip(number)
    options = ("--template", "debian", "--ip", ip, "--memory", str(2 * LIMIT_BYTES), "--cpus", "0.5")
    words = ("python3", "-c", PROGRAM, str(mib), str(pages_s))
    done = vms.migrator("ct", "create", name, "--node", "n1", *options, "--", *words, timeout_s=MOVE_TIMEOUT_S)
    assert done.code == 0, done.err
    return ip


async def memory_of(ip: str) -> list[str]:
    """What each of the three says of all of its pages."""
    told = []
    for port in (7001, 7002, 7003):
        reader, writer = await asyncio.open_connection(ip, port)
        told.append((await asyncio.wait_for(reader.read(), 120)).decode())
        writer.close()
    return told


async def last_run(vms: Stage) -> str:
    runs = await asyncio.to_thread(vms.migrator, "runs", "--json", timeout_s=60)
    return str(runs.json()["runs"][0]["run"])


async def events(vms: Stage) -> dict[str, dict[str, object]]:
    """What the only run's only move reached, by state."""
    shown = (await asyncio.to_thread(vms.migrator, "show", await last_run(vms), "--json", timeout_s=60)).json()
    return {e["state"]: e["data"] for e in shown["migrations"][0]["events"] if e["phase"] == "end"}


def limits(vms: Stage, node: str) -> list[str]:
    return vms.on_node(node, "cat", "/sys/fs/cgroup/ct/web/cpu.max").out.split()


async def test_memory_goes_in_rounds_while_it_is_written_and_all_of_it_arrives(vms: Stage) -> None:
    ip = make(vms, "web", 0, mib=48, pages_s=200)
    pages = [f"{size // 4096} pages" for size in (48 * MIB, 12 * MIB, 12 * MIB)]
    async with CountingClient(ip, CONNECT_TRIES) as client:
        assert await memory_of(ip) == pages
        words = ("migrate", "web", "--to", "n2", "--mode", "pre-copy", "--target-blackout", "60", *BLACKOUT)
        done = await asyncio.to_thread(vms.migrator, *words, timeout_s=MOVE_TIMEOUT_S)
        assert done.code == 0, done.err
        assert vms.places("web") == [("n2", "running")]
        await client.more(3, timeout_s=MOVE_TIMEOUT_S)
        assert await memory_of(ip) == pages
        reached = await events(vms)
        assert reached["checked"]["mode"] == "pre-copy"
        assert list(reached)[-4:] == ["released", "filled", "source-removed", "done"]
        rounds = reached["seeded"]["rounds"]
        assert isinstance(rounds, list)
        assert len(rounds) >= 2
        first, last = rounds[0]["sent"], rounds[-1]["sent"]
        assert first > 60 * MIB
        assert last < first / 2
        late = reached["fenced"]["rounds"]
        assert isinstance(late, list), "what was written until all stood ready has gone before the freeze"
        assert 0 < sum(each["sent"] for each in late) < first
        sent_in_pause = reached["dumped"]["image_bytes"]
        assert isinstance(sent_in_pause, int)
        assert sent_in_pause < first / 2


# On the target: stops who places the pages of rounds when the copy holds, and kills it when the container runs.
STOPPED = """
move=$1
i=0
until [ -e "$move/sent" ]; do i=$((i+1)); [ "$i" -lt 6000 ] || exit 1; sleep 0.05; done
pkill -STOP -f '[s]tream_in.py'
until [ -e "$move/going" ]; do i=$((i+1)); [ "$i" -lt 6000 ] || exit 2; sleep 0.05; done
[ ! -e "$move/filled" ] || exit 3
pkill -KILL -o -f '[s]tream_in.py'
"""


async def test_one_that_cannot_get_what_its_rounds_brought_is_killed_and_lives_on_where_it_was(vms: Stage) -> None:
    ip = make(vms, "web", 0, mib=48, pages_s=200)
    async with CountingClient(ip, CONNECT_TRIES):  # its memory is all there when it answers
        assert (await memory_of(ip))[0] == f"{48 * MIB // 4096} pages"
    kill = ("sh", "-c", STOPPED, "sh", "/run/migrator/move/web.2")
    killing = asyncio.create_task(asyncio.to_thread(vms.on_node, "n2", *kill, timeout_s=MOVE_TIMEOUT_S))
    words = ("migrate", "web", "--to", "n2", "--mode", "pre-copy", "--target-blackout", "60", *BLACKOUT)
    done = await asyncio.to_thread(vms.migrator, *words, timeout_s=MOVE_TIMEOUT_S)
    killed = await killing
    assert killed.code == 0, (killed.code, killed.err)
    assert done.code == NEEDS_OPERATOR, done.err
    assert "what its rounds had brought could not be put into its place" in done.err
    assert sorted(vms.places("web")) == [("n1", "sealed"), ("n2", "released")]
    words = ("settle", "web", "--keep", "n1", "--word", "web on n2 is given up")
    kept = await asyncio.to_thread(vms.migrator, *words, timeout_s=MOVE_TIMEOUT_S)
    assert kept.code == 0, kept.err
    assert vms.places("web") == [("n1", "running")]
    assert (await memory_of(ip))[0] == f"{48 * MIB // 4096} pages"


async def test_what_is_written_too_fast_is_given_up_with_the_numbers_and_runs_on_unharmed(vms: Stage) -> None:
    ip = make(vms, "web", 0, mib=24, pages_s=20_000)
    kept = limits(vms, "n1")
    words = ("migrate", "web", "--to", "n2", "--mode", "pre-copy", "--target-blackout", "0.6", *BLACKOUT)
    async with CountingClient(ip, CONNECT_TRIES) as client:
        for more in ((), ("--not-convergent", "throttle")):
            done = await asyncio.to_thread(vms.migrator, *words, *more, timeout_s=MOVE_TIMEOUT_S)
            assert done.code == GIVEN_UP, done.err
            assert "writes memory faster than it goes to n2" in done.err
            assert "0.60 s wanted" in done.err
            assert "container web runs on n1 as before" in done.err
            assert vms.places("web") == [("n1", "running")]
            assert limits(vms, "n1") == kept
            await client.more(3, timeout_s=MOVE_TIMEOUT_S)
        assert (await memory_of(ip))[0] == f"{24 * MIB // 4096} pages"


async def test_what_an_orchestrator_left_in_a_round_is_taken_back_and_moved_by_a_resume(vms: Stage) -> None:
    ip = make(vms, "web", 0, mib=48, pages_s=200)
    async with CountingClient(ip, CONNECT_TRIES) as client:
        words = ("migrate", "web", "--to", "n2", "--mode", "pre-copy", "--target-blackout", "60", *BLACKOUT)
        started = vms.start(*words)
        try:
            await asyncio.to_thread(await_round, vms)
        finally:
            started.kill()
            started.wait(timeout=60)
        resumed = await asyncio.to_thread(vms.migrator, "resume", await last_run(vms), timeout_s=MOVE_TIMEOUT_S)
        assert resumed.code == 0, resumed.err
        assert vms.places("web") == [("n2", "running")]
        await client.more(3, timeout_s=MOVE_TIMEOUT_S)
        assert (await memory_of(ip))[0] == f"{48 * MIB // 4096} pages"


def await_round(vms: Stage) -> None:
    """Returns when pages of a first round have come to n2; fails when none do for minutes."""
    pages = "/run/migrator/move/web.2/images/pre-1/pages-1.img"
    look = f"i=0; until [ -s {pages} ]; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done"
    assert any(vms.on_node("n2", "sh", "-c", look).code == 0 for _ in range(ROUND_LOOKS))
