"""The kit: the shell scripts that are a node's side of Migrator, and how they get there.

They are sent as they are, to a directory named by their digest, so a node may hold several versions and every
container's hooks stay with the version that made its bundle.
"""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "runtime" / "kit"
KITS = "/var/lib/migrator/kit"

# Static text; the directory comes as an argument. The rename makes a half-sent kit invisible.
INSTALL = """set -eu
umask 022
[ ! -e "$1/node" ] || exit 0
mkdir -p "${1%/*}"
chmod 711 "${1%/*/*}"
part=$1.part.$$
mkdir "$part"
tar -C "$part" -xf -
sync "$part"/* "$part"
mv -T "$part" "$1" 2> /dev/null || { rm -rf "$part"; [ -e "$1/node" ]; }
"""
PRESENT = '[ -e "$1/node" ]'
# A verb that asks for the kit itself: ABSENT is an exit code that no verb has, and then nothing was done.
ABSENT = 97
IF_PRESENT = '[ -e "$1/node" ] || exit 97; kit=$1; shift; exec sh "$kit/node" "$@"'


@functools.cache
def archive() -> bytes:
    """The kit as a tar archive, the same bytes every time."""
    import tarfile  # noqa: PLC0415   (a kit is sent once)

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in _scripts():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@functools.cache
def directory() -> str:
    """Where this version of the kit lies on a node."""
    digest = hashlib.sha256()
    for name, data in _scripts():
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return f"{KITS}/{digest.hexdigest()[:16]}"


def _scripts() -> list[tuple[str, bytes]]:
    """What is there but directories: a Python that has read one of them leaves its bytecode in one."""
    return [(path.name, path.read_bytes()) for path in sorted(SCRIPTS.iterdir()) if path.is_file()]
