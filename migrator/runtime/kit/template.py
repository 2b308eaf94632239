"""template.py VERB ...: a template's contents and tree on a node. Called by templates.sh.

    offer PART TEMPLATES   a manifest's file, by gzip or plain, on stdin: kept in PART; what of it is missing is told
    take PART              contents in frames on stdin, each kept once it is whole and its hash is true
    make PART              the tree of the manifest, in PART/template, from the contents that have come
    verify DIRECTORY       whether DIRECTORY/rootfs is what DIRECTORY/manifest says, and that what DIGEST says

PART outlives a cut: whole contents lie in
PART/contents by their hash, one that was cut as HASH.part, to be gone on with where it ends. Exit codes are the kit's.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import platform
import select
import shutil
import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from template_tree import BUSY, READ_BYTES, REFUSED, Ended, Manifest, build, digest_of, hash_of, lines_of_tree, plain

MANIFEST_BYTES_MAX = 1 << 30
IDLE_S = 60  # a sender that is silent for so long is gone
LOCK_S = IDLE_S + 30  # so who comes again after a cut outwaits what the cut has left
ROOM_BYTES_MIN = 64 << 20  # what a node keeps for itself
HEADER = struct.Struct(">IQQ")  # which content, from where on, how many bytes
COMPATIBLE = {("x86_64", "i686")}


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def alone(part: Path) -> int:
    """Holds PART for this process; another that takes for it ends when its sender does, or is silent."""
    part.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(part / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(LOCK_S * 10):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            select.select([], [], [], 0.1)
            continue
        if (part / "lock").exists() and os.fstat(lock).st_ino == (part / "lock").stat().st_ino:
            return lock
        break
    raise Ended(BUSY, "this template is being pushed to this node by another command; try again when that has ended")


def offer(part: Path, templates: Path) -> None:
    data = all_of(sys.stdin.buffer, MANIFEST_BYTES_MAX)
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    manifest = Manifest(data.decode("ascii"))
    if part.name != f".push-{manifest.head['digest']}":
        raise Ended(1, "the manifest that came is not that of this template")
    check_arch(str(manifest.head["arch"]))
    lock = alone(part)
    (part / "contents").mkdir(exist_ok=True)
    try:
        check_room(part, manifest)
    except Ended:
        if not any((part / "contents").iterdir()):
            shutil.rmtree(part)
        raise
    whole = part / "manifest.new"
    whole.write_text(manifest.text, "ascii")
    whole.rename(part / "manifest")
    wanted = manifest.contents()
    reused = reuse(part, templates, {h: size for h, size in wanted.items() if not (part / "contents" / h).exists()})
    missing = [at for at, content in enumerate(wanted) if not (part / "contents" / content).exists()]
    for first, last in ranges(missing):
        say("missing", first, last)
    places = {content: at for at, content in enumerate(wanted)}
    for entry in os.scandir(part / "contents"):
        at = places.get(entry.name.removesuffix(".part"), -1)
        if entry.name.endswith(".part") and at in missing:
            say("begun", at, min(entry.stat().st_size, wanted[entry.name.removesuffix(".part")]))
    say("reused", reused)
    os.close(lock)


def all_of(file: IO[bytes], most: int) -> bytes:
    """At most so many bytes. In pieces: who asks for all at once is given room for all, which a small node has not."""
    data = bytearray()
    while len(data) < most and (more := file.read(min(READ_BYTES, most - len(data)))):
        data += more
    return bytes(data)


def check_arch(arch: str) -> None:
    here = platform.machine()
    if arch not in ("any", here) and (here, arch) not in COMPATIBLE:
        raise Ended(REFUSED, f"the template's programs are for {arch}, and this node is {here}")


def check_room(part: Path, manifest: Manifest) -> None:
    """Refuses what does not fit: files as large as they are, and a name each."""
    here = {entry.name: entry.stat().st_size for entry in os.scandir(part / "contents")}
    needed = sum(name.get("size", 0) for name in manifest.names) - sum(here.values())
    found = os.statvfs(part)
    free = found.f_bavail * found.f_frsize - ROOM_BYTES_MIN
    if needed > free:
        kept = f"are free beside the {ROOM_BYTES_MIN >> 20} MiB that a node keeps for itself"
        raise Ended(REFUSED, f"too little disk: the template needs {needed} bytes more, and {max(0, free)} {kept}")
    names = len(manifest.names) - len(here)
    if found.f_files and names > found.f_favail:
        raise Ended(REFUSED, f"too few inodes: the template needs {names} more, and {found.f_favail} are free")


def reuse(part: Path, templates: Path, wanted: dict[str, int]) -> int:
    """Copies contents that other templates of this node have; how many bytes. What is copied is hashed as it comes."""
    sizes, copied = set(wanted.values()), 0
    for other in sorted(templates.iterdir()):
        if not wanted or other.name.startswith(".") or not (other / "rootfs").is_dir():
            continue
        for path, content in files_of(other, sizes):
            if content in wanted:
                copied += copy_if_true(path, part / "contents" / content, content)
                if (part / "contents" / content).exists():
                    del wanted[content]
    return copied


def files_of(template: Path, sizes: set[int]) -> Iterator[tuple[Path, str]]:
    """The files of a template with their hashes: by its manifest, or, where it has none, of those of the right size."""
    root = template / "rootfs"
    if (template / "manifest").exists():
        for name in Manifest.of(template / "manifest").names:
            if name["kind"] == "file" and name["size"] in sizes:
                yield root / name["path"], name["sha256"]
        return
    for folder, _, files in os.walk(root):
        for file in files:
            path = Path(folder) / file
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_size in sizes:
                yield path, hash_of(path)


def copy_if_true(source: Path, target: Path, content: str) -> int:
    digest, size, part = hashlib.sha256(), 0, target.with_name(f"{content}.copy")
    try:
        with plain(source) as file, part.open("wb") as out:
            while data := file.read(READ_BYTES):
                digest.update(data)
                put(out, data)
                size += len(data)
            out.truncate()
    except OSError as error:
        if error.errno is not None and part.exists() and not source.exists():
            part.unlink()
            return 0
        raise
    if digest.hexdigest() != content:
        part.unlink()
        return 0
    part.rename(target)
    return size


def put(out: IO[bytes], data: bytes) -> None:
    """Writes, but for zeros, which stay holes: /var/log/lastlog is gigabytes of them. To be followed by a truncate."""
    if data.count(0) == len(data):
        out.seek(len(data), os.SEEK_CUR)
    else:
        out.write(data)


def ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    first = last = -2
    for number in numbers:
        if number != last + 1:
            if last >= 0:
                yield first, last
            first = number
        last = number
    if last >= 0:
        yield first, last


class Frames:
    """What comes on stdin; a sender that says nothing for long is gone."""

    def __init__(self) -> None:
        self.held, self.at = b"", 0

    def read(self, size: int, whole: bool) -> bytes:
        """At most so many bytes, or exactly so many; nothing at the end, and less than that where it was cut."""
        while self.at == len(self.held) or (whole and len(self.held) - self.at < size):
            if not select.select([0], [], [], IDLE_S)[0]:
                raise Ended(1, f"nothing has come for {IDLE_S} s")
            data = os.read(0, READ_BYTES)
            if not data:
                break
            self.held, self.at = self.held[self.at :] + data, 0
        data = self.held[self.at : self.at + size]
        self.at += len(data)
        return data


def take(part: Path) -> None:
    lock = alone(part)
    wanted = list(Manifest.of(part / "manifest").contents().items())
    frames, count = Frames(), 0
    while header := frames.read(HEADER.size, whole=True):
        if len(header) < HEADER.size:
            raise Ended(1, "what was sent was cut")
        at, begin, size = HEADER.unpack(header)
        content, whole = wanted[at] if at < len(wanted) else ("", -1)
        if begin + size != whole:
            raise Ended(REFUSED, "what was sent is no content of this template")
        take_one(part / "contents", content, begin, size, frames)
        count += 1
    say("taken", count)
    os.close(lock)


def take_one(folder: Path, content: str, begin: int, size: int, frames: Frames) -> None:
    target = folder / f"{content}.part"
    digest = hashlib.sha256()
    with target.open("r+b" if begin else "wb", buffering=0) as out:
        while begin and out.tell() < begin:
            had = out.read(min(READ_BYTES, begin - out.tell()))
            if not had:
                raise Ended(REFUSED, "what was sent begins after what is here")
            digest.update(had)
        out.truncate()
        while size:
            data = frames.read(min(size, READ_BYTES), whole=False)
            if not data:
                raise Ended(1, "what was sent was cut")
            digest.update(data)
            put(out, data)
            size -= len(data)
        out.truncate()
    if digest.hexdigest() != content:
        target.unlink()
        raise Ended(REFUSED, f"content {content[:12]} came damaged: its hash is another")
    target.rename(folder / content)


def make(part: Path) -> None:
    lock = alone(part)
    manifest, template = Manifest.of(part / "manifest"), part / "template"
    missing = [c for c in manifest.contents() if not (part / "contents" / c).exists()]
    if missing:
        raise Ended(BUSY, f"{len(missing)} of the template's contents are missing here; push it again")
    if template.exists():
        shutil.rmtree(template)
    template.mkdir(mode=0o700)
    build(manifest, part / "contents", template / "rootfs")
    shutil.copyfile(part / "manifest", template / "manifest")
    (template / "digest").write_text(f"{manifest.head['digest']}\n")
    if digest_of(lines_of_tree(template / "rootfs")) != manifest.head["digest"]:
        shutil.rmtree(part)
        raise Ended(
            1, "what was made is not what was to be: a content was spoilt here, or this disk keeps less; push it again"
        )
    os.close(lock)


def verify(template: Path, digest: str) -> None:
    """A template that another node has sent: its manifest is of this digest, and the tree is the manifest's."""
    manifest = Manifest.of(template / "manifest")
    if manifest.head["digest"] != digest:
        raise Ended(REFUSED, "its manifest is another's")
    if digest_of(lines_of_tree(template / "rootfs")) != digest:
        raise Ended(REFUSED, "its files are not those of its manifest")


def main(words: list[str]) -> None:
    verb, place = words[0], Path(words[1])
    if verb == "offer":
        offer(place, Path(words[2]))
    elif verb == "take":
        take(place)
    elif verb == "make":
        make(place)
    else:
        verify(place, words[2])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Ended as ended:
        sys.stderr.write(f"{ended}\n")
        sys.exit(ended.code)
    except MemoryError:
        sys.stderr.write("this node has too little memory for the template's list of names\n")
        sys.exit(1)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        sys.stderr.write(f"{' '.join(str(error).split()) or type(error).__name__}\n")
        sys.exit(1)
