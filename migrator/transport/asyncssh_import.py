"""asyncssh, loaded when a node is first spoken to, and without what its loading would search for in vain.

asyncssh looks for the libraries of two algorithms that we do without (sntrup761 of liboqs, umac of nettle) by
`ctypes.util.find_library`, which starts ldconfig, and where they are not there the compiler and the linker too: 30 to
80 ms of each command. ML-KEM, the other exchange of keys that is made for quantum computers, comes with `cryptography`.
"""

from __future__ import annotations

import ctypes.util
import functools
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types


@functools.cache
def library() -> Any:
    """The module `asyncssh`."""
    search = ctypes.util.find_library
    ctypes.util.find_library = _not_found
    try:
        found: types.ModuleType = importlib.import_module("asyncssh")
    finally:
        ctypes.util.find_library = search
    return found


def _not_found(name: str) -> str | None:
    return None
