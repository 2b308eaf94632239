"""Mistakes in a cluster file are one line that names file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.errors import BadInput
from migrator.inventory import cluster_file, snapshot
from migrator.model.facts import Cluster, NodeFacts, SharedLink
from migrator.model.memory_way import trusted_networks
from migrator.model.plan_policy import Standing
from migrator.model.rules import Spread
from migrator.model.site import When

GOOD = """\
version: 1
name: rack
defaults:
  ssh: {user: root}
nodes:
- name: n1
  address: 192.0.2.1
  labels: {rack: r1}
  capacity: {cpus: 8, memory: 32G}
  link: {up: 1Gbit, down: 200Mbit}
- name: n2
  ssh: {port: 2222, user: ops, become: sudo}
"""

MISTAKES = [
    ("nodes: 3", "c.yaml:1: nodes: is to be a list, not 3"),
    ("nodes:\n- name: a\n  adress: b\n", "c.yaml:3: nodes.0.adress (node a): there is no such key"),
    ("nodes:\n- address: b\n", "c.yaml:2: nodes.0.name: is missing"),
    ("nodes:\n- name: a\n- name: a\n  address: b\n", "c.yaml:3: nodes.1.name: 'a' is the name of two nodes"),
    (
        "nodes:\n- {name: a, address: x}\n- {name: b, address: x}\n",
        "c.yaml:3: nodes.1.address: 'x' is the address of 'a'",
    ),
    ("nodes:\n- name: 'a;b'\n", "c.yaml:2: nodes.0.name: is to be letters, digits"),
    ("nodes:\n- name: a\n  link:\n    up: fast\n", "c.yaml:4: nodes.0.link.up (node a): not a link speed: 'fast'"),
    (
        "nodes:\n- name: a\n  capacity:\n    memory: lots\n",
        "c.yaml:4: nodes.0.capacity.memory (node a): not a size: 'lots'",
    ),
    (
        "nodes:\n- name: a\n  capacity: {cpus: 0}\n",
        "c.yaml:3: nodes.0.capacity.cpus (node a): is to be more than 0, not 0",
    ),
    ("nodes:\n- name: a\n  ssh: {port: 70000}\n", "c.yaml:3: nodes.0.ssh.port (node a):"),
    ("nodes:\n- {name: a, name: b}\n", "c.yaml:2: name: is there twice"),
    ("version: 2\nnodes:\n- name: a\n", "c.yaml:1: version:"),
    ("nodes: [", "c.yaml:1: not YAML"),
    (
        "nodes:\n- name: a\npolicy:\n  rules:\n  - rule: ban\n    containers: app=x\n    nodes: []\n",
        "c.yaml:7: policy: rule 1 (ban): nodes: is to have at least 1",
    ),
    ("nodes:\n- name: a\npolicy: {replace_rules: true}\n", "c.yaml:3: policy.replace_rules: there is no such key"),
    (
        "nodes:\n- name: a\nhooks:\n- argv: [tell]\n  when: [after_release]\n",
        "c.yaml:4: hooks.0.argv: is to begin with",
    ),
    (
        "nodes:\n- name: a\nhooks:\n- argv: [/tell]\n  when: [later]\n",
        "c.yaml:5: hooks.0.when.0: is to be 'before_commit'",
    ),
    (
        "nodes:\n- name: a\nhooks:\n- {argv: [/x], when: [after_release], timeout: 61}\n",
        "c.yaml:4: hooks.0.timeout: is to be at",
    ),
    ("nodes:\n- name: a\nnetwork: routed\n", "c.yaml:3: network: routed, and there is no hook"),
    (
        "network: routed\nnodes:\n- name: a\nhooks:\n- {argv: [/x], when: [after_rollback]}\n",
        "c.yaml:1: network: routed, and there is no hook",
    ),
    (
        "nodes:\n- name: a\ntrusted_networks: [all]\n",
        "c.yaml:3: trusted_networks.0: is not a network ('all' does not appear to be an IPv4 or IPv6 network)",
    ),
    (
        "nodes:\n- name: a\ntrusted_networks: [10.0.0.1/24]\n",
        "c.yaml:3: trusted_networks.0: is not a network (10.0.0.1/24",
    ),
    ("nodes:\n- name: a\ntrusted_networks: [0.0.0.0/0]\n", "c.yaml:3: trusted_networks.0: is so wide a network"),
    ("nodes:\n- name: a\ntrusted_networks: ['::/0']\n", "c.yaml:3: trusted_networks.0: is so wide a network"),
    ("nodes:\n- name: a\ntrusted_networks: yes\n", "c.yaml:3: trusted_networks: is to be a list"),
    (
        "trusted_networks: [10.9.0.0/24]\nnodes:\n- {name: a, migration_address: 10.9.0.1}\n- name: b\n",
        "c.yaml:1: trusted_networks.0: only a has its migration_address in 10.9.0.0/24, as an address and not a name",
    ),
    ("", "c.yaml:1: a cluster file is a mapping"),
    ("- a\n", "c.yaml:1: a cluster file is a mapping"),
    ("nodes: []", "c.yaml:1: nodes:"),
    ("a: !!python/object:os.system x", "c.yaml:1: not YAML"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistake(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        cluster_file.parse(text, "c.yaml")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_good_file_says_how_to_reach_each_node() -> None:
    cluster = cluster_file.parse(GOOD, "c.yaml")
    first, second = (cluster.ssh_address(node) for node in cluster.nodes)
    assert (first.host, first.user, first.port) == ("192.0.2.1", "root", None)
    assert (second.host, second.user, second.port, second.become) == ("n2", "ops", 2222, "sudo")
    link = cluster.link(cluster.entry("n1"))
    assert (link.up_bytes_per_s, link.down_bytes_per_s) == (125_000_000, 25_000_000)


def test_a_network_is_trusted_only_where_all_addresses_are_in_one_that_is_declared() -> None:
    declared = "trusted_networks: [10.9.0.0/24, 'fd00:9::/64']\n"
    nodes = "nodes:\n- {name: a, address: 10.9.0.1}\n- {name: b, address: b, migration_address: 10.9.0.2}\n"
    six = "- {name: c, address: 'fd00:9::1'}\n- {name: d, address: 'fd00:9::2'}\n"
    others = "- {name: e, address: 10.9.1.2}\n- {name: f, address: 10.9.0.x}\n"
    cluster = cluster_file.parse(declared + nodes + six + others, "c.yaml")
    around = {node.name: cluster.trusted_around(node) for node in cluster.nodes}
    four, fd = ("10.9.0.0/24",), ("fd00:9::/64",)
    assert around == {"a": four, "b": four, "c": fd, "d": fd, "e": (), "f": ()}
    facts = {name: NodeFacts(name, trusted=networks) for name, networks in around.items()}
    pairs = [(a, b) for a in facts for b in facts if a < b and trusted_networks(facts[a], facts[b])]
    assert pairs == [("a", "b"), ("c", "d")]
    strict = cluster_file.parse(nodes, "c.yaml")
    assert {strict.trusted_around(node) for node in strict.nodes} == {()}


def test_a_node_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(BadInput, match="no node 'n9' in cluster 'rack'; it has n1, n2"):
        cluster_file.parse(GOOD, "c.yaml").entry("n9")


def test_a_file_that_is_not_there_is_answered_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--cluster FILE"):
        cluster_file.load(tmp_path / "none.yaml")


LINKED = """
nodes:
- {name: n1, labels: {rack: r1}}
- {name: n2, labels: {rack: r1}}
- {name: n3}
links:
- {name: r1-up, nodes: [rack=r1], speed: {up: 40Gbit, down: 20Gbit}, moves: 4}
- {name: row, nodes: [rack=r1, n3]}
"""


def test_shared_links_have_the_nodes_that_their_selectors_mean():
    assert cluster_file.parse(LINKED, "c.yaml").shared_links() == (
        SharedLink("r1-up", ("n1", "n2"), 5_000_000_000, 2_500_000_000, 4),
        SharedLink("row", ("n1", "n2", "n3")),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[rack=r1, n3]", "[n2, n3]", "c.yaml:8: links.1: n2 is behind 'r1-up' and behind 'row', and neither is"),
        ("[rack=r1, n3]", "[rack=r1]", "c.yaml:8: links.1: 'row' and 'r1-up' are of the same nodes"),
        ("[rack=r1, n3]", "[rack=r9]", "c.yaml:8: links.1: no node is rack=r9"),
        ("[rack=r1, n3]", "[n3, n9]", "c.yaml:8: links.1: no node is n9"),
        ("name: row", "name: r1-up", "c.yaml:8: links.1: 'r1-up' is the name of two links"),
        ("up: 40Gbit", "up: fast", "c.yaml:7: links.0.speed.up (link r1-up): not a link speed: 'fast'"),
        ("up: 40Gbit", "up: 0Gbit", "c.yaml:7: links.0.speed.up (link r1-up): not a speed that a link has: '0Gbit'"),
        ("moves: 4", "moves: 0", "c.yaml:7: links.0.moves (link r1-up): "),
    ],
)
def test_shared_links_that_cannot_be_are_one_line_with_their_place(old: str, new: str, said: str):
    with pytest.raises(BadInput) as caught:
        cluster_file.parse(LINKED.replace(old, new), "c.yaml")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_policy_in_the_cluster_file_goes_with_its_facts_into_a_snapshot(tmp_path: Path):
    text = (
        GOOD + "policy:\n  headroom_percent: 20\n  rules:\n  - {rule: spread, label: app, domain: rack, at_most: 2}\n"
    )
    said = cluster_file.parse(text, "c.yaml").standing()
    assert said == Standing(headroom_percent=20, rules=(Spread("app", "rack", 2),))
    with_policy, path = Cluster("rack", (NodeFacts("n1"),), policy=said), tmp_path / "facts.json"
    snapshot.save(with_policy, path)
    assert snapshot.load(path) == with_policy
    assert snapshot.digest(with_policy) != snapshot.digest(Cluster("rack", ()))


def test_a_snapshot_with_an_impossible_rule_is_refused(tmp_path: Path):
    path = tmp_path / "facts.json"
    snapshot.save(Cluster("rack", (NodeFacts("n1"),), policy=Standing(rules=(Spread("app", "rack", 2),))), path)
    path.write_text(path.read_text().replace('"at_most": 2', '"at_most": 0'))
    with pytest.raises(BadInput, match=r"facts.json: policy: rule 1 \(spread\): at_most"):
        snapshot.load(path)


def test_hooks_are_read_with_their_moments_in_the_order_of_the_file() -> None:
    text = GOOD + (
        "network: routed\nhooks:\n- {argv: [/bin/a, '$x'], when: [before_commit, after_rollback]}\n"
        "- {argv: [/bin/b], when: [before_commit], timeout: 0.5}\n"
    )
    site = cluster_file.parse(text, "c.yaml").site()
    assert site.routed
    assert [(hook.argv, hook.timeout_s) for hook in site.at(When.BEFORE_COMMIT)] == [
        (("/bin/a", "$x"), 5.0),
        (("/bin/b",), 0.5),
    ]
    assert [hook.argv[0] for hook in site.at(When.AFTER_ROLLBACK)] == ["/bin/a"]
    assert site.at(When.AFTER_RELEASE) == ()
