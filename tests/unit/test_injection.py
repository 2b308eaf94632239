"""Names, labels, paths, environment and commands are data: they arrive as they were, or not at all."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from migrator.errors import BadInput, MigratorError
from migrator.executor.wanted import Wanted, check_length, check_text
from migrator.inventory import cluster_file, plan_file, snapshot
from migrator.model.container import Descriptor, fault
from migrator.runtime import bundle
from migrator.transport.ssh import SshAddress, SshNode
from tests.unit.test_bundle import WEB
from tests.unit.test_cluster_file import GOOD as CLUSTER
from tests.unit.test_plan_file import plan

PIECES = [
    "$(touch canary)",
    "`touch canary`",
    "'",
    '"',
    "\n",
    "\\n",
    ";",
    "-",
    "--",
    "../",
    " ",
    "*",
    "\\",
    "ü",
    "\u202e",
    "x" * 4000,
]
TEXT = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
)
RAW = st.one_of(TEXT, st.text(max_size=20))  # also what is no text at all: lone surrogates, NUL


@settings(max_examples=60)
@given(st.lists(TEXT, min_size=1, max_size=8))
@example(["-n", "--", "$(touch canary)", "a\nb", "'", ""])
def test_words_go_through_a_real_shell_as_they_are(words: list[str]) -> None:
    line = SshNode("n1", SshAddress("h")).command("printf", "%s\\0", *words)
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=20, check=True, cwd="/proc/self/fdinfo")
    assert done.stdout == b"".join(word.encode() + b"\0" for word in words)


def wanted(**given_words: Any) -> Wanted:
    good: dict[str, Any] = {
        "name": "web",
        "template": "debian",
        "ips": ("10.0.0.7",),
        "gateways": (),
        "memory": "64M",
        "cpus": 1.0,
        "disk": "1G",
        "user": None,
        "labels": (),
        "env": (),
        "command": ("sleep", "1"),
    }
    return Wanted.parse(**{**good, **given_words})


def described(asked: Wanted) -> Descriptor:
    fields = {name: getattr(asked, name) for name in Wanted.__dataclass_fields__ if name != "surroundings"}
    return Descriptor(**fields, **asked.surroundings.fields(), template_digest="d", id_index=20)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": RAW,
            "template": RAW,
            "ips": st.lists(RAW, max_size=3).map(tuple),
            "gateways": st.lists(RAW, max_size=2).map(tuple),
            "memory": RAW,
            "disk": RAW,
            "user": RAW,
            "cpus": st.floats(),
            "labels": st.lists(RAW, max_size=3).map(tuple),
            "env": st.lists(RAW.map(lambda value: f"K={value}"), max_size=3).map(tuple),
            "command": st.lists(RAW, max_size=4).map(tuple),
            "hostname": RAW,
            "nameservers": st.lists(RAW, max_size=2).map(tuple),
            "search": st.lists(RAW, max_size=2).map(tuple),
            "routes": st.lists(RAW.map(lambda value: f"10.0.0.0/8={value}"), max_size=2).map(tuple),
            "sysctls": st.lists(RAW.map(lambda value: f"net.ipv4.ip_forward={value}"), max_size=2).map(tuple),
            "cap_add": st.lists(RAW, max_size=2).map(tuple),
            "devices": st.lists(RAW, max_size=2).map(tuple),
        },
    )
)
def test_what_a_person_asks_for_is_possible_or_refused_in_one_line(words: dict[str, Any]) -> None:
    try:
        ct = described(wanted(**words))
    except BadInput:
        return
    assert fault(ct) == ""
    text = bundle.descriptor_json(ct)
    assert TypeAdapter(Descriptor).validate_json(text) == ct
    config = json.loads(bundle.config_json(ct, "/kit", ("memory",)))
    assert config["process"]["args"][-len(ct.command) :] == list(ct.command)
    assert config["process"]["env"][-len(ct.env) or len(config["process"]["env"]) :] == list(ct.env)
    assert len(bundle.net_file(ct, "br0").splitlines()) == 3 + len(
        (*ct.addresses, *ct.gateways, *ct.routes, *ct.sysctls)
    )


@pytest.mark.parametrize("bad", ["\udcff", "a\0b"])
@pytest.mark.parametrize("field", ["command", "env", "labels"])
def test_bytes_that_no_node_could_tell_again_are_refused(field: str, bad: str) -> None:
    with pytest.raises(BadInput):
        wanted(**{field: (bad if field == "command" else f"K={bad}",)})
    with pytest.raises(BadInput):
        check_text("COMMAND", ("echo", bad))


def test_a_description_too_long_for_a_probe_is_refused_before_it_is_made() -> None:
    check_length(wanted(labels=("K=" + "x" * 4000,), env=("E=" + "ü" * 4000,), command=("sh", "-c", "y" * 4000)))
    with pytest.raises(BadInput, match="together too long"):
        check_length(wanted(command=("sh", "-c", "x" * 100_000)))


@given(address=RAW, gateway=st.none() | RAW, bridge=RAW, name=RAW)
@example(address="10.0.0.7/24\nveth eth0", gateway=None, bridge="br0", name="web")
@example(address="10.0.0.7/24", gateway="10.0.0.1\nbridge x", bridge="br0", name="web")
@example(address="10.0.0.7/24", gateway=None, bridge="br0\nmac x", name="web")
@example(address="10.0.0.7/24", gateway=None, bridge="br0 \u2028veth x", name="web")
def test_no_value_becomes_a_line_of_the_network_file(address: str, gateway: str | None, bridge: str, name: str) -> None:
    try:
        lines = bundle.net_file(replace(WEB, address=address, gateway=gateway, name=name), bridge).decode().split("\n")
    except (BadInput, UnicodeEncodeError):
        return
    keys = [line.split(" ")[0] for line in lines]
    assert keys == ["veth", "bridge", "mac", "address", *(["gateway"] if gateway else []), ""]
    assert all(line.count(" ") == 1 for line in lines[:-1])


@given(name=TEXT)
def test_no_value_reaches_crius_options(name: str) -> None:
    ct = replace(WEB, name=name, labels={name: name}, env=(f"A={name}",), command=(name,))
    assert bundle.files(WEB, "/kit", "br0", ())["criu.conf"] == bundle.criu_conf("/kit")
    if fault(ct) == "":
        assert json.loads(bundle.config_json(ct, "/kit", ()))["annotations"]["org.criu.config"].count("/") == 6


SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-@\\")


@given(st.sampled_from(["name", "address", "migration_address", "bridge", "user", "label", "key", "cluster"]), RAW)
@example("bridge", "br0\nveth eth0")
@example("user", "-oProxyCommand=id")
@example("label", "\x1b[2J")
def test_what_a_cluster_file_says_is_a_word_or_a_line_naming_the_field(field: str, value: str) -> None:
    node: dict[str, Any] = {"name": "n1"}
    document: dict[str, Any] = {"nodes": [node]}
    places: dict[str, dict[str, Any]] = {
        "user": node.setdefault("ssh", {}),
        "label": node.setdefault("labels", {}),
        "key": node["labels"],
        "cluster": document,
    }
    places.get(field, node)[{"label": "rack", "key": value, "cluster": "name"}.get(field, field)] = value
    try:
        loaded = cluster_file.parse(json.dumps(document), "c.yaml")
    except BadInput as error:
        assert "\n" not in str(error)
        return
    (entry,) = loaded.nodes
    words = [entry.name, entry.host, entry.migration_address or "", loaded.bridge(entry), entry.ssh.user or ""]
    assert all(set(word) <= SAFE and not word.startswith("-") for word in words)
    assert all(text.isprintable() for text in (loaded.name, *entry.labels, *entry.labels.values()))


@given(
    st.integers(0, len(CLUSTER)),
    st.one_of(RAW, st.sampled_from(["? [a]: b", "&a [*a]", "9" * 5000, "2020-99-99", "!!x"])),
)
def test_a_damaged_cluster_file_is_one_line(at: int, noise: str) -> None:
    try:
        cluster_file.parse(CLUSTER[:at] + noise + CLUSTER[at:], "c.yaml")
    except BadInput as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "? [a, b]\n: c",
        "nodes: &a [*a]",
        f"version: {'9' * 5000}",
        f"version: 0x{'f' * 5000}",
        "name: 2020-99-99",
        "[" * 2000,
    ],
)
def test_yaml_that_breaks_programs_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        cluster_file.parse(text, "c.yaml")


@settings(max_examples=40)
@given(st.data(), st.one_of(RAW, st.sampled_from(["NaN", "1e999", "true", "[[", '"', "9" * 5000, '"\\ud800"'])))
def test_a_damaged_plan_file_is_one_line(data: st.DataObject, noise: str) -> None:
    text = plan_file.dump(plan())
    at = data.draw(st.integers(0, len(text)))
    try:
        plan_file.parse(text[:at] + noise + text[at + data.draw(st.integers(0, 9)) :], "p.json")
    except BadInput as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"version": 1, "cluster": null}', '{"version": 1}', "9" * 5000, "\udcff", "{}"]
)
def test_a_snapshot_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(MigratorError) as caught:
        snapshot.load(path)
    assert "\n" not in str(caught.value)


def test_the_description_of_an_honest_container_has_no_fault() -> None:
    assert fault(WEB) == ""
    assert fault(replace(WEB, gateway="10.0.0.1", user="www-data", env=("A=\n$(x)",))) == ""
