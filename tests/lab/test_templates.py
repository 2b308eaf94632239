"""Templates on real nodes: pushed, stood on, moved with a container, removed. Their tree has no library at all."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migrator.executor import templates as pushing
from migrator.executor.fleet import Fleet
from migrator.inventory import cluster_file
from migrator.lab import busybox
from migrator.templates.store import Store
from migrator.transport.base import NodeError
from tests.lab.client import CountingClient
from tests.lab.hand import verb
from tests.lab.stage import Outcome, Stage

COUNT = "n=0; while read line; do n=$((n+1)); echo $n; done"
THERE = "/var/lib/migrator/templates"


@pytest.fixture
def store(tidy: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store, and nodes on which no template of these tests is left at the end."""
    monkeypatch.setenv("MIGRATOR_TEMPLATES", str(tmp_path / "store"))
    yield Store(tmp_path / "store")
    for row in tidy.ok("ct", "list", "--json").json()["containers"]:
        tidy.migrator("ct", "destroy", row["name"], "--force", "--yes")
    for node in tidy.spec.nodes:
        tidy.on_node(node, "sh", "-c", f"cd {THERE} && rm -rf bb bb@* bb2 small .current.* .push-* .gone.*")


def built(stage: Stage, tmp_path: Path, name: str = "bb", **more: bytes) -> Path:
    """Builds a template of the busybox tree, with some files more."""
    tree = tmp_path / f"tree-{name}"
    shutil.copytree(busybox.build(lambda _: None), tree, symlinks=True)
    for file, data in more.items():
        (tree / file).write_bytes(data)
    os.link(tree / "etc/passwd", tree / "etc/passwd-")
    stage.ok("template", "build", name, str(tree))
    return tree


def make(stage: Stage, name: str, node: str, template: str, number: int, *more: str) -> str:
    ip = stage.ip(number)
    words = ("ct", "create", name, "--node", node, "--template", template, "--ip", ip, *more)
    stage.ok(*words, "--", "nc", "-ll", "-p", "7000", "-e", "/bin/sh", "-c", COUNT)
    return ip


def rows(stage: Stage, name: str) -> dict[str, list[str]]:
    """Node to the containers that stand on a template there; a version that new ones are not made from is "kept"."""
    found = stage.ok("template", "list", "--json").json()["nodes"]
    return {f"{r['node']}{'' if r['current'] else ' kept'}": r["users"] for r in found if r["name"] == name}


async def test_a_container_without_any_library_moves_and_takes_its_template_along_beside_a_newer_one(
    tidy: Stage, store: Store, tmp_path: Path
) -> None:
    tree = built(tidy, tmp_path, **{"etc/group": b"web:x:33:\n", "etc/passwd": b"web:x:33:33::/:/bin/sh\n"})
    digest = store.manifest("bb").digest
    pushed = tidy.ok("template", "push", "bb", "n1", "--json").json()["nodes"][0]
    assert pushed["sent_bytes"] == store.manifest("bb").files_bytes
    assert tidy.ok("template", "push", "bb", "n1", "--json").json()["nodes"][0]["present"]
    ip = make(tidy, "box", "n1", "bb", 1, "--user", "web")
    ids = tidy.ok("ct", "exec", "box", "--", "awk", "/^[UG]id/ { print $2 }", "/proc/1/status")
    assert ids.out.split() == ["33", "33"]
    assert tidy.migrator("ct", "exec", "box", "--", "sh", "-c", "echo x > /etc/passwd && cat /etc/passwd-").out
    (tree / "newer").write_bytes(b"newer")
    tidy.ok("template", "build", "bb", "--replace", str(tree))
    tidy.ok("template", "push", "bb", "n1", "n2")
    assert rows(tidy, "bb") == {"n1 kept": ["box"], "n1": [], "n2": []}
    async with CountingClient(ip) as client:
        done = await asyncio.to_thread(tidy.migrator, "migrate", "box", "--to", "n2", "--json")
        assert done.code == 0, done.err
        await client.more(20)
    assert rows(tidy, "bb") == {"n1": [], "n1 kept": [], "n2": [], "n2 kept": ["box"]}
    assert tidy.migrator("ct", "exec", "box", "--", "test", "-e", "/newer").code == 1
    make(tidy, "new", "n2", "bb", 3)
    tidy.ok("ct", "exec", "new", "--", "test", "-e", "/newer")
    tidy.ok("ct", "destroy", "new", "--force", "--yes")
    kit = tidy.on_node("n2", "sh", "-c", "ls -d /var/lib/migrator/kit/*/template.py | tail -n 1").out.strip()
    assert tidy.on_node("n2", "python3", kit, "verify", f"{THERE}/bb@{digest[:12]}", digest).code == 0
    one_line(
        tidy.migrator("template", "rm", "bb", "n2"), 3, f"template bb@{digest[:12]} on n2 is what these stand on: box"
    )
    tidy.ok("template", "gc", "--yes")
    assert rows(tidy, "bb") == {"n2 kept": ["box"]}  # the rest nothing stood on
    words = ("--node", "n2", "--template", "bb", "--ip", tidy.ip(3), "--", "true")
    one_line(tidy.migrator("ct", "create", "new", *words), 2, "only older ones are on node n2")
    tidy.ok("ct", "destroy", "box", "--force", "--yes")
    tidy.ok("template", "rm", "bb", "n2")
    assert rows(tidy, "bb") == {}
    assert tidy.on_node("n2", "sh", "-c", f"ls -A {THERE}").out.split() == ["debian"]


async def test_a_template_that_its_source_has_spoilt_does_not_reach_another_node(
    tidy: Stage, store: Store, tmp_path: Path
) -> None:
    built(tidy, tmp_path)
    tidy.ok("template", "push", "bb", "n1")
    ip = make(tidy, "box", "n1", "bb", 2)
    tidy.on_node("n1", "sh", "-c", f"echo evil:x:0:0::/:/bin/sh >> {THERE}/bb/rootfs/etc/group")
    async with CountingClient(ip) as client:
        done = await asyncio.to_thread(tidy.migrator, "migrate", "box", "--to", "n2")
        assert done.code != 0
        assert "did not arrive whole" in done.err
        await client.more(5)
    assert tidy.places("box") == [("n1", "running")]
    assert tidy.on_node("n2", "sh", "-c", f"ls -A {THERE}").out.split() == ["debian"]


async def cut_at(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk[:size]
        size -= len(chunk)
        if size <= 0:
            return


async def test_a_push_that_was_cut_at_any_byte_goes_on_with_what_is_missing(
    tidy: Stage, store: Store, tmp_path: Path
) -> None:
    built(tidy, tmp_path, big=os.urandom(3 << 20), middle=os.urandom(5000), empty=b"")
    source, total = pushing.Source(store, "bb"), sum(store.manifest("bb").contents().values())
    words = (source.name, source.digest)
    came = 0
    async with Fleet(cluster_file.load(Path(tidy.cluster))) as fleet:
        node = fleet.node("n1")
        for size in (0, 1, 19, 20, 21, 4000, 700_001, 20, 900_000, 65_536):
            told = await node.call("template-offer", *words, stdin=source.packed)
            need = pushing.needed(told, len(source.contents))
            left = total - sum(size for at, (_, size) in enumerate(source.contents) if at not in need.places)
            left -= sum(need.begun.values())
            assert left == total - came
            chunks = cut_at(pushing.frames(source, need, pushing.Pushed("n1")), size)
            try:
                await node.pour("template-take", *words, chunks=chunks, timeout_s=30)
            except NodeError as error:
                assert "cut" in str(error)
            told = await node.call("template-offer", *words, stdin=source.packed)
            need = pushing.needed(told, len(source.contents))
            missing = sum(source.contents[at][1] for at in need.places) - sum(need.begun.values())
            assert total - missing >= came
            came = total - missing
    assert came > 1_000_000
    assert "left over on n1" in tidy.ok("template", "list").err
    done = tidy.ok("template", "push", "bb", "n1", "--json").json()["nodes"][0]
    assert done["sent_bytes"] == total - came
    assert rows(tidy, "bb") == {"n1": []}
    assert tidy.on_node("n1", "sh", "-c", f"ls -A {THERE}").out.split() == ["bb", "debian"]


def test_what_another_template_of_the_node_has_is_not_sent(tidy: Stage, store: Store, tmp_path: Path) -> None:
    tree = built(tidy, tmp_path)
    tidy.ok("template", "push", "bb", "n1")
    (tree / "more").write_bytes(b"some bytes more")
    tidy.ok("template", "build", "bb2", str(tree))
    with ThreadPoolExecutor() as both:  # two who know nothing of each other
        for pushed in both.map(lambda _: tidy.migrator("template", "push", "bb2", "n3"), range(2)):
            assert (pushed.code, pushed.err) == (0, "")
    done = tidy.ok("template", "push", "bb2", "n1", "--json").json()["nodes"][0]
    assert (done["sent_contents"], done["sent_bytes"]) == (1, 15)
    assert done["reused_bytes"] > 1_000_000
    # Of a template that was put there by hand, too, which tells of no hashes.
    path = next(
        p
        for p in ("etc/debian_version", "etc/debconf.conf")
        if tidy.on_node("n2", "test", "-s", f"{THERE}/debian/rootfs/{p}").code == 0
    )
    (tmp_path / "small").mkdir()
    (tmp_path / "small/copy").write_text(tidy.on_node("n2", "cat", f"{THERE}/debian/rootfs/{path}").out)
    tidy.ok("template", "build", "small", str(tmp_path / "small"))
    assert tidy.ok("template", "push", "small", "n2", "--json").json()["nodes"][0]["sent_bytes"] == 0


def one_line(done: Outcome, code: int, said: str) -> None:
    assert (done.code, said in done.err, len(done.err.strip().splitlines())) == (code, True, 1), done


def test_a_push_that_must_not_be_is_refused_in_one_line_and_leaves_nothing(
    tidy: Stage, store: Store, tmp_path: Path
) -> None:
    built(tidy, tmp_path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "program").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + (243).to_bytes(2, "little") + bytes(44))
    tidy.ok("template", "build", "small", str(foreign))
    one_line(tidy.migrator("template", "push", "small", "n2"), 3, "template small is for riscv64, and node n2 is")
    one_line(tidy.migrator("template", "push", "none", "n2"), 2, "there is no template 'none'")
    one_line(tidy.migrator("template", "push", "bb", "n9"), 2, "n9")
    for size, said in (("size=65m", "too little disk"), ("size=1g,nr_inodes=40", "too few inodes")):
        tidy.on_node("n3", "mount", "-t", "tmpfs", "-o", f"mode=711,{size}", "tmpfs", THERE)
        one_line(tidy.migrator("template", "push", "bb", "n3"), 3, said)
        assert tidy.on_node("n3", "ls", "-A", THERE).out == ""
        tidy.on_node("n3", "umount", THERE)
    for node in ("n2", "n3"):
        assert tidy.on_node(node, "sh", "-c", f"ls -A {THERE}").out.split() == ["debian"]


def test_what_is_left_of_a_push_goes_with_gc_and_what_is_mounted_stays(
    tidy: Stage, store: Store, tmp_path: Path
) -> None:
    built(tidy, tmp_path)
    left = f"{THERE}/.push-{'a' * 64}"
    tidy.on_node("n1", "sh", "-c", f"mkdir -p {left}/contents {THERE}/.part-old.7; echo x > {left}/contents/x")
    one_line(tidy.migrator("template", "gc"), 2, "--yes")
    assert "would be removed: .part-old.7 on n1" in tidy.ok("template", "gc", "--dry-run").out
    tidy.ok("template", "rm", "bb")
    gone = tidy.ok("template", "gc", "n1", "--yes", "--json").json()
    assert sorted(row["name"] for row in gone["leftovers"]) == [".part-old.7", f".push-{'a' * 64}"]
    assert tidy.on_node("n1", "sh", "-c", f"ls -A {THERE}").out.split() == ["debian"]
    assert store.collect(really=False) == (0, 0)
    one_line(tidy.migrator("template", "rm", "debian", "n1"), 3, "mounted")
    assert verb(tidy, "n1", "template-remove debian").code == 10
