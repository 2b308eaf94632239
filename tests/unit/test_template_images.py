"""OCI layouts and docker archives: layers on each other, marks of what is removed, and digests that must be true."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from migrator.model.template import Manifest
from migrator.templates.build import kind_of
from tests.unit.test_template_sources import DIR, made, put, refused, row, tar_of

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"

LOWER = tar_of(
    row("etc/", DIR),
    row("etc/a", data=b"a"),
    row("etc/b", data=b"b"),
    row("opt/x/y", data=b"y"),
    row("gone/z", data=b"z"),
)
UPPER = tar_of(
    row("etc/.wh.a"),
    row("gone/", DIR),
    row("opt/new", data=b"new"),
    row("opt/.wh..wh..opq"),
    row("etc/b", data=b"b2"),
    row(".wh..wh.plnk/1", data=b""),
)


class Layout:
    """The files of an image layout, by name."""

    def __init__(self, *layers: bytes, arch: str = "amd64", kind: str = f"{LAYER}+gzip") -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        packs: dict[str, Callable[[bytes], bytes]] = {"zstd": zstandard.compress}
        packs["gzip"] = partial(gzip.compress, mtime=0)
        pack = packs.get(kind.partition("+")[2], bytes)
        blobs = [self.blob(pack(layer), kind) for layer in layers]
        config = self.blob(json.dumps({"architecture": arch, "os": "linux"}).encode(), CONFIG)
        image = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": blobs}).encode()
        self.index([{**self.blob(image, MANIFEST), "platform": {"architecture": arch, "os": "linux"}}])

    def blob(self, data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def index(self, manifests: list[dict[str, Any]]) -> None:
        self.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()

    @property
    def manifests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.files["index.json"])["manifests"]
        return found

    def folder(self, path: Path) -> Path:
        for name, data in self.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path

    def tar(self, path: Path) -> Path:
        return put(path, packed(self.files))


def packed(files: dict[str, bytes]) -> bytes:
    return tar_of(*(row(name, data=data) for name, data in sorted(files.items())))


def docker(*layers: bytes, arch: str = "amd64") -> dict[str, bytes]:
    names = [f"{hashlib.sha256(layer).hexdigest()}/layer.tar" for layer in layers]
    diffs = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {"architecture": arch, "rootfs": {"type": "layers", "diff_ids": diffs}}
    tag = {"Config": "f" * 64 + ".json", "RepoTags": ["web:1"], "Layers": names}
    files = {"manifest.json": json.dumps([tag]).encode(), "f" * 64 + ".json": json.dumps(config).encode()}
    return files | dict(zip(names, layers, strict=True))


def what(manifest: Manifest) -> set[str]:
    return {path for path, node in manifest.nodes.items() if node.kind == "file"}


def test_an_upper_layer_replaces_removes_and_hides_what_lower_ones_have(tmp_path: Path) -> None:
    found = made(tmp_path, Layout(LOWER, UPPER, arch="amd64").folder(tmp_path / "image"), arch="x86_64")
    assert what(found) == {"etc/b", "opt/new", "gone/z"}
    assert found.nodes["etc/b"].sha256 == hashlib.sha256(b"b2").hexdigest()


def test_a_mark_removes_nothing_that_its_own_layer_brings(tmp_path: Path) -> None:
    upper = tar_of(row("etc/a", data=b"new"), row("etc/.wh.a"), row("opt/x/.wh..wh..opq"), row("opt/x/z", data=b"z"))
    found = made(tmp_path, Layout(LOWER, upper).tar(tmp_path), arch="x86_64")
    assert what(found) == {"etc/a", "etc/b", "opt/x/z", "gone/z"}


def test_a_layout_a_tar_of_it_and_a_docker_archive_are_the_same_template(tmp_path: Path) -> None:
    layout = Layout(LOWER, UPPER, kind=LAYER)
    found = [
        made(tmp_path / "a", layout.folder(tmp_path / "image"), arch="x86_64"),
        made(tmp_path / "b", layout.tar(tmp_path), arch="x86_64"),
        made(tmp_path / "c", put(tmp_path, packed(docker(LOWER, UPPER))), arch="x86_64"),
        made(tmp_path / "e", Layout(LOWER, UPPER, kind=f"{LAYER}+zstd").folder(tmp_path / "packed"), arch="x86_64"),
        made(tmp_path / "d", put(tmp_path, gzip.compress(packed(docker(LOWER, UPPER)))), arch="x86_64"),
    ]
    assert len({manifest.digest for manifest in found}) == 1


def test_of_several_images_one_is_chosen_by_machine_or_by_name(tmp_path: Path) -> None:
    layout, other = Layout(LOWER), Layout(UPPER, arch="arm64")
    layout.files |= {name: data for name, data in other.files.items() if name.startswith("blobs")}
    attestation = {**other.manifests[0], "platform": {"architecture": "unknown", "os": "unknown"}}
    layout.index([*layout.manifests, *other.manifests, attestation])
    image = layout.folder(tmp_path / "image")
    assert what(made(tmp_path / "a", image, arch="x86_64")) == {"etc/a", "etc/b", "opt/x/y", "gone/z"}
    assert "opt/new" in what(made(tmp_path / "b", image, arch="aarch64"))
    error = refused(tmp_path / "c", image, arch="s390x")
    assert (error.exit_code, "is for aarch64, x86_64, not for s390x" in str(error)) == (3, True)
    named = [
        {**entry, "annotations": {"org.opencontainers.image.ref.name": f"v{at}"}}
        for at, entry in enumerate([layout.manifests[0]] * 2)
    ]
    layout.index(named)
    image = layout.folder(tmp_path / "image")
    assert "choose one with --ref: v0, v1" in str(refused(tmp_path / "d", image, arch="x86_64"))
    made(tmp_path / "e", image, arch="x86_64", ref="v1")
    assert "no manifest named 'v2'" in str(refused(tmp_path / "f", image, arch="x86_64", ref="v2"))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("application/vnd.something.else", "media type 'application/vnd.something.else', which is not known"),
        (f"{LAYER}+lz4", "which is not known"),
    ],
)
def test_layers_of_unknown_media_types_are_refused(tmp_path: Path, kind: str, said: str) -> None:
    error = refused(tmp_path, Layout(LOWER, kind=kind).folder(tmp_path / "image"), arch="x86_64")
    assert (error.exit_code, said in str(error)) == (2, True)


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", ".wh.", "a/.wh..."])
def test_a_layer_is_refused_for_what_a_tar_is_and_for_marks_of_nothing(tmp_path: Path, member: str) -> None:
    layers = (LOWER, tar_of(row(member, data=b"")))
    refused(tmp_path / "a", Layout(*layers).folder(tmp_path / "image"), arch="x86_64")
    refused(tmp_path / "b", put(tmp_path, packed(docker(*layers))), arch="x86_64")


def test_an_image_that_was_spoilt_cut_or_is_for_another_machine_is_refused(tmp_path: Path) -> None:
    for at, name in enumerate(Layout(LOWER).files):
        for how, spoil in enumerate((lambda data: data[:-1] + b"!", lambda data: b"", None)):
            layout = Layout(LOWER)
            if spoil is None:
                del layout.files[name]
            else:
                layout.files[name] = spoil(layout.files[name])
            if name == "oci-layout" and spoil is None:
                continue  # a plain directory then
            refused(tmp_path / f"{at}-{how}", layout.folder(tmp_path / f"image-{at}-{how}"), arch="x86_64")
    for name in docker(LOWER):
        files = docker(LOWER)
        files[name] = files[name][:-700]
        refused(tmp_path / f"d-{name[:4]}", put(tmp_path, packed(files)), arch="x86_64")
    whole = packed(docker(LOWER))
    refused(tmp_path / "cut", put(tmp_path, whole[: len(whole.rstrip(b"\0")) - 600]), arch="x86_64")
    error = refused(tmp_path / "arch", put(tmp_path, packed(docker(LOWER, arch="arm64"))), arch="x86_64")
    assert (error.exit_code, "for aarch64" in str(error)) == (3, True)


def test_a_name_in_a_layout_leads_nowhere_outside_it(tmp_path: Path) -> None:
    layout = Layout(LOWER)
    layout.index([{**layout.manifests[0], "digest": "sha256:../../../../etc/passwd"}])
    assert "lacks its blob" in str(refused(tmp_path, layout.folder(tmp_path / "image"), arch="x86_64"))


def test_the_layers_of_an_old_archive_may_be_links_to_each_other(tmp_path: Path) -> None:
    files = docker(LOWER, UPPER)
    images = json.loads(files["manifest.json"])
    real = images[0]["Layers"][0]
    images[0]["Layers"][0] = "0" * 64 + "/layer.tar"
    files["manifest.json"] = json.dumps(images).encode()
    out = io.BytesIO(packed(files))
    with tarfile.open(fileobj=out, mode="a") as tar:
        link = tarfile.TarInfo("0" * 64 + "/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, f"../{real}"
        tar.addfile(link)
    assert "opt/new" in what(made(tmp_path, put(tmp_path, out.getvalue()), arch="x86_64"))


@pytest.mark.parametrize("start", ["", "./"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_archive_is_known_as_an_image_in_whatever_order_and_manner_it_is_written(
    tmp_path: Path, start: str, pack: Callable[[bytes], bytes]
) -> None:
    images = json.loads(docker(LOWER, UPPER)["manifest.json"])
    old = {"l0/layer.tar": LOWER, "l1/layer.tar": UPPER, "c.json": docker(LOWER, UPPER)["f" * 64 + ".json"]}
    images[0] |= {"Config": "c.json", "Layers": ["l0/layer.tar", "l1/layer.tar"]}
    old["manifest.json"] = json.dumps(images).encode()
    for at, files in enumerate((Layout(LOWER, UPPER).files, old)):
        rows = [row(f"{start}{name}", data=data) for name, data in files.items()]
        archive = put(tmp_path, pack(tar_of(*([row("./", DIR)] if start else []), *rows)))
        assert "opt/new" in what(made(tmp_path / str(at), archive, arch="x86_64"))


def test_a_tree_with_a_file_of_an_images_name_stays_a_tree(tmp_path: Path) -> None:
    for at, rows in enumerate(
        (
            (row("app", data=b"x"), row("manifest.json", data=b'{"name": "an app"}')),
            (row("etc/a", data=b"x"), row("manifest.json", data=b"broken")),
            (row("bin/a", data=b"x"), row("oci-layout", data=b"{}")),
        )
    ):
        assert kind_of(put(tmp_path, tar_of(*rows), f"{at}.tar")) == "tar"
