"""What CRIU notes of a container's control groups, less those of the first version: noted_groups.py IMAGES.

CRIU would make groups on the target in the hierarchies that the source had, by their names, with the source's limits.
But the runtime has made them there already, as that node has them, with the limits of the container's description, and
puts what is restored into them, or the network hook does (join_groups). So only the second version's tree has to be
noted, which every node has, for the container's namespace begins there. Without the rest, nodes need not have the same
hierarchies, nor the same version.
"""

import contextlib
import struct
import sys
from pathlib import Path

from twin_images import Fields, fields, message, rewrite

# By CRIU's images/cgroup.proto: a cgroup_entry has sets and controllers; a set's members have a name, a controller's
# names are those mounted together. The second version's is empty.
SETS, CONTROLLERS, MEMBERS, NAME = 1, 2, 2, 1


def of_tree(entry: bytes) -> bytes:
    """The cgroup_entry with the second version's alone, where that is in it."""
    found = fields(entry)
    if not any(number == CONTROLLERS and isinstance(value, bytes) and is_tree(value) for number, _, value in found):
        return entry
    kept: Fields = []
    for number, kind, value in found:
        if number == SETS and isinstance(value, bytes):
            kept.append((number, kind, members_of_tree(value)))
        elif number != CONTROLLERS or (isinstance(value, bytes) and is_tree(value)):
            kept.append((number, kind, value))
    return message(kept)


def members_of_tree(entry: bytes) -> bytes:
    return message(
        [
            (number, kind, value)
            for number, kind, value in fields(entry)
            if number != MEMBERS or (isinstance(value, bytes) and is_tree(value))
        ]
    )


def is_tree(entry: bytes) -> bool:
    """Of a member, or of a controller."""
    return [value for number, _, value in fields(entry) if number == NAME] == [b""]


def keep_tree(images: Path) -> None:
    """What cannot be read is left as it is, for CRIU to say what is wrong."""
    with contextlib.suppress(FileNotFoundError, IndexError, ValueError, struct.error):
        rewrite(images / "cgroup.img", of_tree)


if __name__ == "__main__":
    keep_tree(Path(sys.argv[1]))
