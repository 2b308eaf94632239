"""The node's verbs when replies are lost, locks are busy, files are full: asked again, they are true."""

from __future__ import annotations

import asyncio

from migrator.transport import kit
from tests.lab.client import CountingClient
from tests.lab.stage import Outcome, Stage
from tests.lab.test_network import inside

NODE = f"{kit.directory()}/node"
FROZEN = "grep -q 'frozen 1' /sys/fs/cgroup/ct/web/cgroup.events"


def verb(stage: Stage, node: str, *words: str) -> Outcome:
    return stage.on_node(node, "sh", NODE, *words)


def token_of(stage: Stage, node: str) -> str:
    """The token under which the container is held; nodes never begin again at 1."""
    told = verb(stage, node, "inspect", "web").out.splitlines()
    return next(line.split()[1] for line in told if line.startswith("token "))


def seeded(stage: Stage, number: int, blackout_s: float = 15) -> str:
    """A container whose orchestrator was killed right before the fence, which it had announced."""
    ip = stage.counter("web", "n1", number)
    assert stage.kill_at("web", "n2", "fenced:begin", blackout_s) == -9
    return ip


def test_a_fence_whose_reply_nobody_reads_is_whole(tidy: Stage) -> None:
    seeded(tidy, 1)
    token = token_of(tidy, "n1")
    tidy.on_node("n1", "sh", "-c", f"(sleep 0.3; sh {NODE} fence web {token} 60) | true")
    tidy.on_node("n1", "sh", "-c", f"i=0; until {FROZEN} || [ $i -gt 200 ]; do i=$((i+1)); sleep 0.05; done")
    assert tidy.on_node("n1", "sh", "-c", FROZEN).code == 0
    again = verb(tidy, "n1", "fence", "web", token, "60")
    assert (again.code, "fenced now" in again.out) == (0, True)


def test_a_shell_that_stands_ready_answers_as_the_verbs_do_and_goes_on_after_one_that_fails(tidy: Stage) -> None:
    tidy.counter("web", "n1", 4)
    asked = r"inspect web\nseal web 1\nno-verb web\ninspect ../web\ninspect * web\ninspect web\n"
    told = tidy.on_node("n1", "sh", "-c", f"printf '{asked}' | sh {NODE} stand-by; ls /run/migrator/.answer*").out
    first, seal, unknown, path, star, last, rest = told.split("\x1e")
    assert first == verb(tidy, "n1", "inspect", "web").out
    assert seal.startswith("0 \n")
    refused = verb(tidy, "n1", "seal", "web", "1")
    assert unknown == f"{refused.code} {refused.err.splitlines()[-1]}\n"
    assert path == "10 no such verb: no-verb\n"
    assert star == "10 not a container's name: ../web\n"
    assert last.startswith("10 not a container's name: *\n")
    assert last.partition("\n")[2] == first
    assert rest == "0 \n"


def test_a_fence_that_came_only_half_way_is_done_again_and_never_sealed_as_it_is(tidy: Stage) -> None:
    seeded(tidy, 2)
    token = token_of(tidy, "n1")
    assert verb(tidy, "n1", "fence", "web", token, "60").code == 0
    tidy.on_node("n1", "sh", "-c", "echo 0 > /sys/fs/cgroup/ct/web/cgroup.freeze")
    refused = verb(tidy, "n1", "seal", "web", token)
    assert (refused.code, "not frozen" in refused.err) == (12, True)
    assert verb(tidy, "n1", "fence", "web", token, "60").code == 0
    assert tidy.on_node("n1", "sh", "-c", FROZEN).code == 0
    assert verb(tidy, "n1", "seal", "web", token).code == 0
    assert verb(tidy, "n1", "thaw", "web", token).code == 0  # the journal has announced no seal, and would not touch it


def test_a_fence_tells_of_its_network_what_its_target_was_not_given(tidy: Stage) -> None:
    seeded(tidy, 6)
    token = token_of(tidy, "n1")
    assert inside(tidy, "n1", "nft add table inet own").code == 0
    first = verb(tidy, "n1", "own-network", "web", token).out
    mark = first.splitlines()[-1].removeprefix("mark ")
    assert "carry nft " in first
    assert verb(tidy, "n1", "fence", "web", token, "60", mark).out.count("carry") == 0
    assert verb(tidy, "n1", "fence", "web", token, "60").out.count("carry nft ") == 1
    assert inside(tidy, "n1", "nft add chain inet own more").code == 0
    assert verb(tidy, "n1", "fence", "web", token, "60", mark).out.count("carry nft ") == 1
    assert inside(tidy, "n1", "nft flush ruleset").code == 0
    assert verb(tidy, "n1", "fence", "web", token, "60", mark).out.count("carry ") == 1  # nothing, in place of what was
    assert verb(tidy, "n1", "thaw", "web", token).code == 0


async def test_a_watchdog_waits_for_a_busy_lock_and_then_does_its_work(tidy: Stage) -> None:
    ip = await asyncio.to_thread(seeded, tidy, 3)
    async with CountingClient(ip) as client:
        # Longer than any verb waits for the lock; the fence's deadline falls into it.
        token = await asyncio.to_thread(token_of, tidy, "n1")
        busy = f"sh {NODE} fence web {token} 1; exec 9>/var/lib/migrator/lock; flock 9; sleep 23"
        await asyncio.to_thread(tidy.on_node, "n1", "sh", "-c", busy, timeout_s=60)
        await client.more(5)


def test_an_older_token_changes_nothing(tidy: Stage) -> None:
    seeded(tidy, 4)
    token = str(int(token_of(tidy, "n1")) - 1)
    for words in (
        ("fence", "web", token, "60"),
        ("seal", "web", token),
        ("thaw", "web", token),
        ("retire", "web", token),
    ):
        refused = verb(tidy, "n1", *words)
        assert refused.code == 10, words
        assert "held by run" in refused.err
    for words in (("release", "web", token), ("discard-target", "web", token), ("settle", "web", token, "2")):
        assert verb(tidy, "n2", *words).code == 10, words


def test_a_lease_that_comes_after_its_move_was_undone_changes_nothing(tidy: Stage) -> None:
    seeded(tidy, 9)
    token = token_of(tidy, "n2")
    run = tidy.last_run()["run"]
    tidy.ok("rollback", run)
    late = verb(tidy, "n2", "lease", "web", "0", token, run)
    assert (late.code, "is past" in late.err) == (10, True)
    assert "state absent" in verb(tidy, "n2", "inspect", "web").out
    tidy.ok("migrate", "web", "--to", "n2")  # whose token is above all that


def test_of_two_that_have_one_journal_and_so_one_run_and_token_a_node_knows_one(tidy: Stage) -> None:
    tidy.counter("web", "n1", 9, more=("--no-start",))
    assert verb(tidy, "n1", "lease", "web", "1", "2", "r", "one").out == "lease taken\n"
    assert verb(tidy, "n1", "lease", "web", "1", "2", "r", "one").out == "lease had\n", "its reply was lost"
    other = verb(tidy, "n1", "lease", "web", "1", "2", "r", "other")
    assert (other.code, "is held by another orchestrator that works on run r" in other.err) == (10, True)
    assert verb(tidy, "n1", "settle", "web", "2", "1", "r/other").code == 10
    assert verb(tidy, "n1", "settle", "web", "2", "1", "r/one").code == 0


def test_a_lease_that_comes_after_a_discard_of_nothing_changes_nothing(tidy: Stage) -> None:
    assert verb(tidy, "n3", "discard-target", "late", "7").code == 0
    for token in ("6", "7"):
        assert verb(tidy, "n3", "lease", "late", "0", token, "r").code == 10
    assert verb(tidy, "n3", "lease", "late", "0", "8", "r").code == 0
    assert verb(tidy, "n3", "discard-target", "late", "8").code == 0


def test_the_floor_is_short_and_forgets_no_token(tidy: Stage) -> None:
    tidy.ok("nodes")  # installs the kit
    short = (
        f"cd {kit.directory()} && KIT=. && . ./lib.sh && FLOOR_NAMES_MAX=3 && "
        "for i in 1 2 3 4 5 6; do raise_floor f$i $((900 + i)); done; raise_floor f1 904; "
        "cat $DISK/floor; for ct in f1 f6 other; do floor_of $ct; echo $ct $floor; done"
    )
    told = tidy.on_node("n3", "sh", "-c", short).out.splitlines()
    assert told == ["* 904", "f5 905", "f6 906", "f1 904", "f1 904", "f6 906", "other 904"]
    for ct, floor in (("f6", "906"), ("other", "904")):  # what a name is told of is its own, and not the highest of all
        assert f"floor {floor}" in verb(tidy, "n3", "inspect", ct).out.splitlines()
    assert verb(tidy, "n3", "lease", "f1", "0", "904", "r").code == 10


def test_a_container_made_anew_is_not_moved_by_what_was_said_to_the_old_one(tidy: Stage) -> None:
    tidy.counter("web", "n1", 9)
    tidy.ok("migrate", "web", "--to", "n2")
    tidy.ok("migrate", "web", "--to", "n1")
    tidy.ok("ct", "destroy", "web", "--force", "--yes")
    tidy.counter("web", "n1", 9)
    for token in range(1, int(token_of(tidy, "n1"))):
        assert verb(tidy, "n1", "lease", "web", str(token), "99", "r").code == 10
        assert verb(tidy, "n1", "fence", "web", str(token), "60").code == 10


def test_a_full_disk_never_costs_the_operator_his_keys(tidy: Stage) -> None:
    seeded(tidy, 5)
    token = token_of(tidy, "n2")
    full = (
        "cp -a /root/.ssh /tmp/keys && mount -t tmpfs -o size=16k tmpfs /root/.ssh && cp -a /tmp/keys/. /root/.ssh/ && "
        "head -c 65536 /dev/zero > /root/.ssh/fill; wc -l < /root/.ssh/authorized_keys"
    )
    before = tidy.on_node("n2", "sh", "-c", full).out.strip()
    failed = verb(tidy, "n2", "discard-target", "web", token)
    after = tidy.on_node("n2", "sh", "-c", "wc -l < /root/.ssh/authorized_keys; umount /root/.ssh").out.strip()
    assert failed.code != 0
    assert after == before


def test_the_migrations_key_does_nothing_but_receive(tidy: Stage) -> None:
    seeded(tidy, 6)
    token = token_of(tidy, "n2")
    for asked in (
        "id",
        "rsync --server -s . files",
        "rsync --server --daemon . files",
        "rsync --server -vlogDtpre.iLsfxCIvu . /etc",
    ):
        refused = tidy.on_node("n2", "sh", f"{kit.directory()}/receive", "web", token, asked)
        assert refused.code == 10, (asked, refused)


def test_the_empty_root_of_a_restore_that_was_killed_with_its_criu_goes_with_the_move(tidy: Stage) -> None:
    root, log = "/tmp/.criu.mntns.aB3dE6", "/run/migrator/move/ghost.3/work/restore.log"
    tidy.on_node("n2", "sh", "-c", f"mkdir -p {root} {log.removesuffix('/restore.log')}; echo 'mnt: {root}/9' > {log}")
    assert verb(tidy, "n2", "discard-target", "ghost", "5").code == 0
    assert tidy.on_node("n2", "ls", "-d", root).code != 0


def test_names_that_begin_alike_are_kept_apart(tidy: Stage) -> None:
    tidy.counter("web", "n1", 7)
    tidy.counter("web-1", "n1", 8)
    assert tidy.kill_at("web-1", "n2", "restored:end") == -9
    tidy.ok("migrate", "web", "--to", "n2")
    run = next(r["run"] for r in tidy.ok("runs", "--json").json()["runs"] if r["outcome"] == "unfinished")
    tidy.ok("resume", run)
    assert tidy.places("web") == [("n2", "running")]
    assert tidy.places("web-1") == [("n2", "running")]
    dotted = tidy.migrator("migrate", "web.1", "--to", "n3")
    assert dotted.code == 2


def test_a_slow_criu_is_not_taken_for_a_dead_one(tidy: Stage) -> None:
    """The runtime asks one CRIU for its version and restores with another; on a busy node both take their time."""
    slow = '#!/bin/sh\ncase $1 in swrk) sleep 0.8 ;; esac\nexec /usr/sbin/criu "$@"\n'
    tidy.counter("web", "n1", 9)
    put = "cat > /usr/local/sbin/criu && chmod 755 /usr/local/sbin/criu"
    assert tidy.on_node("n2", "sh", "-c", put, stdin=slow).code == 0
    try:
        done = tidy.migrator("migrate", "web", "--to", "n2")
    finally:
        tidy.on_node("n2", "rm", "-f", "/usr/local/sbin/criu")
    assert done.code == 0, done.err
    assert tidy.places("web") == [("n2", "running")]
