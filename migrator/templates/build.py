"""Building a template: one source read into a tree, and the tree put into the store, whole or not at all."""

from __future__ import annotations

import errno
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import BadInput, FailedSafe, Refused, quoted
from migrator.model.template import Manifest
from migrator.templates import folder, images, suite, tars
from migrator.templates.store import Store, check_name
from migrator.templates.tree import Rules, Tree, store_in

Say = Callable[[str], None]
KINDS = ("directory", "tar", "image", "suite")
# What the root of a system has in it, and no image beside its layers: a long archive need not be read to its end.
_ROOTS = frozenset(
    ("bin", "boot", "dev", "etc", "home", "lib", "lib64", "opt", "proc", "root", "run", "sbin", "usr", "var")
)


@dataclass(frozen=True, slots=True)
class Source:
    """What a template is built from: a path and what it is, or a suite with its mirror and packages."""

    kind: str
    path: Path | None = None
    suite: str = ""
    mirror: str | None = None
    packages: tuple[str, ...] = ()
    arch: str | None = None
    ref: str | None = None

    def __str__(self) -> str:
        return f"suite {self.suite}" if self.kind == "suite" else f"{self.kind} {self.path}"


@dataclass(frozen=True, slots=True)
class Built:
    """What a build has come to. `new` is whether it was not in the store before; `dropped` what was left out."""

    manifest: Manifest
    new: bool
    dropped: dict[str, int]


def kind_of(path: Path) -> str:
    """What a path holds: a directory, an image (layout or docker archive), or a tar."""
    try:
        path.exists()
    except OSError as error:
        raise BadInput(f"{quoted(str(path))}: {error.strerror}") from error
    if path.is_dir():
        return "image" if (path / "oci-layout").is_file() else "directory"
    if not path.is_file():
        what = "is neither a file nor a directory" if path.exists() else "there is no such file or directory"
        raise BadInput(f"{quoted(str(path))}: {what}")
    try:
        return "image" if _is_image(path) else "tar"
    except BadInput as error:
        raise BadInput(f"{quoted(str(path))}: {error}") from None


def _is_image(path: Path) -> bool:
    """By what an archive has at its top, in whatever order and however it is written."""
    for name in tars.names(path):
        top, _, below = name.removeprefix("./").partition("/")
        if top in _ROOTS:
            return False
        if not below and top in images.MARKS:
            with images.files_of(path) as find:
                return images.is_image(find)
    return False


def build(
    store: Store, name: str, source: Source, rules: Rules, replace: bool = False, say: Say = lambda text: None
) -> Built:
    """Reads a source and puts it into the store under a name. `say` is told what takes long, before it begins."""
    check_name(name)
    try:
        with store.building() as place:
            tree = Tree(rules, store_in(place))
            _read(tree, source, place, say)
            manifest = tree.finish(source.arch, str(source), int(time.time() * 1000))
            return Built(manifest, store.put(name, manifest, place, replace), dict(tree.dropped))
    except (BadInput, Refused) as error:
        raise type(error)(f"{source}: {error}") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise FailedSafe(f"{source}: {f'no room in {store.root}' if full else error}; nothing was kept") from None


def _read(tree: Tree, source: Source, place: Path, say: Say) -> None:
    if source.kind == "suite":
        root = place / "root"
        suite.bootstrap(source.suite, root, source.mirror, source.packages, place / "log", say)
        folder.read_folder(tree, root)
        return
    if source.path is None:
        raise BadInput("a source needs a path")
    if source.kind == "directory":
        folder.read_folder(tree, source.path)
    elif source.kind == "image":
        with images.files_of(source.path) as find:
            images.read_image(tree, find, source.arch or platform.machine(), source.ref)
    else:
        with source.path.open("rb") as archive:
            tars.read_tar(tree, archive)
