"""The kit's program makes of a manifest the tree that it tells of, and writes the same lines of it; without a node."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.executor.templates import HEADER
from migrator.model.template import parse
from migrator.runtime import bundle
from migrator.templates.build import Source, build
from migrator.templates.store import Store
from migrator.templates.tree import Rules
from tests.unit.test_template_sources import DIR, HARD, LINK, put, row, tar_of

KIT = Path(bundle.__file__).parent / "kit/template.py"
NAMES = (
    row("!first", data=b"sorts before the root"),
    row("a/", DIR, mode=0o1777, mtime=7),
    row("a/one", data=b"one" * 400_000, mode=0o4711, mtime=99, uid=3, gid=4),
    row("a/same", data=b"one" * 400_000, mode=0o600),
    row("z-hard", HARD, linkname="a/one"),
    row("b/line\nbreak \udcff", data=b"", pax_headers={"SCHILY.xattr.user.note": "v"}),
    row("b/link", LINK, linkname="./../a//one"),
    row("b/hard-link-of-link", HARD, linkname="b/link"),
    row("closed/", DIR, mode=0o0),
    row("closed/in", data=b"x", mode=0o0),
)


class Node:
    """The program as a node runs it, in a directory of the test's."""

    def __init__(self, folder: Path) -> None:
        self.store, self.templates = Store(folder / "store"), folder / "templates"
        self.templates.mkdir()
        put(folder, tar_of(*NAMES))
        build(self.store, "t", Source("tar", folder / "source.tar"), Rules())
        self.manifest = self.store.manifest("t")
        self.part = self.templates / f".push-{self.manifest.digest}"

    def run(self, *words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-ESsB", str(KIT), *map(str, words)]
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)

    def offer(self) -> list[str]:
        done = self.run("offer", self.part, self.templates, stdin=gzip.compress(self.store.text("t").encode()))
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().splitlines()

    def stream(self) -> bytes:
        contents = self.manifest.contents()
        data = [self.store.content(content).read_bytes() for content in contents]
        return b"".join(HEADER.pack(at, 0, len(content)) + content for at, content in enumerate(data))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_node_with_little_memory_takes_a_manifest(node: Node) -> None:
    argv = ["sh", "-c", 'ulimit -v 400000; exec "$@"', "sh", sys.executable, "-ESsB", str(KIT), "offer"]  # KiB
    manifest = gzip.compress(node.store.text("t").encode())
    done = subprocess.run(
        [*argv, str(node.part), str(node.templates)], input=manifest, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split(b"\n")[0]) == (0, b"missing 0 3"), done.stderr


def test_a_tree_that_was_made_is_the_one_that_was_read(node: Node) -> None:
    assert node.offer() == ["missing 0 3", "reused 0"]
    assert node.run("take", node.part, stdin=node.stream()).returncode == 0
    assert node.offer() == ["reused 0"]
    for _ in range(2):  # as after a node that went down before it was put into its place
        made = node.run("make", node.part)
        assert (made.returncode, made.stderr) == (0, b"")
    root = node.part / "template/rootfs"
    assert (root / "a/one").stat().st_ino == (root / "z-hard").stat().st_ino != (root / "a/same").stat().st_ino
    assert os.readlink(root / "b/link") == "./../a//one"  # noqa: PTH115
    assert ((root / "a").stat().st_mtime, (root / "a/one").stat().st_mtime) == (7, 99)
    assert node.run("verify", node.part / "template", node.manifest.digest).returncode == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda root: (root / "a/same").write_bytes(b"two" * 400_000),
        lambda root: (root / "a/same").chmod(0o604),
        lambda root: (root / "new").touch(),
        lambda root: (root / "b/link").unlink(),
        lambda root: os.chown(root / "closed", 5, 5),
        lambda root: os.setxattr(root / "a", "user.new", b"1"),
        lambda root: os.removexattr(next(root.glob("b/line*")), "user.note"),
    ],
)
def test_a_tree_that_differs_in_anything_is_found_out(node: Node, spoil: object) -> None:
    node.offer()
    node.run("take", node.part, stdin=node.stream())
    node.run("make", node.part)
    assert callable(spoil)
    spoil(node.part / "template/rootfs")
    found = node.run("verify", node.part / "template", node.manifest.digest)
    assert (found.returncode, found.stderr) == (10, b"its files are not those of its manifest\n")


def test_a_content_that_came_damaged_is_refused_and_asked_for_again(node: Node) -> None:
    node.offer()
    stream = bytearray(node.stream())
    stream[-1] ^= 1
    refused = node.run("take", node.part, stdin=bytes(stream))
    assert (refused.returncode, b"came damaged" in refused.stderr) == (10, True)
    assert node.offer() == ["missing 3 3", "reused 0"]
    assert node.run("make", node.part).returncode == 12


def test_holes_of_a_file_take_no_room_here_and_there(tmp_path: Path) -> None:
    node = Node(tmp_path)
    data = b"begins" + bytes(64 << 20) + b"ends" + bytes(8 << 20)
    put(tmp_path, tar_of(row("lastlog", data=data)), "holes.tar")
    build(node.store, "h", Source("tar", tmp_path / "holes.tar"), Rules())
    node.manifest = node.store.manifest("h")
    node.part = node.templates / f".push-{node.manifest.digest}"
    manifest = gzip.compress(node.store.text("h").encode())
    assert node.run("offer", node.part, node.templates, stdin=manifest).returncode == 0
    assert node.run("take", node.part, stdin=node.stream()).returncode == 0
    assert node.run("make", node.part).returncode == 0
    (there,) = [path for path in node.templates.rglob("lastlog") if path.is_file()]
    (content,) = node.manifest.contents()
    for path in (node.store.content(content), there):
        assert path.read_bytes() == data
        assert path.stat().st_blocks * 512 < 8 << 20


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(9, 0, 1) + b"x",
        HEADER.pack(0, 0, 1 << 40),
        HEADER.pack(0, 5, 1 << 63),
        HEADER.pack(2**32 - 1, 0, 0),
        b"\0" * 7,
    ],
)
def test_frames_that_no_push_sends_are_refused_in_one_line(node: Node, frame: bytes) -> None:
    node.offer()
    done = node.run("take", node.part, stdin=frame)
    assert done.returncode in (1, 10)
    assert len(done.stderr.splitlines()) == 1


NO_MANIFESTS = [b"no manifest", b"{}\n", b"\xff"]


@pytest.mark.parametrize("data", [b"", b"\x1f\x8bno gzip", *NO_MANIFESTS, *map(gzip.compress, NO_MANIFESTS)])
def test_a_manifest_that_is_none_is_refused_in_one_line(node: Node, data: bytes) -> None:
    done = node.run("offer", node.part, node.templates, stdin=data)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_manifest_that_was_changed_is_refused_here_and_there(node: Node) -> None:
    text = node.store.text("t").replace('"mode":1472', '"mode":1473').replace('"uid":3', '"uid":0')
    assert text != node.store.text("t")
    with pytest.raises(Exception, match="its digest is another"):
        parse(text)
    done = node.run("offer", node.part, node.templates, stdin=gzip.compress(text.encode()))
    assert (done.returncode, b"its digest is another" in done.stderr) == (1, True)


def test_a_manifest_reads_as_it_was_written(node: Node) -> None:
    text = node.store.text("t")
    assert parse(text).text() == text
