"""asyncssh, loaded when a node is first spoken to, and without what we do without: that is half of its loading.

- It looks for the libraries of two algorithms (sntrup761 of liboqs, umac of nettle) by `ctypes.util.find_library`,
  which starts ldconfig, and where they are not there the compiler and the linker too: 30 to 80 ms. ML-KEM, the other
  exchange of keys that is made for quantum computers, comes with `cryptography`.
- X.509 certificates need pyOpenSSL; it learns that pyOpenSSL is not there after loading all else for them: 15 ms.
- File transfer by SFTP and SCP, 20 ms. Files go by rsync here.

What is left out is left out of this process for good; whoever has loaded asyncssh whole before keeps it so.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

_TRANSFER = ("asyncssh.sftp", "asyncssh.scp")
_X509 = "asyncssh.crypto.x509"


class _LeftOut(types.ModuleType):
    """Stands for a module whose names others import and never use; each is a class of its own."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (Exception,), {})
        setattr(self, name, made)
        return made


@functools.cache
def library() -> Any:
    """The module `asyncssh`."""
    if "asyncssh" in sys.modules:
        return sys.modules["asyncssh"]
    with _without_search(), _without_x509():
        for name in _TRANSFER:
            sys.modules[name] = _LeftOut(name)
        return importlib.import_module("asyncssh")


@contextlib.contextmanager
def _without_search() -> Iterator[None]:
    search = ctypes.util.find_library
    ctypes.util.find_library = _not_found
    try:
        yield
    finally:
        ctypes.util.find_library = search


def _not_found(name: str) -> str | None:
    return None


@contextlib.contextmanager
def _without_x509() -> Iterator[None]:
    """Where pyOpenSSL is there, with it."""
    if importlib.util.find_spec("OpenSSL") is not None:
        yield
        return
    loaded: dict[str, Any] = sys.modules
    loaded[_X509] = None  # by this it is told that there is no such module
    try:
        yield
    finally:
        del loaded[_X509]
