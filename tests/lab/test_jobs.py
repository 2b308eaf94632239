"""Jobs on a node: found again whatever became of the connection, never run twice, and ended when nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from migrator.transport import kit
from tests.lab.stage import Outcome, Stage
from tests.lab.test_kit import seeded

NODE = f"{kit.directory()}/node"
RUNS = "/tmp/runs"  # one line for every time that the work began
# Stands before rsync in the node's path: work that can be counted, and that ends when told to.
RSYNC = "/usr/local/sbin/rsync"
COUNTED = f"""#!/bin/sh
echo run >> {RUNS}
exec 3<> /tmp/end
read -r code <&3
exit "$code"
"""


@pytest.fixture(scope="module")
def begun(stage: Stage) -> Iterator[Stage]:
    """A container whose move has come as far as the fence; once for all tests here, each with a job of its own."""
    stage.begin()
    seeded(stage, 1)
    yield stage
    stage.ok("rollback", stage.last_run()["run"])
    stage.remove_all()
    assert stage.leftovers() == []


@pytest.fixture
def counted(begun: Stage) -> Iterator[Stage]:
    """Passes over the files only count themselves, and end when the test says so."""
    sh(begun, f"rm -f {RUNS} /tmp/end; mkfifo /tmp/end; cat > {RSYNC} && chmod 755 {RSYNC}", stdin=COUNTED)
    yield begun
    begun.on_node("n1", "rm", "-f", RSYNC, RUNS, "/tmp/end")
    for directory in sh(begun, "ls -d /run/migrator/jobs/web.2.* 2> /dev/null || :").split():
        begun.on_node("n1", "sh", "-c", f"kill -9 -$(cat {directory}/pid); rm -rf {directory}")


def sh(stage: Stage, script: str, stdin: str = "") -> str:
    done = stage.on_node("n1", "sh", "-c", script, stdin=stdin)
    assert done.code == 0, (script, done)
    return done.out


# The template's pass: that over the files runs in a jail, in which nothing can be counted.
def job(name: str = "files9", wait: str = "0", verb: str = "send-template web 2 debian") -> str:
    return f"sh {NODE} job web 2 {name} {wait} {verb}"


def end(stage: Stage, code: int = 0) -> None:
    sh(stage, f"echo {code} > /tmp/end")


def runs(stage: Stage) -> int:
    return sh(stage, f"cat {RUNS} 2> /dev/null || :").count("run")


def until(stage: Stage, condition: str) -> None:
    sh(stage, f"i=0; until {condition}; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done")


def until_begun(stage: Stage) -> None:
    until(stage, f"[ -s {RUNS} ]")


# Each stands before a command that the asking shell calls, and kills that shell there, as a cut connection may.
MOMENTS = {
    "before its directory is made": ("mkdir", "kill -9 $PPID; exit 1"),
    "before its directory is in place": ("mv", "kill -9 $PPID; exit 1"),
    "when its directory is in place": ("mv", '/usr/bin/mv "$@"; kill -9 $PPID; exit 1'),
    "before anything of it ran": ("setsid", "kill -9 $PPID; exit 1"),
    "before the reply": ("flock", "kill -9 $PPID; exit 1"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_job_whose_starter_dies_is_run_once_by_whoever_asks_next(counted: Stage, moment: str) -> None:
    command, act = MOMENTS[moment]
    mark = "-w 20 5" if command == "flock" else "web.2.files9"  # how its asker waits, and not the job's own waiting
    path = f"/usr/local/sbin/{command}"
    once = f"if /usr/bin/mkdir /tmp/once; then {act}; fi"
    stand_in = f'#!/bin/sh\ncase "$*" in\n*"{mark}"*) {once} ;;\nesac\nexec /usr/bin/{command} "$@"\n'
    sh(counted, f"cat > {path} && chmod 755 {path}", stdin=stand_in)
    try:
        assert counted.on_node("n1", "sh", "-c", f"{job(wait='20')}; echo ended $?").out.endswith("ended 137\n")
        said = sh(counted, f"for i in 1 2 3; do {job()} & done; wait")
        assert said == "job running\n" * 3
        until_begun(counted)  # only now may the stand-in go: the job's own shell may be just about to call it
    finally:
        counted.on_node("n1", "rm", "-rf", path, "/tmp/once")
    end(counted)
    assert sh(counted, job(wait="20")).startswith("job done\nexit 0\n")
    assert runs(counted) == 1


def test_a_job_that_was_ended_from_outside_is_told_as_lost_and_never_run_again(counted: Stage) -> None:
    sh(counted, job())
    until_begun(counted)
    sh(counted, "kill -9 -$(cat /run/migrator/jobs/web.2.files9/pid)")
    until(counted, "flock -n /run/migrator/jobs/web.2.files9/lock true")
    assert sh(counted, f"{job()}; {job()}") == "job lost\njob lost\n"
    assert runs(counted) == 1


def test_a_job_that_nobody_asks_for_ends_itself_and_says_so(counted: Stage) -> None:
    assert sh(counted, job(wait="0,2")) == "job running\n"
    until_begun(counted)
    assert sh(counted, f"for i in 1 2 3; do {job(wait='1,2')}; done") == "job running\n" * 3
    until(counted, "flock -n /run/migrator/jobs/web.2.files9/lock true")
    assert sh(counted, job()) == "job lost\nerr nobody has asked for it for 2 s\n"
    assert runs(counted) == 1


@pytest.mark.parametrize(
    ("name", "verb"),
    [("files-final", "send-files web 2 final"), ("dump", "dump web 2 images"), ("restore", "restore web 2 images")],
)
def test_what_the_fence_depends_on_has_no_such_end(counted: Stage, name: str, verb: str) -> None:
    path = "/usr/local/sbin/setsid"  # shows how it is started, and starts nothing
    sh(counted, f"cat > {path} && chmod 755 {path}", stdin=f'#!/bin/sh\necho "$@" > {RUNS}\n')
    try:
        sh(counted, job(name, "0,1", verb))
    finally:
        counted.on_node("n1", "rm", "-f", path)
    until_begun(counted)
    assert f"job-main /run/migrator/jobs/web.2.{name} 0 {verb}" in sh(counted, f"cat {RUNS}")


RECEIVERS = ("pages", "images", "rsync --server --daemon .")


@pytest.mark.parametrize("asked", RECEIVERS, ids=lambda asked: asked.split()[0])
async def test_a_receiver_ends_with_its_connection_and_when_nothing_comes(counted: Stage, asked: str) -> None:
    receive = f"setsid -w sh {kit.directory()}/receive web 2 '{asked}'"
    begun = "i=0; until ls -d /run/migrator/jobs/web.2.receive-* || [ $i -ge 200 ]; do i=$((i+1)); sleep 0.05; done"

    def on_target(script: str) -> Outcome:
        return counted.on_node("n2", "sh", "-c", script, timeout_s=20)

    held = f"rm -f /tmp/in; mkfifo /tmp/in; exec 3<> /tmp/in; {receive} {{}} < /tmp/in > /dev/null 2>&1 3>&- & "
    cut = await asyncio.to_thread(
        on_target, held.format("100") + f"{begun} > /dev/null 2>&1; exec 3>&-; wait; echo over"
    )
    assert cut.out == "over\n"
    silent = await asyncio.to_thread(on_target, held.format("1") + "wait; echo over")
    assert silent.out == "over\n"
    assert on_target("ls /run/migrator/jobs; rm /tmp/in").out == ""
    assert on_target("pgrep -x 'dd|tar|rsync'").code == 1
