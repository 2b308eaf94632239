"""Templates are read from directories, tars and images as they are, and what no honest source has is refused whole."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from migrator.errors import BadInput, MigratorError, Refused
from migrator.model.template import Manifest, Node
from migrator.templates.build import Source, build, kind_of
from migrator.templates.store import Store
from migrator.templates.tree import Rules

DIR, FILE, LINK, HARD = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
KEEP = Rules()
Row = tuple[str, bytes, dict[str, Any]]
PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


def row(name: str, kind: bytes = FILE, **more: Any) -> Row:
    return name, kind, more


def tar_of(*rows: Row, end: bool = True) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, given in rows:
            more = dict(given)
            entry, data = tarfile.TarInfo(name), more.pop("data", b"")
            entry.type, entry.size, entry.mode = kind, len(data), more.pop("mode", 0o755)
            for key, value in more.items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(data))
        length = tar.offset
    return out.getvalue() if end else out.getvalue()[:length]


def put(folder: Path, data: bytes, name: str = "source.tar") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def made(tmp_path: Path, path: Path, rules: Rules = KEEP, **more: Any) -> Manifest:
    return build(Store(tmp_path / "store"), "t", Source(kind_of(path), path, **more), rules).manifest


def refused(tmp_path: Path, path: Path, rules: Rules = KEEP, **more: Any) -> MigratorError:
    """The one line of a refusal, after which the store holds nothing."""
    with pytest.raises((BadInput, Refused)) as told:
        made(tmp_path, path, rules, **more)
    store = tmp_path / "store"
    assert [found for found in store.rglob("*") if found.is_file() and found.name != "lock"] == []
    assert "\n" not in str(told.value)
    return told.value


TREE = (
    row("./", DIR, mode=0o755),
    row("./bin/", DIR),
    row("./bin/sh", data=b"#!shell", mode=0o755, mtime=1_000),
    row("./bin/ash", HARD, linkname="./bin/sh"),
    row("./bin/su", data=b"su", mode=0o4755),
    row("./lib", LINK, linkname="usr/lib"),
    row(
        "./etc/passwd",
        data=b"root",
        uid=7,
        gid=65535,
        pax_headers={"SCHILY.xattr.user.x": "ü", "SCHILY.xattr.trusted.y": "1"},
    ),
    row("./queue", tarfile.FIFOTYPE, mode=0o600),
)


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_a_tar_is_read_whole_whatever_it_is_packed_by(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    found = made(tmp_path, put(tmp_path, pack(tar_of(*TREE))))
    nodes = found.nodes
    assert list(nodes) == sorted([".", "bin", "bin/ash", "bin/sh", "bin/su", "etc", "etc/passwd", "lib", "queue"])
    assert nodes["bin/ash"] is nodes["bin/sh"]
    passwd = nodes["etc/passwd"]
    assert (passwd.uid, passwd.gid, passwd.size, passwd.xattrs) == (7, 65535, 4, (("user.x", "ü".encode().hex()),))
    assert passwd.sha256 == hashlib.sha256(b"root").hexdigest()
    assert (nodes["lib"].kind, nodes["lib"].target) == ("link", "usr/lib")
    assert (nodes["bin/su"].mode, nodes["bin/sh"].mtime_s, nodes["queue"].kind) == (0o4755, 1000, "fifo")
    assert (tmp_path / "store/contents" / passwd.sha256[:2] / passwd.sha256).read_bytes() == b"root"
    assert Store(tmp_path / "store").manifest("t").digest == found.digest


def test_the_same_tree_is_the_same_template_from_wherever_it_comes(tmp_path: Path) -> None:
    one = made(tmp_path / "a", put(tmp_path, tar_of(row("b", data=b"x"), row("a", data=b"x", mtime=5))))
    other = made(tmp_path / "b", put(tmp_path, tar_of(row("a", data=b"x"), row("b", data=b"x"), row("./", DIR))))
    hard = made(tmp_path / "c", put(tmp_path, tar_of(row("a", data=b"x"), row("b", HARD, linkname="a"))))
    assert one.digest == other.digest != hard.digest


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((row("../evil", data=b"x"),), "leads out of it"),
        ((row("a/../../evil", data=b"x"),), "leads out of it"),
        ((row("/etc/passwd", data=b"x"),), "absolute name"),
        ((row("a", HARD, linkname="/etc/passwd"),), "absolute name"),
        ((row("a", HARD, linkname="../x"),), "leads out of it"),
        ((row("a", HARD, linkname="b"),), "which is not there before it"),
        ((row("a", DIR), row("b", HARD, linkname="a")), "a hard link to the directory"),
        ((row("a", LINK, linkname="../../etc"),), "leads out of the tree"),
        ((row("d/a", LINK, linkname="../../x"),), "leads out of the tree"),
        ((row("a", LINK, linkname="/etc"), row("a/passwd", data=b"x")), "lies below 'a', which is not a directory"),
        ((row("a", data=b""), row("a/b", data=b"x")), "lies below 'a'"),
        ((row("x" * 256, data=b"x"),), "too long"),
        ((row("dev/sda", tarfile.BLKTYPE),), "is a device node"),
        ((row("dev/null", tarfile.CHRTYPE),), "is a device node"),
        ((row("a", data=b"x", uid=65536),), "belongs to user 65536"),
        ((row("a", DIR, gid=100_000),), "belongs to group 100000"),
        ((), "nothing in it"),
    ],
)
def test_what_no_template_may_hold_is_refused_and_nothing_is_kept(
    tmp_path: Path, rows: tuple[Row, ...], said: str
) -> None:
    good = row("first", data=b"a content that comes before") if rows else None
    archive = tar_of(*((good,) if good else ()), *rows)
    assert said in str(refused(tmp_path, put(tmp_path, archive)))
    assert not (tmp_path.parent / "evil").exists()


def test_setuid_is_kept_stripped_or_refused_as_the_rules_say(tmp_path: Path) -> None:
    rows = (
        row("su", data=b"1", mode=0o4755),
        row("cap", data=b"2", pax_headers={"SCHILY.xattr.security.capability": "c"}),
    )
    path = put(tmp_path, tar_of(*rows))
    kept = made(tmp_path / "a", path).nodes
    assert (kept["su"].mode, kept["cap"].xattrs) == (0o4755, (("security.capability", "63"),))
    stripped = made(tmp_path / "b", path, Rules(setuid="strip")).nodes
    assert (stripped["su"].mode, stripped["cap"].xattrs) == (0o755, ())
    error = refused(tmp_path / "c", path, Rules(setuid="refuse"))
    assert (error.exit_code, "'su' is setuid" in str(error)) == (3, True)


def test_devices_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, tar_of(row("dev/null", tarfile.CHRTYPE), row("a", data=b"x")))
    built = build(Store(tmp_path / "store"), "t", Source("tar", path), Rules(devices="drop"))
    assert (list(built.manifest.nodes), built.dropped) == ([".", "a"], {"device nodes": 1})


WHOLE = tar_of(*(row(f"file{n}", data=bytes([n]) * 700) for n in range(8)))


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(WHOLE)
    end = packed.rstrip(b"\0") if pack is bytes else packed
    for at, size in enumerate({0, 3, 512, 600, 1024, 1536, len(end) // 2, len(end) - 1}):
        error = refused(tmp_path / str(at), put(tmp_path, packed[: min(size, len(end) - 1)]))
        assert error.exit_code == 2


@pytest.mark.parametrize("cut", range(0, 8 * 1536 + 1, 512))
def test_a_tar_that_ends_between_two_of_its_blocks_is_refused(tmp_path: Path, cut: int) -> None:
    assert "broken or cut short" in str(refused(tmp_path, put(tmp_path, WHOLE[:cut])))


def test_a_damaged_header_in_the_middle_is_no_end_of_the_archive(tmp_path: Path) -> None:
    broken = bytearray(WHOLE)
    broken[2 * 1536 + 150] ^= 0xFF  # the third header's checksum
    assert "broken or cut short" in str(refused(tmp_path, put(tmp_path, bytes(broken))))


@pytest.mark.parametrize("data", [b"", b"no archive at all" * 100, b"\x28\xb5\x2f\xfdzstd", os.urandom(5000)])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, put(tmp_path, data))


def test_a_directory_is_read_as_it_is_and_sockets_are_left_out(tmp_path: Path) -> None:
    import socket

    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True, mode=0o700)
    (root / "a/file").write_bytes(b"x" * 3_000_000)
    os.link(root / "a/file", root / "same")
    (root / "link").symlink_to("./a/../a/file")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(root / "sock"))
    built = build(Store(tmp_path / "store"), "t", Source("directory", root), Rules())
    nodes = built.manifest.nodes
    assert (set(nodes), built.dropped) == ({".", "a", "a/b", "a/file", "same", "link", "fifo"}, {"sockets": 1})
    assert nodes["same"] is nodes["a/file"]
    assert nodes["link"].target == "./a/../a/file"
    assert nodes["a/file"].size == 3_000_000


def test_a_link_out_of_a_directory_is_refused_and_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to("../../etc")
    assert "leads out of the tree" in str(refused(tmp_path, root))


def test_a_template_of_that_name_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    store, first = Store(tmp_path / "store"), put(tmp_path, tar_of(row("a", data=b"1")), "1.tar")
    second = Source("tar", put(tmp_path, tar_of(row("a", data=b"2")), "2.tar"))
    assert build(store, "t", Source("tar", first), Rules()).new
    assert not build(store, "t", Source("tar", first), Rules()).new
    with pytest.raises(Refused, match="--replace"):
        build(store, "t", second, Rules())
    assert store.collect(really=False) == (0, 0)
    build(store, "t", second, Rules(), replace=True)
    assert store.collect(really=True) == (1, 1)
    assert store.content(hashlib.sha256(b"2").hexdigest()).read_bytes() == b"2"
    store.remove("t")
    assert (store.names(), store.collect(really=True)) == ([], (1, 1))


def test_the_machine_is_that_of_most_programs_and_must_be_the_one_that_was_said(tmp_path: Path) -> None:
    def elf(number: int) -> bytes:
        return b"\x7fELF\x02\x01\x01" + bytes(11) + number.to_bytes(2, "little") + bytes(40)

    path = put(
        tmp_path, tar_of(row("a", data=elf(183)), row("b", data=elf(183)), row("c", data=elf(62)), row("d", data=b"x"))
    )
    assert made(tmp_path / "a", path).arch == "aarch64"
    assert "for aarch64, not for x86_64" in str(refused(tmp_path / "b", path, arch="x86_64"))


def test_no_node_of_a_manifest_is_shared_by_chance() -> None:
    assert Node("file") != Node("file")  # identity is what makes a hard link


def test_the_line_of_an_error_holds_no_name_that_ends_it(tmp_path: Path) -> None:
    error = refused(tmp_path, put(tmp_path, tar_of(row("../a\nb\x1b[31m", data=b"x"))))
    assert json.dumps(str(error)).count("\\u001b") == 0


def test_a_template_holds_no_host_keys_of_an_sshd_unless_that_is_said(tmp_path: Path) -> None:
    keys = [f"./etc/ssh/ssh_host_{name}" for name in ("rsa_key", "rsa_key.pub", "ed25519_key-cert.pub")]
    path = put(tmp_path, tar_of(*(row(name, data=b"k") for name in keys), row("etc/ssh/sshd_config", data=b"c")))
    built = build(Store(tmp_path / "store"), "t", Source("tar", path), KEEP)
    assert {name for name in built.manifest.nodes if "ssh/" in name} == {"etc/ssh/sshd_config"}
    assert built.dropped == {"ssh host keys": 3}
    assert not (tmp_path / "store/contents" / hashlib.sha256(b"k").hexdigest()[:2]).exists()
    kept = made(tmp_path / "kept", path, Rules(host_keys="keep"))
    assert len([name for name in kept.nodes if "ssh_host_" in name]) == 3
