"""Containers whose words, files and programs are made to be misread, on real nodes."""

from __future__ import annotations

import json
import shlex

from tests.lab.hand import NODE, linked, verb
from tests.lab.hand import shell as run_shell
from tests.lab.stage import Stage

TREES = "/var/lib/migrator/containers"
# Wherever a shell of the kit, of ssh, of a hook or of a job stands.
CANARY = "ls -d /*canary* 2> /dev/null; find /root /tmp /etc /run /var/lib/migrator -xdev -name canary"
HOSTILE = [
    "$(touch /canary)",
    "`touch /canary`",
    "'; touch /canary; '",
    '"; touch /canary; "',
    "\n touch /canary \n",
    "a\\nb\\012c",
    "-rf",
    "--rsh=touch /canary",
    "../../canary/..",
    "ünï\u202ecode \U0001f4a3",
    "*?[a]{b,c}",
    " lead and trail ",
    "x" * 4000,
]
# Keeps files of hostile names open and tells its words.
PROGRAM = """
import json, os, sys, time
os.makedirs('/root/d'); os.chdir('/root/d')
held = [open(name.replace('/', '|')[:200], 'w') for name in sys.argv[1:]]
for file in held: file.write(file.name); file.flush()
json.dump([sys.argv[1:], dict(os.environ)], open('/root/words', 'w'))
open('/root/ready', 'w').close(); time.sleep(1000)
"""
READ = """
import json, os
files = {name: open('/root/d/' + name).read() for name in os.listdir('/root/d')}
print(json.dumps([json.load(open('/root/words')), files]))
"""


def shell(stage: Stage, node: str, script: str) -> str:
    done = run_shell(stage, node, script)
    return done.out + done.err


def await_file(stage: Stage, path: str) -> None:
    until = f"until [ -e {path} ]; do sleep 0.02; done"
    stage.ok("ct", "exec", "web", "--", "timeout", "20", "sh", "-c", until)


def test_hostile_words_and_names_arrive_byte_for_byte_and_nothing_of_them_runs(tidy: Stage) -> None:
    labels = [word for n, value in enumerate(HOSTILE) for word in ("--label", f"l{n}={value}")]
    env = [word for n, value in enumerate(HOSTILE) for word in ("--env", f"E{n}={value}")]
    place = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), *labels, *env)
    tidy.ok("ct", "create", "web", *place, "--", "python3", "-c", PROGRAM, *HOSTILE, "#comment")
    await_file(tidy, "/root/ready")
    asked = [*HOSTILE, "--json", "-t", "--help", "--cluster", "--", "-"]
    said = tidy.ok("ct", "exec", "web", "--", "printf", "%s\\0", *asked).out
    assert said == "".join(f"{word}\0" for word in asked)
    before = tidy.ok("ct", "exec", "web", "--", "python3", "-c", READ).out
    tidy.ok("migrate", "web", "--to", "n2")
    assert tidy.places("web") == [("n2", "running")]
    after = tidy.ok("ct", "exec", "web", "--", "python3", "-c", READ).out
    assert after == before
    (words, environment), files = json.loads(after)
    assert words == [*HOSTILE, "#comment"]
    assert [environment[f"E{n}"] for n in range(len(HOSTILE))] == HOSTILE
    assert len(files) == len(words)
    assert all(name == text for name, text in files.items())
    (row,) = tidy.ok("ct", "list", "--json").json()["containers"]
    assert [row["labels"][f"l{n}"] for n in range(len(HOSTILE))] == HOSTILE
    plain = tidy.ok("ct", "list").out
    assert plain.replace("\n", "").isprintable()
    for node in tidy.spec.nodes:
        assert shell(tidy, node, CANARY) == ""


def test_a_logs_escapes_do_not_reach_the_terminal(tidy: Stage) -> None:
    script = r"printf 'a\tb\033]0;owned\007\n'; exec sleep 1000"
    place = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(2))
    tidy.ok("ct", "create", "web", *place, "--", "sh", "-c", script)
    tidy.ok("ct", "exec", "web", "--", "timeout", "20", "sh", "-c", "until [ -s /var/log/console.log ]; do :; done")
    assert tidy.ok("ct", "logs", "web").out == "a\tb?]0;owned?\n"
    tidy.ok("ct", "stop", "web", "--grace", "0")
    assert tidy.ok("ct", "logs", "web", "--json").json()["lines"] == ["a\tb\x1b]0;owned\x07"]
    upper = f"{TREES}/web/upper"
    for trick in (
        f"rm {upper}/var/log/console.log; ln -s /etc/shadow {upper}/var/log/console.log",
        f"rm -r {upper}/var/log; ln -s /etc {upper}/var/log; ln -sf /etc/shadow /etc/console.log",
        f"rm {upper}/var/log; mkdir {upper}/var/log; mkfifo {upper}/var/log/console.log; rm /etc/console.log",
    ):
        shell(tidy, "n1", trick)
        done = tidy.migrator("ct", "logs", "web")
        assert (done.code != 0, "root:" in done.out + done.err) == (True, False), (trick, done)


# Writes through mappings and puts the times back; opens a file whose directory is later a link to the node's own.
MAPPED = """
import mmap, os, sys, time
os.makedirs('/root/d'); os.makedirs('/root/m'); held = []
secret = open('/root/d/secret', 'w')
for name in sys.argv[1:]:
    file = open('/root/m/' + name, 'w+b'); file.truncate(8); held.append((file.name, mmap.mmap(file.fileno(), 8)))
def write(text):
    for name, mapping in held: mapping[:8] = text; os.utime(name, ns=(0, 0))
write(b'the old\\n'); open('/root/ready', 'w').close()
while not os.path.exists('/root/go'): time.sleep(0.01)
write(b'the new\\n')
os.rename('/root/d', '/root/e'); os.symlink('/root/keep', '/root/d'); open('/root/went', 'w').close()
time.sleep(1000)
"""


def test_the_last_pass_compares_files_of_any_name_and_follows_no_link_to_the_nodes_own(tidy: Stage) -> None:
    names = [
        "plain",
        "#comment",
        ";comment",
        "a\nb",
        "\n",
        "a\\012b",
        "-rf",
        "- x",
        "$(touch canary)",
        "x (deleted)",
        "ü'\"",
    ]
    place = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(3))
    tidy.ok("ct", "create", "web", *place, "--", "python3", "-c", MAPPED, *names)
    await_file(tidy, "/root/ready")
    shell(tidy, "n1", "mkdir -p /root/keep; echo of the node > /root/keep/secret")
    with linked(tidy, "web"):
        assert verb(tidy, "n1", "send-files web 2 1").code == 0
        tidy.ok("ct", "exec", "web", "--", "touch", "/root/go")
        await_file(tidy, "/root/went")
        assert verb(tidy, "n1", "fence web 2 60").code == 0
        assert verb(tidy, "n1", "send-files web 2 final").code == 0
        mapped = f"{TREES}/web/upper/root/m"
        arrived = run_shell(tidy, "n2", f"cd {mapped} && find . -type f -exec grep -LZ 'the new' {{}} +; ls -A | wc -l")
        assert arrived.out == f"{len(names) + 2}\n"  # two of the names hold a newline
        assert shell(tidy, "n2", f"grep -rl 'of the node' {TREES} /root 2> /dev/null") == ""
    shell(tidy, "n1", "rm -r /root/keep")


SWAP = """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs('/root/a/d'); os.symlink('/root/keep', '/root/a/l')
for n in range(300): open('/root/a/d/f%d' % n, 'w').write('of the container %d' % n)
open('/root/ready', 'w').close()
while True:  # RENAME_EXCHANGE: d is the directory or the link, and never neither
    if libc.renameat2(-100, b'/root/a/d', -100, b'/root/a/l', 2): raise OSError(ctypes.get_errno())
    time.sleep(0.0001)
"""


def test_a_directory_that_is_swapped_for_a_link_leads_no_pass_out_of_the_container(tidy: Stage) -> None:
    place = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(4))
    tidy.ok("ct", "create", "web", *place, "--", "python3", "-c", SWAP)
    await_file(tidy, "/root/ready")
    shell(tidy, "n1", "mkdir -p /root/keep; for n in $(seq 0 299); do echo of the node $n > /root/keep/f$n; done")
    with linked(tidy, "web"):
        came: list[int] = []  # of each pass; most find the directory swapped at one moment or another and take nothing
        while len(came) < 6 or (not any(came) and len(came) < 40):
            verb(tidy, "n1", f"send-files web 2 {len(came)}")
            came.append(int(shell(tidy, "n2", f"find {TREES}/web/upper -name 'f[0-9]*' | wc -l")))
            assert shell(tidy, "n2", f"grep -rl 'of the node' {TREES} 2> /dev/null | wc -l").strip() == "0"
        assert any(came), came
    shell(tidy, "n1", "rm -r /root/keep")


VERBS = {
    "job": ["ghost", "0", "dump", "0", "census", "ghost"],
    "job-main": ["/run/migrator/jobs/x", "census", "ghost"],
    "ct-create": ["ghost", "debian", "-", "1048576", "1", "1", "1", "0", "0", "0"],
    "ct-put": ["ghost", "1", "net", "1", "io", "1"],
    "ct-start": ["ghost"],
    "ct-stop": ["ghost", "0"],
    "ct-remove": ["ghost"],
    "ct-log": ["ghost", "5"],
    "ct-exec": ["-", "ghost", "id"],
    "lease": ["ghost", "5", "6", "r"],
    "reserve": ["ghost", "1", "1", "1", "1", "0", "0", "0"],
    "settle": ["ghost", "1", "1"],
    "inspect": ["ghost"],
    "keygen": ["ghost", "1", "127.0.0.1"],
    "link": ["ghost", "1", "root", "127.0.0.1", "1", "ssh-ed25519", "AAAA"],
    "send-files": ["ghost", "1", "1"],
    "send-template": ["ghost", "1", "debian"],
    "fence": ["ghost", "1", "1"],
    "watchdog": ["ghost", "0"],
    "dump": ["ghost", "1", "images"],
    "census": ["ghost"],
    "open-files": ["ghost"],
    "seal": ["ghost", "1"],
    "thaw": ["ghost", "1"],
    "reclaim": ["ghost", "1"],
    "retire": ["ghost", "1"],
    "admit": ["ghost", "1", "127.0.0.1", "1", "ssh-ed25519", "AAAA"],
    "prepare": ["ghost", "1", "target", "debian", "1048576", "1", "0"],
    "template-done": ["ghost", "1", "debian", "x"],
    "restore": ["ghost", "1", "images"],
    "await-held": ["ghost", "1", "0"],
    "release": ["ghost", "1"],
    "discard-target": ["ghost", "1"],
    "arp-owner": ["br0", "10.0.0.1", "soon"],
    "survey": ["data=/srv/data"],
    "described": ["/etc/shadow"],
    "ct-set": ["ghost", *"111", "max", *"001100", "0,0,0,0", *"000---"],
    "mark-volume": ["ghost", "data", "w"],
    "unmark-volume": ["ghost", "data", "w"],
    "see-mark": ["/tmp", "1048576", "w"],
    "see-ports": ["10.0.0.1", "tcp,-,80"],
    "obstacles": ["ghost"],
    "own-network": ["ghost", "1"],
    "check-network": ["ghost", "1"],
    "writing": ["ghost"],
    "carry": ["ghost", "1"],
    "huge-pages": ["ghost", "1"],
    "cordon": ["r"],
}
ARGUMENTS = ["a[$(touch /canary)]", "../../../canary", "1\nstate=released", "-oProxyCommand=touch /canary"]


def test_no_verb_of_the_kit_runs_or_writes_what_it_is_given(tidy: Stage) -> None:
    calls = []
    for name, words in VERBS.items():
        for at in range(len(words)):
            for hostile in ARGUMENTS:
                given = [*words[:at], hostile, *words[at + 1 :]]
                line = shlex.join(["timeout", "10", "bash", NODE, name, *given])
                calls.append(f"{line} < /dev/null > /dev/null 2>&1 & [ $((n = n + 1)) -lt 4 ] || {{ wait; n=0; }}")
    shell(tidy, "n3", "touch /tmp/mark; sleep 0.01")
    done = tidy.on_node("n3", "bash", "-s", stdin="n=0\n" + "\n".join(calls) + "\nwait\n", timeout_s=120)
    assert done.code == 0, done.err
    assert shell(tidy, "n3", CANARY) == ""
    new = "find / -xdev -newer /tmp/mark -type f -not -path '/proc/*' -not -path '/sys/*'"
    assert shell(tidy, "n3", new) == ""
    ours = "find /var/lib/migrator /run/migrator -newer /tmp/mark -type f; cat /var/lib/migrator/records/* 2> /dev/null"
    kept = ("/lock", "/features", "/machine", "/conntrack")
    left = {line for line in shell(tidy, "n3", ours).splitlines() if not line.endswith(kept)}
    assert left == set()
