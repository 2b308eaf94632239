"""Every verb of the kit that changes something: called twice it does it once, and an old token does nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import pytest

from migrator.model.template import Manifest, Node
from migrator.transport import kit
from tests.lab.stage import Outcome, Stage
from tests.lab.test_kit import seeded

NODE = f"{kit.directory()}/node"
SCRIPTS = {path.name: path.read_text() for path in kit.SCRIPTS.iterdir() if path.is_file()}
MIB = 1 << 20

# Everything that a verb may change on a node, but for clocks.
WORLD = """
cd /var/lib/migrator
head -n 50 records/* cordon 2> /dev/null
ls -A templates
find containers templates/.part-* -path '*/upper/var/log/*' -prune -o -printf '%p %y %s %U %m\\n' 2> /dev/null |
    grep -v ' d ' | grep -v -e /lower/ -e /rootfs/ | sort
cat containers/*/descriptor.json 2> /dev/null
cd /run/migrator
for job in jobs/*/; do
    flock -n "$job/lock" true 2> /dev/null && echo "$job ended" || echo "$job runs"
done
ls move move/*/images keys links keepers 2> /dev/null
for ct in /sys/fs/cgroup/ct/*/; do
    grep frozen "$ct/cgroup.events"
    for pid in $(cat "$ct/cgroup.procs"); do # its own; what announces it stands there for a moment too
        awk -v pid="$pid" '$1 == "NSpid:" && NF == 3 { print "process", pid, $3 }' "/proc/$pid/status"
    done
done
sed -n 's/.*migrator:/key /p' /root/.ssh/authorized_keys
for end in /sys/class/net/ct*; do
    [ -e "$end/brport" ] && echo "$end open" || echo "$end closed"
done
grep /migrator/ /proc/mounts
exit 0
"""


def said(text: str) -> str:
    """An answer without what may differ between a first and a second one: clocks, and the word for which it is."""
    text = re.sub(r"^(released_at_ms|quiet_ms|ms|dump_ms|send_ms|carry \w+) .*$", r"\1", text, flags=re.MULTILINE)
    return re.sub(r"\b(now|before|already|taken|had)\b", "-", text).replace("made -\n", "")


class Twice:
    """Calls each verb twice, and keeps in mind which were."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.called: set[str] = set()

    def world(self, node: str) -> set[str]:
        return set(self.stage.on_node(node, "sh", "-c", WORLD).out.splitlines())

    def __call__(self, node: str, words: str, stdin: str = "") -> str:
        argv = ["sh", NODE, *words.split()]
        first = self.stage.on_node(node, *argv, stdin=stdin)
        assert first.code == 0, (words, first)
        before = self.world(node)
        second = self.stage.on_node(node, *argv, stdin=stdin)
        assert (second.code, said(second.out)) == (0, said(first.out)), (words, first, second)
        assert self.world(node) ^ before == set(), words
        self.called.add(words.split(maxsplit=1)[0])
        return first.out


def value(answer: str, key: str) -> str:
    return next(line.split(" ", 1)[1] for line in answer.splitlines() if line.startswith(f"{key} "))


def changing_verbs() -> set[str]:
    """What the kit itself says changes the node, and what may only be done by a token."""
    listed = re.search(r"half-way\.\n(.*?)\)\n", SCRIPTS["node"], re.DOTALL)
    assert listed is not None
    answers = set(re.findall(r"[a-z-]+", listed.group(1)))
    return answers | with_token()


def with_token() -> set[str]:
    """Verbs whose second word is a token, `lease` aside, which is how one gets it."""
    found = re.findall(r"^verb_([a-z_]+)\(\) \{ # CT TOKEN", "\n".join(SCRIPTS.values()), re.MULTILINE)
    return {verb.replace("_", "-") for verb in found}


GROUP = "/sys/fs/cgroup/ct/web"
EMPTY = f"i=0; while grep -q . {GROUP}/cgroup.procs; do i=$((i+1)); [ $i -lt 400 ] || exit 1; sleep 0.02; done"
ROOM = f"{64 * MIB} 500 {MIB} {10**12} 100000 {10**12}"


def test_each_verb_called_again_changes_nothing_more(tidy: Stage) -> None:
    tidy.ok("nodes")  # which brings the kit
    twice = Twice(tidy)
    twice("n1", f"ct-create other debian - 9961472 {ROOM} a-word")
    twice("n1", "ct-put other 1 descriptor.json 3", stdin="old")
    twice("n1", f"ct-set other 1 {32 * MIB} 250 {MIB} 99 0 {10**12} 100000 3 4", stdin="newmore")
    twice("n1", "ct-remove other a-word")
    template_verbs(twice)
    tidy.counter("web", "n1", 1, more=("--no-start", "--restart", "always"))
    twice("n1", "ct-put web 1 stop-signal 3 restart 7", stdin="15\nalways\n")
    volume_marks(twice)
    twice("n1", "ct-start web")
    twice("n1", "ct-stop web 0")
    twice("n1", "ct-start web")
    begin(twice, "n1", "n2", token=2)
    mark = "/run/migrator/move/web.2/list-now"
    tidy.on_node("n1", "touch", mark)  # asked before it began, it ends at once
    twice("n1", "track-files web 2")
    tidy.on_node("n1", "rm", mark)
    twice("n1", "own-network web 2")
    twice("n1", "huge-pages web 2")
    assert twice("n1", "await-ready web 2") == "ready now\n"
    twice("n1", "fence web 2 100")
    carried = [f"{what} " for what in ("addresses", "routes4", "routes6", "rules6", "nft")]
    rule = base64.b64encode(b"rule add pref 100 from 192.0.2.7 lookup 100\n").decode()
    told = "\n".join((*carried, f"rules4 {rule}", ""))
    net = tidy.on_node("n1", "cat", "/var/lib/migrator/containers/web/net").out
    assert twice("n2", f"check-network web {len(net)}", stdin=net + told) == ""
    twice("n2", "carry web 2", stdin=told)
    twice("n1", "job web 2 dump 30 dump web 2 images")
    twice("n1", "job web 2 files-final 30 send-files web 2 final")
    twice("n1", "manifest web 2")
    tidy.on_node("n1", "sh", "-c", "echo dump_ms 1 > /run/migrator/move/web.2/result")  # as a streamed dump says
    twice("n1", "await-dumped web 2 1")
    tidy.on_node("n1", "touch", "/run/migrator/move/web.2/nearly")
    assert twice("n1", "await-nearly web 2 1") == "nearly yes\n"
    tidy.on_node("n2", "sh", NODE, "job", "web", "2", "restore", "0", "restore", "web", "2", "images")
    twice("n2", "await-held web 2 30")
    twice("n2", "job web 2 restore 0 restore web 2 images")
    twice("n1", "seal web 2")
    twice("n2", "release web 2")
    assert twice("n2", "await-filled web 2 1") == "filled yes\n"
    twice("n1", "retire web 2")
    twice("n2", "settle web 2 2")
    assert tidy.places("web") == [("n2", "running")]
    late_commands_do_nothing(tidy, "n2")
    # And back, to where the ways of an abort begin.
    begin(twice, "n2", "n1", token=3)
    twice("n2", "job web 3 pre-dump1 30 pre-dump web 3 1")  # where the kernel tracks no memory it fails, once
    twice("n2", "fence web 3 100")
    twice("n2", "thaw web 3")
    twice("n1", "discard-target web 3")
    twice("n2", "settle web 3 2")
    twice("n2", "lease web 3 4 a-run")
    twice("n2", "fence web 4 100")
    assert tidy.on_node("n2", "sh", "-c", f"echo 1 > {GROUP}/cgroup.kill && {EMPTY}").code == 0
    twice("n2", "reclaim web 4")
    twice("n2", "settle web 4 2")
    twice("n2", "ct-start web")
    twice("n2", "boot")
    # By restart, there and back again.
    begin(twice, "n2", "n1", token=5, pages="none")
    twice("n2", "stop web 5 100 5")
    twice("n2", "thaw web 5")
    twice("n1", "discard-target web 5")
    twice("n2", "settle web 5 2")
    begin(twice, "n2", "n1", token=6, pages="none")
    twice("n2", "stop web 6 100 5")
    twice("n2", "job web 6 files-final 30 send-files web 6 final")
    twice("n1", "job web 6 restore 30 restore web 6 files")
    twice("n1", "await-held web 6 1")
    twice("n2", "seal web 6")
    assert "processes running" in twice("n1", "release web 6")
    twice("n2", "retire web 6")
    twice("n1", "settle web 6 3")
    assert tidy.places("web") == [("n1", "running")]
    begin(twice, "n1", "n2", token=7, pages="none")
    twice("n1", "stop web 7 100 5")
    twice("n1", "job web 7 files-final 30 send-files web 7 final")
    twice("n2", "job web 7 restore 30 restore web 7 files")
    twice("n2", "await-held web 7 1")
    twice("n1", "seal web 7")
    twice("n2", "release web 7")
    twice("n1", "retire web 7")
    twice("n2", "settle web 7 4")
    # An operator settles: one side stands down, the other adopts what it has.
    twice("n2", "lease web 7 8 a-run")
    twice("n2", "stand-down web 8 9")
    twice("n2", "thaw web 8")
    twice("n2", "settle web 8 2")
    twice("n1", "lease web 0 9 a-run")
    twice("n1", "adopt web 9 9")
    twice("n1", "settle web 9 9")
    twice("n1", "ct-remove web")
    twice("n2", "cordon a-run")
    twice("n2", "uncordon")
    twice("n2", "ct-stop web 0")
    twice("n2", "ct-remove web")
    called_in_jobs = {"send-files", "send-template", "dump", "pre-dump", "restore"}
    in_vms = {"throttle"}  # nodes here have no cpu controller
    assert changing_verbs() - twice.called - called_in_jobs - in_vms == set()


def template_verbs(twice: Twice) -> None:
    """A template of no files, so that nothing has to be sent for it."""
    manifest = Manifest({".": Node("dir"), "a": Node("dir"), "a/b": Node("link", mode=0o777, target="c")}, "any")
    words = f"empty {manifest.digest}"
    assert twice("n1", f"template-offer {words}", stdin=manifest.text()) == "reused 0\n"
    twice("n1", f"template-make {words}")
    assert twice("n1", f"template-offer {words}", stdin=manifest.text()) == "present yes\n"
    twice("n1", "template-remove empty")
    twice.stage.on_node("n1", "mkdir", "/var/lib/migrator/templates/.gone.x.1")
    twice("n1", "template-sweep")
    assert twice.stage.on_node("n1", "ls", "-A", "/var/lib/migrator/templates").out == "debian\n"


def volume_marks(twice: Twice) -> None:
    """A volume as a container's bundle tells of it, for as long as it takes to prove what it is."""
    volumes = "data /tmp/volume /srv/data\n"
    twice.stage.on_node("n1", "mkdir", "-p", "/tmp/volume")
    twice("n1", f"ct-put web 1 volumes {len(volumes)}", stdin=volumes)
    assert twice("n1", "mark-volume web data w1") == "path /tmp/volume\n"
    assert twice("n1", "see-mark /tmp/volume 9961472 w1") == "mark w1\n"
    twice("n1", "unmark-volume web data w1")
    assert twice("n1", "see-mark /tmp/volume 9961472 w1") == "mark \n"
    for gone in ("/var/lib/migrator/containers/web/volumes", "/tmp/volume"):
        twice.stage.on_node("n1", "rm", "-r", gone)


def late_commands_do_nothing(stage: Stage, node: str) -> None:
    """The move is settled: its own token, in a command that waited somewhere, begins nothing any more."""
    before = Twice(stage).world(node)
    late = (
        "job web 2 files9 0 send-files web 2 9",
        "fence web 2 60",
        "prepare web 2 source debian 0 1 0",
        "seal web 2",
    )
    for words in late:
        refused = stage.on_node(node, "sh", NODE, *words.split())
        assert (refused.code, "held by no run" in refused.err) == (10, True), words
    assert Twice(stage).world(node) ^ before == set()


def begin(twice: Twice, source: str, target: str, token: int, pages: str | int = MIB) -> None:
    """A move as far as the fence."""
    stage = twice.stage
    twice(source, f"lease web {token - 1} {token} a-run")
    twice(target, f"lease web 0 {token} a-run")
    twice(target, f"reserve web {token} {ROOM}")
    base = stage.on_node(source, "cat", "/var/lib/migrator/containers/web/id_base").out.strip()
    for node, role in ((source, "source"), (target, "target")):
        twice(node, f"prepare web {token} {role} debian {base} {400 * MIB} {pages} {10**9}")
    for name in ("descriptor.json", "config.json", "net", "criu.conf", "restart"):
        text = stage.on_node(source, "cat", f"/var/lib/migrator/containers/web/{name}").out
        twice(target, f"ct-put web {token} {name} {len(text.encode())}", stdin=text)
    address = stage.spec.ip(target)
    made = twice(source, f"keygen web {token} {address}")
    twice(target, f"admit web {token} {value(made, 'address')} 600 {value(made, 'key')} {address}")
    host_key = stage.on_node(target, "cut", "-d", " ", "-f", "1,2", "/etc/ssh/ssh_host_ed25519_key.pub").out.strip()
    twice(source, f"link web {token} root {address} 22 {host_key} plain")
    part, whole = f"/var/lib/migrator/templates/.part-web.{token}", "/var/lib/migrator/templates/tiny"
    stage.on_node(target, "sh", "-c", f"rm -rf {whole}; mkdir -p {part}/rootfs; echo digest > {part}/digest")
    twice(target, f"template-done web {token} tiny digest")
    assert stage.on_node(target, "rm", "-r", whole).code == 0
    twice(source, f"job web {token} files1 60 send-files web {token} 1")


def test_a_container_of_another_creator_is_neither_taken_for_ones_own_nor_removed(tidy: Stage) -> None:
    def verb(words: str) -> Outcome:
        return tidy.on_node("n1", "sh", NODE, *words.split())

    tidy.ok("nodes")  # which brings the kit
    assert verb(f"ct-create web debian - 9961472 {ROOM} mine").code == 0
    for words in (f"ct-create web debian - 9961472 {ROOM} other", f"ct-create web debian - 9961472 {ROOM}"):
        refused = verb(words)
        assert (refused.code, "exists here" in refused.err) == (10, True)
    assert verb("ct-remove web other").code == 10
    assert verb("ct-remove web mine").code == 0


@pytest.fixture(scope="module")
def taken_over(stage: Stage) -> Iterator[Stage]:
    """A move whose token 2 was superseded by run `later`, token 3, on both nodes."""
    stage.begin()
    seeded(stage, 2)
    for node in ("n1", "n2"):
        assert stage.on_node(node, "sh", NODE, "lease", "web", "2", "3", "later").code == 0
    yield stage
    stage.wipe()  # the journal knows nothing of the later run, and settles nothing
    assert stage.leftovers() == []


# What each takes after its token; on the node where it belongs.
WITH_TOKEN = {
    "carry": ("n2", ""),
    "ct-put": ("n1", "restart 0"),
    "reserve": ("n2", ROOM),
    "settle": ("n1", "7"),
    "job": ("n1", "files9 0 send-files web 2 9"),
    "keygen": ("n1", "127.0.0.1"),
    "link": ("n1", "root 127.0.0.1 22 ssh-ed25519 KEY"),
    "send-files": ("n1", "9"),
    "send-template": ("n1", "debian"),
    "track-files": ("n1", ""),
    "own-network": ("n1", ""),
    "fence": ("n1", "60"),
    "dump": ("n1", "images"),
    "huge-pages": ("n1", ""),
    "pre-dump": ("n1", "1"),
    "throttle": ("n1", "50"),
    "stop": ("n1", "60 5"),
    "seal": ("n1", ""),
    "thaw": ("n1", ""),
    "reclaim": ("n1", ""),
    "retire": ("n1", ""),
    "admit": ("n2", "127.0.0.1 60 ssh-ed25519 KEY"),
    "prepare": ("n2", f"target debian 9961472 {MIB} 0"),
    "template-done": ("n2", "debian -"),
    "restore": ("n2", "images"),
    "await-held": ("n2", "1"),
    "await-ready": ("n1", ""),
    "await-dumped": ("n1", "1"),
    "await-nearly": ("n1", "1"),
    "await-filled": ("n2", "1"),
    "manifest": ("n1", ""),
    "release": ("n2", ""),
    "discard-target": ("n2", ""),
    "stand-down": ("n1", "9"),
    "adopt": ("n2", "9"),
}


def test_the_table_of_verbs_with_a_token_is_whole() -> None:
    assert with_token() == set(WITH_TOKEN)


@pytest.mark.parametrize("verb", WITH_TOKEN)
def test_an_old_token_is_refused_and_told_who_holds_the_container(taken_over: Stage, verb: str) -> None:
    node, more = WITH_TOKEN[verb]
    refuses(taken_over, node, f"{verb} web 2 {more}")


def test_a_lease_by_an_old_token_is_refused_and_told_who_holds_the_container(taken_over: Stage) -> None:
    refuses(taken_over, "n1", "lease web 2 4 a-run")


def refuses(stage: Stage, node: str, words: str) -> None:
    before = Twice(stage).world(node)
    refused: Outcome = stage.on_node(node, "sh", NODE, *words.split())
    assert (refused.code, "held by run later with token 3" in refused.err) == (10, True), refused
    assert Twice(stage).world(node) ^ before == set()
