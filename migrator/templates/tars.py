"""Tars as sources: plain, gzip, bzip2, xz or zstd, read once from front to end, without ever being unpacked here.

Python's tarfile takes a damaged header in the middle, or an end without the two empty blocks, for the end of the
archive. For a template that would be a tree with less in it, so `_Entry` makes errors of both.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from migrator.errors import BadInput, quoted
from migrator.model.template import Node
from migrator.templates.tree import Tree, kept_xattrs

XATTR = "SCHILY.xattr."
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
PERMISSIONS = 0o7777


class _Entry(tarfile.TarInfo):
    """One name of an archive, whose header was whole."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Entry:
        try:
            return super().fromtarfile(tarfile)
        except _END:
            raise
        except _HEADER as error:
            raise BadInput(f"the archive is broken or cut short: {error}") from None


_END: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_HEADER: type[Exception] = tarfile.HeaderError


def read_tar(tree: Tree, archive: IO[bytes], whiteout: Callable[[str], bool] | None = None) -> None:
    """Adds all that an archive holds. `whiteout` is asked for each name first, and says whether it was a mark."""
    with broken():
        reader = decompressed(archive)
        with tarfile.open(fileobj=reader, mode="r|", tarinfo=_Entry, errorlevel=2) as tar:
            for entry in tar:
                if whiteout is None or not whiteout(entry.name):
                    _add(tree, tar, entry)
        while reader.read(1 << 20):  # to the check of what was compressed, which comes last
            pass


@contextlib.contextmanager
def broken() -> Iterator[None]:
    """Makes one line of what Python says of an archive that is none."""
    try:
        yield
    except BROKEN as error:
        raise BadInput(f"the archive is broken or cut short: {error}") from None


def decompressed(archive: IO[bytes]) -> IO[bytes]:
    """What a tar holds, whatever it is compressed by; told by its first bytes, as `file` does."""
    first = archive.read(6)
    archive.seek(0)
    kind = next((kind for magic, kind in MAGIC.items() if first.startswith(magic)), "")
    if kind == "zstd":
        return _unpacked_zstd(archive)
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(archive))
    if kind == "bzip2":
        return cast(IO[bytes], bz2.open(archive))
    if kind == "xz":
        return cast(IO[bytes], lzma.open(archive))
    return archive


def _unpacked_zstd(archive: IO[bytes]) -> IO[bytes]:
    """A file without a name that holds the tar. The library's own reader takes a cut stream for one that ended."""
    out = tempfile.TemporaryFile()  # noqa: SIM115 - the caller reads it; it is gone when nobody holds it any more
    frame: zstandard.ZstdDecompressionObj | None = None
    while chunk := archive.read(1 << 20):
        while chunk:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                out.write(frame.decompress(chunk))
            except zstandard.ZstdError as error:
                raise BadInput(f"the archive is broken or cut short: {error}") from None
            chunk, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise BadInput("the archive is broken or cut short: its compressed stream has no end")
    out.seek(0)
    return cast(IO[bytes], out)


def _add(tree: Tree, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
    if entry.islnk():
        tree.link(entry.name, entry.linkname)
    elif entry.ischr() or entry.isblk():
        tree.device(entry.name)
    else:
        node = _node(tree, entry)
        tree.add(entry.name, node, tar.extractfile(entry) if node.kind == "file" else None)


def _node(tree: Tree, entry: tarfile.TarInfo) -> Node:
    kind = "dir" if entry.isdir() else "link" if entry.issym() else "fifo" if entry.isfifo() else "file"
    if kind == "file" and not entry.isreg():
        raise BadInput(f"{quoted(entry.name)} is of a kind that no template holds ({entry.type!r})")
    xattrs = (
        (key.removeprefix(XATTR), value.encode("utf-8", "surrogateescape"))
        for key, value in entry.pax_headers.items()
        if key.startswith(XATTR)
    )
    return Node(
        kind=kind,
        mode=0o777 if kind == "link" else entry.mode & PERMISSIONS,
        uid=entry.uid,
        gid=entry.gid,
        mtime_s=max(0, int(entry.mtime)),
        target=entry.linkname if kind == "link" else "",
        xattrs=kept_xattrs(xattrs, tree.dropped),
    )


def names(path: Path) -> Iterator[str]:
    """The names in a tar, one after the other, by which an image is told from a plain tree."""
    with broken(), path.open("rb") as file, tarfile.open(fileobj=decompressed(file), mode="r:", tarinfo=_Entry) as tar:
        for entry in tar:
            yield entry.name


@contextlib.contextmanager
def by_name(path: Path) -> Iterator[Callable[[str], IO[bytes] | None]]:
    """The files of a tar by their names, links among them followed inside it; None for what is not there."""
    with broken(), path.open("rb") as file:
        with tarfile.open(fileobj=decompressed(file), mode="r:", tarinfo=_Entry) as tar:
            names = {name.removeprefix("./"): name for name in tar.getnames()}

            def find(name: str) -> IO[bytes] | None:
                try:
                    return tar.extractfile(names[name]) if name in names else None
                except KeyError:
                    return None

            yield find
