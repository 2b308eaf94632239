"""The kit's Python modules, which import each other by name as on a node, and numbers as CRIU's images have them."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from migrator.transport.kit import SCRIPTS


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
