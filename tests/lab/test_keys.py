"""The key of a migration: what it opens, from where, how long, and that nothing it opened outlives it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from migrator.lab import lab as labs
from tests.lab.hand import NODE, linked, shell
from tests.lab.stage import Stage

KEY = "/run/migrator/keys/web.2"
LINK = "/run/migrator/links/web.2"
OVER_LINK = f"ssh -F /dev/null -o BatchMode=yes -o ControlPath={LINK}"
SSH = (
    "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
)


@pytest.fixture
def seeded(tidy: Stage) -> Iterator[Stage]:
    tidy.counter("web", "n1", 1, more=("--no-start",))
    with linked(tidy, "web"):
        yield tidy


@pytest.fixture
def operator(seeded: Stage) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's session on n2, which is nobody's to end."""
    login = [
        "ssh",
        "-F",
        "/dev/null",
        "-i",
        str(seeded.paths.key),
        "-o",
        f"UserKnownHostsFile={seeded.paths.known_hosts}",
    ]
    words = [*login, f"root@{seeded.spec.ip('n2')}", "echo here && sleep 120"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"here\n"
        yield session
        session.kill()


def connections(stage: Stage) -> str:
    """What n1 has open to n2's sshd, as n2 sees it."""
    source = stage.spec.ip("n1")
    return shell(stage, "n2", f"ss -tnH state established '( sport = :22 )' dst {source}").out


def test_with_the_key_one_does_nothing_but_receive_from_one_address_in_its_time(seeded: Stage) -> None:
    peer = f"root@{seeded.spec.ip('n2')}"
    login = f"{SSH} -i {KEY} -o IdentitiesOnly=yes"
    for options, asked in (
        ("", "id"),
        ("", "'sh -c id'"),
        ("", "'ping; id'"),
        ("", "'$(id)'"),
        ("", "rsync --server --sender . /etc"),
        ("-s", "sftp"),
        ("-tt", "id"),
    ):
        done = shell(seeded, "n1", f"{login} {options} {peer} {asked} < /dev/null")
        assert (done.code != 0, "uid=" in done.out) == (True, False), (asked, done)
        assert options != "-tt" or "PTY allocation request failed" in done.err
    forward = shell(seeded, "n1", f"{login} -W 127.0.0.1:22 {peer} < /dev/null")
    assert (forward.code != 0, "SSH-2.0" in forward.out, "prohibited" in forward.err) == (True, False, True)
    back = shell(seeded, "n1", f"{login} -o ExitOnForwardFailure=yes -R 7777:127.0.0.1:22 {peer} ping < /dev/null")
    assert (back.code, "pong" in back.out) == (255, False)
    key = shell(seeded, "n1", f"cat {KEY}").out
    stolen = (
        f"umask 077; cat > /tmp/stolen; {login.replace(KEY, '/tmp/stolen')} {peer} ping < /dev/null; rm /tmp/stolen"
    )
    other = seeded.on_node("n3", "sh", "-c", stolen, stdin=key)
    assert ("pong" in other.out, "Permission denied" in other.err) == (False, True)
    assert shell(seeded, "n1", f"{login} {peer} ping < /dev/null").out == "pong\n"
    public = shell(seeded, "n1", f"cat {KEY}.pub").out.split()
    admitted = shell(seeded, "n2", f"sh {NODE} admit web 2 {seeded.spec.ip('n1')} 0 {public[0]} {public[1]}")
    assert admitted.code == 0
    late = shell(seeded, "n1", f"{login} {peer} ping < /dev/null")
    assert (late.code != 0, "pong" in late.out) == (True, False)  # by sshd, or in its very second by the receiver
    open_still = shell(seeded, "n1", f"{OVER_LINK} peer ping < /dev/null")
    assert ("pong" in open_still.out, connections(seeded)) == (False, "")


def test_what_a_lying_source_sends_stays_in_the_one_directory(seeded: Stage) -> None:
    upper = "/var/lib/migrator/containers/web/upper"
    for asked in (
        "rsync --server -vlogDtpKre.iLsfxCIvu . files",
        "rsync --server --daemon --config=/tmp/x .",
        "rsync --server --daemon . files",
        "rsync --server --sender -vlogDtpre.iLsfxCIvu . files",
    ):
        done = shell(seeded, "n1", f"{OVER_LINK} peer '{asked}' < /dev/null")
        assert (done.code, "this key receives" in done.err) == (10, True), (asked, done)
    before = shell(seeded, "n2", "touch /tmp/mark; ls -laR /etc /root | sha256sum").out
    attack = f"""
        rm -rf /tmp/t /tmp/got; mkdir -p /tmp/t/out /tmp/u /tmp/got; echo bad > /tmp/t/out/owned
        ln -s /etc /tmp/u/out; ln -s ../../../../../etc /tmp/u/up; ln -s /etc/passwd /tmp/u/passwd; cd /tmp
        r() {{ rsync -e '{OVER_LINK}' "$@"; }}
        r -a u/ peer::files; echo "first $?"
        r -rK t/ peer::files; echo "keep $?"
        printf 'out/owned\\0' > list; r -r --from0 --files-from=list t/ peer::files; echo "through $?"
        r -r t/ peer::files/out/; echo "below $?"
        r -r t/ peer::files/../../..; echo "above $?"
        r -r --write-devices t/ peer::files; echo "devices $?"
        r -r --log-file=/dev/null --backup --backup-dir=/etc t/ peer::files; echo "backup $?"
        r -r t/ peer::template; echo "template $?"
        r -a peer::files/ got/; echo "back $?"
        r -a --copy-links peer::files/passwd got/; echo "link $?"
        rm -rf /tmp/t /tmp/u /tmp/list; ls -A got; rm -r got
    """
    done = shell(seeded, "n1", attack)
    codes = dict(line.split() for line in done.out.splitlines())
    assert codes.pop("first") == "0", done
    assert {name for name, code in codes.items() if code == "0"} <= {"through", "below", "above"}, done
    assert len(codes) == 9, done
    assert shell(seeded, "n2", f"find / -name owned -not -path '{upper}/*' -not -path '/proc/*'").out == ""
    images = """
        rm -rf /tmp/i; mkdir -p /tmp/i/a; cd /tmp/i; ln -s /etc out; ln -s /etc/passwd pages-1.img; echo x > a/f
        tar -cf ../1.tar out pages-1.img; rm out; mkdir out; echo bad > out/owned; tar -cf ../2.tar out/owned
        tar --transform 's|^a|../../../../../../../etc|' -Pcf ../3.tar a/f
        for i in 1 2 3; do OVER peer images < ../$i.tar; echo "images $?"; done
        OVER peer pages < /tmp/2.tar; echo "pages $?"; rm -rf /tmp/i /tmp/[123].tar
    """
    sent = shell(seeded, "n1", images.replace("OVER", OVER_LINK))
    assert "images 0" not in sent.out
    assert shell(seeded, "n2", "ls -laR /etc /root | sha256sum; find /etc /root -newer /tmp/mark -type f").out == before


def test_a_key_that_ends_takes_its_connections_with_it_and_no_other(
    seeded: Stage, operator: subprocess.Popen[bytes]
) -> None:
    assert connections(seeded) != ""
    noted = "/run/migrator/keys/web.2.session-1"
    innocent = f"sleep 100 > /dev/null 2>&1 & echo $! 1 > {noted}; cat {noted}"
    pid = shell(seeded, "n2", innocent).out.split()[0]
    done = shell(seeded, "n2", f"sh {NODE} discard-target web 2")
    assert done.code == 0, done
    assert connections(seeded) == ""
    assert shell(seeded, "n2", "ls /run/migrator/keys; grep -c migrator: /root/.ssh/authorized_keys").out == "0\n"
    assert operator.poll() is None
    assert shell(seeded, "n2", f"kill {pid}").code == 0  # another process had come to that number


def test_a_take_over_ends_the_older_key_and_what_came_in_with_it_on_both_sides(
    seeded: Stage, operator: subprocess.Popen[bytes]
) -> None:
    master = shell(seeded, "n1", f"{OVER_LINK} -O check peer 2>&1 | tr -dc 0-9").out
    assert shell(seeded, "n2", f"sh {NODE} lease web 2 3 later").code == 0
    assert connections(seeded) == ""
    assert shell(seeded, "n2", "ls /run/migrator/keys; grep -c migrator: /root/.ssh/authorized_keys").out == "0\n"
    assert operator.poll() is None
    assert shell(seeded, "n1", f"sh {NODE} lease web 2 3 later").code == 0
    assert shell(seeded, "n1", f"ls {KEY}* {LINK}* 2> /dev/null; kill -0 {master}").out == ""
    assert shell(seeded, "n1", f"kill -0 {master}").code != 0


def test_a_receiver_that_has_only_begun_when_the_token_rises_receives_nothing(seeded: Stage) -> None:
    """It waits for the node's lock while a lease holds it: so it is neither registered nor known."""
    begun = "until pgrep -f 'kit/[0-9a-f]*/receive web' > /dev/null; do sleep 0.02; done"
    lease = f"""
        exec 9> /var/lib/migrator/lock; flock 9; echo locked
        timeout 20 sh -c "{begun}"; sed -i s/^token=2/token=3/ /var/lib/migrator/records/web
    """
    words = ["sh", "-c", lease]
    with subprocess.Popen(labs.exec_argv(seeded.paths, "n2", words), stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        done = shell(seeded, "n1", f"{OVER_LINK} peer 'rsync --server --daemon .' < /dev/null")
        assert holder.wait(30) == 0
    assert (done.code != 0, "RSYNCD" in done.out) == (True, False)
    assert connections(seeded) == ""
    assert "receive" not in shell(seeded, "n2", "ls /run/migrator/jobs").out


def test_nobody_but_root_reads_memory_images(tidy: Stage) -> None:
    tidy.counter("web", "n1", 2)
    tidy.counter("other", "n1", 3)
    assert tidy.kill_at("web", "n2", "restored:end") == -9
    bases = [
        shell(tidy, "n1", f"cat /var/lib/migrator/containers/{name}/id_base").out.strip() for name in ("web", "other")
    ]
    for node in ("n1", "n2"):
        images = shell(tidy, node, "find /run/migrator/move/web.2/images -type f").out.split()
        assert len(images) > 10
        assert shell(tidy, node, "findmnt -no FSTYPE -T /run/migrator/move/web.2/images").out == "tmpfs\n"
        tries = f"for f in {' '.join(images)}; do head -c 1 $f && echo read; : >> $f && echo wrote; done"
        lists = "ls /run/migrator/move /run/migrator/move/web.2; cd /run/migrator/move/web.2 && echo went in"
        for user in (*bases, "65534"):
            drop = f"setpriv --reuid {user} --regid {user} --clear-groups"
            look = f"{drop} sh -c '{tries}; {lists}' 2> /dev/null"
            control = shell(tidy, node, f"{drop} head -c 4 /etc/os-release").out
            assert control == "PRET", "a user who can read nothing at all would show nothing here"
            assert shell(tidy, node, look).out == "", (node, user)
