"""A container's own network on real nodes: names, routes, sysctls and rules, before and after each kind of move."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.lab.stage import Stage

SERVER = """
import socketserver, threading
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"here")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
servers = [Server(("", port), Handler) for port in (7000, 7001)]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
"""
RULES = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport 7001 reject with tcp reset
  }
}
"""
LOOK = (
    "hostname; cat /etc/resolv.conf; ip route; ip -6 route show fd77::/64; "
    "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_local_port_range"
)


def create(stage: Stage, rules: Path, *words: str) -> str:
    ip = stage.ip(1)
    given = ("--node", "n1", "--template", "debian", "--ip", ip, "--ip", "fd00:213::7/64", "--firewall", str(rules))
    stage.ok("ct", "create", "web", *given, *words, "--", "python3", "-c", SERVER)
    assert reaches(ip, 7000, tries=100)
    return ip


def reaches(ip: str, port: int, tries: int = 1) -> bool:
    """Whether something answers at a port; only a refusal is an answer that nothing does."""
    for _ in range(tries):
        try:
            with socket.create_connection((ip, port), timeout=5) as connection:
                return connection.recv(10) == b"here"
        except ConnectionRefusedError:
            pass
    return False


def seen(stage: Stage) -> str:
    return stage.ok("ct", "exec", "web", "--", "sh", "-c", LOOK).out


def ruleset(stage: Stage, node: str, command: str = "list ruleset") -> str:
    enter = f'read pid < /sys/fs/cgroup/ct/web/cgroup.procs; nsenter --net="/proc/$pid/ns/net" nft {command}'
    done = stage.on_node(node, "sh", "-c", enter)
    assert done.code == 0, done.err
    return done.out


def test_all_of_its_network_goes_wherever_it_goes(tidy: Stage, tmp_path: Path) -> None:
    rules = tmp_path / "rules.nft"
    rules.write_text(RULES)
    gateway = tidy.ip(99)
    words = ("--hostname", "web.example.org", "--nameserver", "10.0.0.53", "--search", "example.org")
    words += ("--route", f"10.77.0.0/16={gateway}", "--route", f"10.78.0.1={gateway}")
    words += ("--route", "fd77::/64=fd00:213::1", "--sysctl", "net.ipv4.ip_forward=1")
    ip = create(tidy, rules, *words, "--sysctl", "net.ipv4.ip_local_port_range=20000 30000")
    first, loaded = seen(tidy), ruleset(tidy, "n1")
    for wanted in (
        *("web.example.org\nsearch example.org\nnameserver 10.0.0.53\n", f"10.77.0.0/16 via {gateway} dev eth0"),
        *(f"10.78.0.1 via {gateway} dev eth0", "fd77::/64 via fd00:213::1 dev eth0", "\n1\n20000\t30000\n"),
    ):
        assert wanted in first
    assert not reaches(ip, 7001)
    tidy.ok("migrate", "web", "--to", "n2")
    assert (seen(tidy), ruleset(tidy, "n2")) == (first, loaded)
    assert (reaches(ip, 7000), reaches(ip, 7001)) == (True, False)
    tidy.ok("migrate", "web", "--to", "n1", "--mode", "restart")
    assert reaches(ip, 7000, tries=100)
    assert (seen(tidy), ruleset(tidy, "n1")) == (first, loaded)
    tidy.ok("ct", "stop", "web", "--grace", "0")
    tidy.ok("ct", "start", "web")
    assert reaches(ip, 7000, tries=100)
    assert (seen(tidy), ruleset(tidy, "n1")) == (first, loaded)


@pytest.mark.parametrize("change", ["add table inet mine", "flush ruleset"])
def test_rules_that_were_changed_inside_go_as_they_are_and_a_start_brings_the_first_ones(
    tidy: Stage, tmp_path: Path, change: str
) -> None:
    rules = tmp_path / "rules.nft"
    rules.write_text(RULES)
    ip = create(tidy, rules)
    first = ruleset(tidy, "n1")
    ruleset(tidy, "n1", change)
    changed = ruleset(tidy, "n1")
    assert changed != first
    tidy.ok("migrate", "web", "--to", "n2")
    assert ruleset(tidy, "n2") == changed
    tidy.ok("ct", "stop", "web", "--grace", "0")
    tidy.ok("ct", "start", "web")
    assert reaches(ip, 7000, tries=100)
    assert ruleset(tidy, "n2") == first


def test_a_containers_root_cannot_change_what_its_resolver_is_told(tidy: Stage, tmp_path: Path) -> None:
    rules = tmp_path / "rules.nft"
    rules.write_text(RULES)
    create(tidy, rules, "--nameserver", "10.0.0.53")
    assert tidy.migrator("ct", "exec", "web", "--", "sh", "-c", "echo > /etc/resolv.conf").code != 0
    told = tidy.on_node("n1", "cat", "/var/lib/migrator/containers/web/resolv.conf").out
    assert told == "nameserver 10.0.0.53\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hostname", "a b"), "--hostname 'a b'"),
        (("--nameserver", "10.0.0"), "--nameserver '10.0.0': not an address"),
        (("--search", "x;reboot"), "--search 'x;reboot'"),
        (("--route", "10.0.0.1/8=10.0.0.1"), "with no bit of a host in the network"),
        (("--route", "0.0.0.0/0=10.0.0.1"), "the default route is the gateway's own"),
        (("--gateway", "192.0.2.1"), "--gateway 192.0.2.1: is in none of the container's networks"),
        (("--sysctl", "kernel.panic=1"), "--sysctl 'kernel.panic'"),
        (("--sysctl", "net.ipv4.ip_forward=$(id)"), "not a value of it"),
        (("--firewall", "/no/such"), "cannot be read"),
        (("--firewall", "RULES:table inet x { chain y { tpc dport 1 } }"), "--firewall: n1 says of it: 1:"),
        (("--firewall", 'RULES:include "/etc/shadow"'), "holds the word include"),
        (("--firewall", "RULES:" + "#" * 40_000), "over 32768 bytes of rules"),
    ],
)
def test_a_bad_word_is_one_line_and_makes_nothing(
    tidy: Stage, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    if words[1].startswith("RULES:"):
        (tmp_path / "rules").write_text(words[1].removeprefix("RULES:"))
        words = (words[0], str(tmp_path / "rules"))
    given = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(3), *words)
    done = tidy.migrator("ct", "create", "web", *given, "--", "true")
    assert (done.code, said in done.err, len(done.err.strip().splitlines())) == (2, True, 1), done.err
    assert tidy.leftovers() == []
