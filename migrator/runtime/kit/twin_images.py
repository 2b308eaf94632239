"""Makes CRIU's images of one container those of another: twin_images.py IMAGES SRC DST SRC_BASE DST_BASE HOSTNAME.

Nearly everything in them is told from inside, by ids and paths that a twin has as well. Three things are not: where the
container's user ids begin on the node, its hostname, and its group of processes. All else stays byte for byte.

Groups below that one, which an init has made, are told with their owners as the node has them; so they are in a list of
ours (delegate.sh).
"""

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Fields = list[tuple[int, int, "int | bytes"]]  # number, wire type, value
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAGIC_BYTES = 8
IDS = 65536  # of a container


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def as_varint(value: int) -> bytes:
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def fields(message: bytes) -> Fields:
    """A protobuf message as its fields, in order."""
    found: Fields = []
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        value: int | bytes
        if kind == VARINT:
            value, at = varint(message, at)
        elif kind == BYTES:
            size, at = varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"a field of wire type {kind}")
        found.append((key >> 3, kind, value))
    return found


def message(of: Fields) -> bytes:
    out = bytearray()
    for number, kind, value in of:
        out += as_varint(number << 3 | kind)
        if isinstance(value, int):
            out += as_varint(value)
        else:
            out += (as_varint(len(value)) if kind == BYTES else b"") + value
    return bytes(out)


Change = Callable[[bytes], bytes]


def within(data: bytes, changes: dict[int, Change]) -> bytes:
    """The message with the fields of these numbers changed."""
    return message(
        [
            (number, kind, changes[number](value) if number in changes and isinstance(value, bytes) else value)
            for number, kind, value in fields(data)
        ]
    )


def entries(image: bytes) -> Iterator[bytes]:
    at = MAGIC_BYTES
    while at + 4 <= len(image):
        (size,) = struct.unpack_from("<I", image, at)
        yield image[at + 4 : at + 4 + size]
        at += 4 + size


def rewrite(path: Path, change: Change) -> None:
    image = path.read_bytes()
    changed = [change(entry) for entry in entries(image)]
    path.write_bytes(image[:MAGIC_BYTES] + b"".join(struct.pack("<I", len(entry)) + entry for entry in changed))


def ids(source: int, target: int) -> Change:
    """Of a userns_entry: lower_first (2) of each extent of both maps."""

    def extent(data: bytes) -> bytes:
        return message([(n, k, target if n == 2 and v == source else v) for n, k, v in fields(data)])

    return lambda entry: within(entry, {1: extent, 2: extent})


def groups(source: str, target: str) -> Change:
    """Of a cgroup_entry: the paths of its sets, with how much of each its namespace hides, and its directories."""
    old, new = f"ct/{source}".encode(), f"ct/{target}".encode()

    def renamed(path: bytes) -> bytes:
        lead = b"/" if path.startswith(b"/") else b""
        rest = path[len(lead) :]
        return lead + new + rest[len(old) :] if rest == old or rest.startswith(old + b"/") else path

    def member(data: bytes) -> bytes:
        told = {number: value for number, _, value in fields(data)}
        path = told.get(2)
        if not isinstance(path, bytes) or renamed(path) == path:
            return data
        more = len(renamed(path)) - len(path)
        out: Fields = []
        for number, kind, value in fields(data):
            if number == 2:
                out.append((2, kind, renamed(path)))
            elif number == 3 and isinstance(value, int) and value > len(old):
                out.append((3, kind, value + more))
            else:
                out.append((number, kind, value))
        return message(out)

    def directory(data: bytes) -> bytes:
        return within(data, {1: renamed})

    def controller(data: bytes) -> bytes:
        return within(data, {2: directory})

    return lambda entry: within(entry, {1: lambda data: within(data, {2: member}), 2: controller})


def shifted(number: int, source: int, target: int) -> int:
    return number - source + target if source <= number < source + IDS else number


def owners(source: int, target: int) -> Change:
    """Of a cgroup_entry: to whom its directories, and the files in them, are given (cgroup_perms: 2 and 3)."""

    def owner(data: bytes) -> bytes:
        ids = {2, 3}
        return message(
            [(n, k, shifted(v, source, target) if n in ids and isinstance(v, int) else v) for n, k, v in fields(data)]
        )

    def directory(data: bytes) -> bytes:
        return within(data, {2: directory, 3: lambda file: within(file, {3: owner}), 4: owner})

    return lambda entry: within(entry, {2: lambda controller: within(controller, {2: directory})})


def give_groups(there: Path, source: int, target: int) -> None:
    """To the same users inside, where their ids begin elsewhere on the node."""
    rewrite(there / "cgroup.img", owners(source, target))
    told = there / "groups.img"
    if told.is_file():
        rows = [line.split(b" ", 2) for line in told.read_bytes().splitlines()]
        here = [[*(b"%d" % shifted(int(id), source, target) for id in row[:2]), *row[2:]] for row in rows]
        told.write_bytes(b"".join(b" ".join(row) + b"\n" for row in here))


def main(images: str, source: str, target: str, source_base: str, target_base: str, hostname: str) -> None:
    there = Path(images)
    for path in there.glob("userns-*.img"):
        rewrite(path, ids(int(source_base), int(target_base)))
    for path in there.glob("utsns-*.img"):
        rewrite(path, lambda entry: within(entry, {1: lambda _: hostname.encode()}))
    rewrite(there / "cgroup.img", groups(source, target))
    give_groups(there, int(source_base), int(target_base))


if __name__ == "__main__":
    main(*sys.argv[1:])
