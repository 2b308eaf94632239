"""A container's life on one node, and words that try to be more than words."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import time

import pytest

from tests.lab.stage import MIGRATOR, Stage

TREES = "/var/lib/migrator/containers"
NASTY = [
    "$(touch /tmp/owned)",
    "`touch /tmp/owned`",
    "a'b",
    'a"b',
    "a;b",
    "a b",
    "../x",
    "a/b",
    "-rf",
    "Ünï",
    "x" * 4000,
]


def test_a_container_is_made_used_and_destroyed(tidy: Stage) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--memory", "64M", "--cpus", "0.5")
    script = "echo hello; exec sleep 1000"
    tidy.ok("ct", "create", "web", *words, "--label", "app=web", "--", "sh", "-c", script)
    row = tidy.ok("ct", "list", "--json").json()["containers"][0]
    assert (row["node"], row["state"], row["memory_bytes"], row["cpu_milli"]) == ("n1", "running", 64 << 20, 500)
    assert row["labels"] == {"app": "web"}
    controllers = tidy.on_node("n1", "cat", "/sys/fs/cgroup/cgroup.subtree_control").out.split()
    assert row["not_enforced"] == sorted({"cpu", "memory"} - set(controllers))
    assert tidy.says("web", "hello\n")
    assert tidy.ok("ct", "exec", "web", "--", "cat", "/proc/sys/kernel/hostname").out == "web\n"
    ended = tidy.migrator("ct", "exec", "web", "--", "sh", "-c", "umask; exit 7")
    assert (ended.code, ended.out) == (7, "0022\n")
    tidy.ok("ct", "stop", "web", "--grace", "0")
    assert tidy.places("web") == [("n1", "stopped")]
    tidy.ok("ct", "start", "web")
    assert tidy.says("web", "hello\nhello\n")
    refused = tidy.migrator("ct", "destroy", "web", "--yes")
    assert (refused.code, "--force" in refused.err) == (3, True)
    tidy.ok("ct", "destroy", "web", "--force", "--yes")
    assert tidy.places("web") == []


def test_containers_that_are_made_at_one_moment_get_ranges_of_their_own(tidy: Stage) -> None:
    def start(number: int) -> subprocess.Popen[str]:
        place = ("--node", f"n{number % 2 + 1}", "--template", "debian", "--ip", tidy.ip(number), "--no-start")
        return tidy.start("ct", "create", f"c{number}", *place, "--", "true")

    making = [start(number) for number in range(1, 5)]
    told = [made.communicate(timeout=90) for made in making]
    assert [made.returncode for made in making] == [0] * 4, told
    rows = tidy.ok("ct", "list", "--json").json()["containers"]
    bases = {tidy.on_node(row["node"], "cat", f"{TREES}/{row['name']}/id_base").out for row in rows}
    assert len(bases) == 4


def test_a_container_is_shown_restarted_and_entered(tidy: Stage) -> None:
    place = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--env", "TOKEN=hidden")
    tidy.ok("ct", "create", "web", *place, "--", "sh", "-c", "echo began; exec sleep 1000")
    shown = tidy.ok("ct", "show", "web")
    assert "node          n1, running, owner by generation 1\n" in shown.out
    assert "environment   TOKEN\n" in shown.out
    assert "hidden" not in shown.out + tidy.ok("ct", "show", "web", "--json").out
    assert tidy.ok("ct", "restart", "web", "--grace", "0").out == "container web on n1: restarted\n"
    assert tidy.says("web", "began\nbegan\n")
    tidy.ok("ct", "stop", "web", "--grace", "0")
    tidy.ok("ct", "restart", "web")
    assert tidy.places("web") == [("n1", "running")]
    refused = tidy.migrator("ct", "enter", "web")
    assert (refused.code, "ct exec web -- CMD" in refused.err) == (2, True)
    code, told = at_a_terminal([*MIGRATOR, "--cluster", tidy.cluster, "ct", "enter", "web"], b"hostname; exit 7\n")
    assert (code, b"web\r\n" in told) == (7, True), told


def at_a_terminal(argv: list[str], typed: bytes, timeout_s: float = 30) -> tuple[int, bytes]:
    """Runs a program at a terminal of its own, where something is typed; returns its exit code and what it showed."""
    pid, terminal = pty.fork()
    if not pid:
        os.execvp(argv[0], argv)
    os.write(terminal, typed)
    told, ends_s = b"", time.monotonic() + timeout_s
    with contextlib.suppress(OSError):  # how a terminal says that nobody is left at its other end
        while select.select([terminal], [], [], max(0, ends_s - time.monotonic()))[0]:
            told += os.read(terminal, 4096)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told


def test_exec_passes_streams_of_every_kind_and_the_exit_code(tidy: Stage) -> None:
    tidy.counter("web", "n1", 8)
    run = [*MIGRATOR, "--cluster", tidy.cluster, "ct", "exec", "web", "--"]
    for data in (b"", b"piped\n", bytes(3 << 20)):
        done = subprocess.run([*run, "cat"], input=data, capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (0, data)
    none = subprocess.run([*run, "cat"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    assert (none.returncode, none.stdout, none.stderr) == (0, b"", b"")
    fails = subprocess.run([*run, "sh", "-c", "echo no >&2; exit 3"], capture_output=True, timeout=30, check=False)
    assert (fails.returncode, fails.stderr) == (3, b"no\n")


def test_the_root_of_a_container_is_nobody_on_the_node(tidy: Stage) -> None:
    tidy.counter("web", "n1", 2)
    pids = tidy.on_node("n1", "cat", "/sys/fs/cgroup/ct/web/cgroup.procs").out.split()
    owners = {tidy.on_node("n1", "stat", "-c", "%u", f"/proc/{pid}").out.strip() for pid in pids}
    assert all(int(owner) >= 1 << 20 for owner in owners)


def test_words_of_a_command_reach_the_container_as_they_are(tidy: Stage) -> None:
    words = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", tidy.ip(3))
    tidy.ok(
        *words,
        "--env",
        "NASTY=$(id) 'x'",
        "--",
        "sh",
        "-c",
        'printf "%s\\n" "$NASTY" "$@"; exec sleep 100',
        "sh",
        *NASTY,
    )
    assert tidy.says("web", "".join(f"{line}\n" for line in ["$(id) 'x'", *NASTY]))
    assert tidy.on_node("n1", "ls", "/tmp/owned").code != 0


@pytest.mark.parametrize("name", [*NASTY, "", ".", "UPPER", "a\nb"])
def test_a_bad_name_is_one_line_and_changes_nothing(tidy: Stage, name: str) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(4), "--", "true")
    done = tidy.migrator("ct", "create", *(("--", name) if name.startswith("-") else (name,)), *words)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert tidy.leftovers() == []


def test_a_log_that_became_a_link_is_not_followed(tidy: Stage) -> None:
    tidy.counter("web", "n1", 5)
    swap = "rm -f /var/log/console.log; ln -s /etc/shadow /var/log/console.log"
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", swap)
    tidy.ok("ct", "stop", "web", "--grace", "0")
    done = tidy.migrator("ct", "logs", "web")
    assert done.code != 0
    assert "root:" not in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--template", "none", "--ip", "10.1.1.1"), "--template none: not on node n1"),
        (("--template", "debian", "--ip", "10.1.1"), "--ip '10.1.1'"),
        (("--template", "debian", "--ip", "10.1.1.0"), "--ip '10.1.1.0': not an address for one container"),
        (("--template", "debian", "--ip", "127.0.0.1"), "--ip '127.0.0.1': not an address"),
        (("--template", "debian", "--ip", "10.1.1.1", "--memory", "99999999T"), "--memory: too large"),
        (("--template", "debian", "--ip", "10.1.1.1", "--cpus", "nan"), "nan is not a number to count with"),
        (("--template", "debian", "--ip", "10.1.1.1", "--memory", "much"), "--memory: not a size"),
        (("--template", "debian", "--ip", "10.1.1.1", "--label", "x"), "--label 'x'"),
        (("--template", "debian", "--ip", "10.1.1.1", "--user", "a b"), "--user 'a b'"),
        (("--template", "debian", "--ip", "10.1.1.1", "--user", "1000:65536"), "a container's ids end at 65535"),
        (
            ("--template", "debian", "--ip", "10.1.1.1", "--cap-add", "NET_RAW", "--cap-drop", "net_raw"),
            "--cap-add NET_RAW: --cap-drop takes it away again",
        ),
    ],
)
def test_a_bad_argument_is_one_line_and_changes_nothing(tidy: Stage, words: tuple[str, ...], said: str) -> None:
    done = tidy.migrator("ct", "create", "web", "--node", "n1", *words, "--", "true")
    assert done.code == 2, done.err
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_an_address_in_use_is_refused(tidy: Stage) -> None:
    tidy.counter("web", "n1", 6)
    words = ("--node", "n2", "--template", "debian", "--ip", tidy.ip(6), "--", "true")
    taken = tidy.migrator("ct", "create", "other", *words)
    assert (taken.code, "container web on n1 has this address" in taken.err) == (3, True)
    host = f"10.213.{tidy.spec.subnet_index}.1"
    words = ("--node", "n2", "--template", "debian", "--ip", host, "--", "true")
    stranger = tidy.migrator("ct", "create", "other", *words)
    assert (stranger.code, "answers for this address" in stranger.err) == (3, True)
    assert [left for left in tidy.leftovers() if left.startswith("n2:")] == []  # it was being made by then


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--", "/nonexistent"), "ended at once: sh: 1: exec: /nonexistent: not found"),
        (("--restart", "always", "--", "false"), "ended at once: it has written no word"),
        (("--user", "nosuch", "--", "true"), "ended at once: user nosuch is not in /etc/passwd"),
    ],
)
def test_what_ends_at_once_is_not_said_to_run_and_is_not_kept(tidy: Stage, words: tuple[str, ...], said: str) -> None:
    place = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(7))
    done = tidy.migrator("ct", "create", "web", *place, *words)
    assert (done.code, done.err) == (4, f"migrator: node n1: container web {said}\n")
    assert tidy.places("web") == []


def test_a_command_runs_as_a_user_of_its_own_by_name_or_number(tidy: Stage) -> None:
    place = ("--node", "n1", "--template", "debian", "--cpus", "0.2")
    for number, user in enumerate(("nobody", "33", "1000:1001"), 7):
        tidy.ok("ct", "create", f"as{number}", *place, "--ip", tidy.ip(number), "--user", user, "--", "sleep", "1d")
    look = ("awk", "/^[UG]id|^Groups/ { print $2 }", "/proc/1/status")
    found = [tidy.ok("ct", "exec", f"as{number}", "--", *look).out.split() for number in (7, 8, 9)]
    assert found == [["65534"] * 3, ["33"] * 3, ["1000", "1001"]]


def test_one_whose_making_was_killed_before_it_was_described_says_so_when_it_is_started(tidy: Stage) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--no-start", "--", "sleep", "1000")
    tidy.ok("ct", "create", "half", *words)
    tidy.on_node("n1", "rm", "/var/lib/migrator/containers/half/net")
    started = tidy.migrator("ct", "start", "half")
    said = "migrator: node n1: container half was never made to its end; remove it: migrator ct destroy half\n"
    assert (started.code, started.err) == (3, said)
    tidy.ok("ct", "destroy", "half", "--yes")
