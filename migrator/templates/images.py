"""OCI image layouts and `docker save` archives: manifests by digest, layers on each other, marks of what is removed.

Every blob of a layout is held against the digest by which it is named, and every layer of a docker archive against its
`diff_id`, so an image that was spoilt is found whatever it was spoilt by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from migrator.errors import BadInput, Refused, quoted
from migrator.templates import tars
from migrator.templates.tree import Tree, clean

Find = Callable[[str], IO[bytes] | None]
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
LAYERS = {f"{layer}{packed}" for layer in (OCI_LAYER, OCI_FOREIGN) for packed in ("", "+gzip", "+zstd")}
LAYERS |= {DOCKER_LAYER, f"{DOCKER_LAYER}.gzip"}
INDEXES = {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
MANIFESTS = {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
CONFIGS = {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
# Go's names for machines, and `uname -m`'s.
GO_ARCH = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}
MARK, OPAQUE = ".wh.", ".wh..wh..opq"
JSON_BYTES_MAX = 16 << 20
NESTED_MAX = 4
MARKS = ("oci-layout", "manifest.json")  # by which a layout, and a docker archive, is known


@contextmanager
def files_of(path: Path) -> Iterator[Find]:
    """A way to an image's files by name, in a directory or a tar."""
    if not path.is_dir():
        with tars.by_name(path) as find:
            yield find
        return
    root = path.resolve()

    def find_file(name: str) -> IO[bytes] | None:
        there = (root / clean(name)).resolve()
        return there.open("rb") if there.is_relative_to(root) and there.is_file() else None

    yield find_file


def is_image(find: Find) -> bool:
    """Whether files are those of a layout or a docker archive, broken ones too; many programs have a manifest.json."""
    if find("oci-layout") is not None:
        return True
    if (listed := find("manifest.json")) is None:
        return False
    try:
        found = json.loads(listed.read(JSON_BYTES_MAX))
    except ValueError:
        return True  # which is refused with a word, and not taken for a tree without one
    return isinstance(found, list) and any(isinstance(e, dict) and "Layers" in e for e in found)


def read_image(tree: Tree, find: Find, arch: str, ref: str | None) -> None:
    """Adds an image's layers, of a layout if it is one, else of a docker archive. `arch` is as `uname -m` has it."""
    if find("oci-layout") is not None:
        layers = _of_layout(find, arch, ref)
    elif find("manifest.json") is not None:
        layers = _of_archive(find, arch, ref)
    else:
        raise BadInput("it is no image: it has neither an oci-layout nor a manifest.json")
    count = 0
    for blob in layers:
        read_layer(tree, blob)
        count += 1
    if not count:
        raise BadInput("the image has no layers")


def read_layer(tree: Tree, blob: IO[bytes]) -> None:
    """One layer on those below it. Its marks remove what lower layers have, never what it brings itself."""
    tree.layer.clear()

    def whiteout(name: str) -> bool:
        path = clean(name)
        folder, _, last = path.rpartition("/")
        if last == OPAQUE:
            tree.remove_below(folder or ".", but=_with_parents(tree.layer))
        elif f"/{MARK}{MARK}" in f"/{path}":  # others of the kind are notes of one storage driver to itself
            return True
        elif not last.startswith(MARK):
            return False
        else:
            gone = last.removeprefix(MARK)
            if gone in ("", ".", ".."):
                raise BadInput(f"a layer has the mark {quoted(path)}, which removes nothing that can be named")
            victim = f"{folder}/{gone}" if folder else gone
            if victim not in tree.layer:
                tree.remove(victim)
        return True

    tars.read_tar(tree, blob, whiteout)


def _with_parents(names: set[str]) -> set[str]:
    return names | {"/".join(name.split("/")[:at]) for name in names for at in range(1, name.count("/") + 1)}


def _of_layout(find: Find, arch: str, ref: str | None) -> Iterator[IO[bytes]]:
    version = str(_json(find, "oci-layout").get("imageLayoutVersion", ""))
    if version != "1.0.0":
        raise BadInput(f"the image layout has version {quoted(version)}; known is 1.0.0")
    manifest = _manifest(find, _json(find, "index.json"), arch, ref)
    config = _document(find, manifest.get("config"), CONFIGS)
    _check_arch(config, arch)
    for layer in _list(manifest, "layers"):
        kind = str(layer.get("mediaType"))
        if kind not in LAYERS:
            raise BadInput(f"a layer has the media type {quoted(kind)}, which is not known")
        yield _blob(find, layer)


def _manifest(find: Find, index: Any, arch: str, ref: str | None, depth: int = 0) -> Any:
    """The one manifest of an index that is for this machine, and has the name that was asked for."""
    listed = [entry for entry in _list(index, "manifests") if _is_image(entry)]
    if ref is not None:
        listed = [e for e in listed if _ref(e) == ref]
    fitting = [e for e in listed if _platform(e) in ("", arch)]
    if not listed:
        raise BadInput("the image has no manifest" + (f" named {quoted(ref)}" if ref else ""))
    if not fitting:
        there = ", ".join(sorted({_platform(e) for e in listed}))
        raise Refused(f"the image is for {there}, not for {arch}; choose with --arch")
    if len(fitting) > 1:
        names = ", ".join(sorted(_ref(e) or str(e.get("digest"))[:19] for e in fitting))
        raise BadInput(f"there are several images in it; choose one with --ref: {names}")
    found = _document(find, fitting[0], INDEXES | MANIFESTS)
    if fitting[0].get("mediaType") not in INDEXES:
        return found
    if depth >= NESTED_MAX:
        raise BadInput("the image's index has indexes in it without end")
    return _manifest(find, found, arch, None, depth + 1)


def _is_image(entry: Any) -> bool:
    return isinstance(entry, dict) and _platform(entry) != "unknown"  # "unknown" are attestations


def _ref(entry: Any) -> str:
    return str((entry.get("annotations") or {}).get("org.opencontainers.image.ref.name", ""))


def _platform(entry: Any) -> str:
    arch = str((entry.get("platform") or {}).get("architecture", ""))
    return GO_ARCH.get(arch, arch)


def _check_arch(config: Any, arch: str) -> None:
    said = str(config.get("architecture", "")) if isinstance(config, dict) else ""
    machine = GO_ARCH.get(said, said)
    if machine not in ("", arch):
        raise Refused(f"the image is for {machine}, not for {arch}; choose with --arch")


def _of_archive(find: Find, arch: str, ref: str | None) -> Iterator[IO[bytes]]:
    found = _json(find, "manifest.json")
    images = [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []
    if ref is not None:
        images = [e for e in images if ref in (e.get("RepoTags") or ())]
    if len(images) != 1:
        tags = ", ".join(sorted(tag for e in images for tag in e.get("RepoTags") or ())) or "none"
        raise BadInput(f"{'several images are' if images else 'no such image is'} in it; choose one with --ref: {tags}")
    config = _json(find, str(images[0].get("Config")))
    _check_arch(config, arch)
    layers, diffs = _list(images[0], "Layers"), _list(config.get("rootfs"), "diff_ids")
    if len(layers) != len(diffs):
        raise BadInput(f"the image has {len(layers)} layers, and its configuration tells of {len(diffs)}")
    for name, diff in zip(layers, diffs, strict=True):
        blob = find(str(name))
        if blob is None:
            raise BadInput(f"the image lacks its layer {quoted(str(name))}")
        with tars.broken():
            _check_digest(tars.decompressed(blob), str(diff), str(name))
        blob.seek(0)
        yield blob


def _document(find: Find, described: Any, kinds: set[str]) -> Any:
    kind = described.get("mediaType") if isinstance(described, dict) else None
    if kind not in kinds:
        raise BadInput(f"the image names a document of media type {quoted(str(kind))}, which is not known")
    return _loaded(_blob(find, described), str(described.get("digest")))


def _blob(find: Find, described: Any) -> IO[bytes]:
    digest = str(described.get("digest"))
    kind, _, value = digest.partition(":")
    blob = find(f"blobs/{kind}/{value}") if kind == "sha256" and value.isalnum() else None
    if blob is None:
        raise BadInput(f"the image lacks its blob {quoted(digest)}")
    with tars.broken():
        _check_digest(blob, digest, digest)
    blob.seek(0)
    return blob


def _check_digest(blob: IO[bytes], digest: str, name: str) -> None:
    found = hashlib.sha256()
    while data := blob.read(1 << 20):
        found.update(data)
    if f"sha256:{found.hexdigest()}" != digest:
        raise BadInput(f"{quoted(name)} in the image is damaged: it has another digest")


def _json(find: Find, name: str) -> Any:
    file = find(name)
    if file is None:
        raise BadInput(f"the image lacks {quoted(name)}")
    return _loaded(file, name)


def _loaded(file: IO[bytes], name: str) -> Any:
    try:
        found = json.loads(file.read(JSON_BYTES_MAX))
    except (ValueError, RecursionError):
        raise BadInput(f"{quoted(name)} in the image is not JSON") from None
    if not isinstance(found, (dict, list)):
        raise BadInput(f"{quoted(name)} in the image is not what it should be")
    return found


def _list(found: Any, key: str) -> list[Any]:
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, list):
        raise BadInput(f"the image has no list of {key}")
    return value
