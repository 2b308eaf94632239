"""The cluster file as it is written: where it is, its values with their lines, and how its nodes seem to be reached.

Nothing is checked here, and nothing is loaded for it: checking takes Python as long as sshd takes for a login, and both
can go on at once. See `ahead`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrator.errors import BadInput
from migrator.inventory.documents import read_yaml
from migrator.transport.ssh import SshAddress

if TYPE_CHECKING:
    import yaml

ENVIRONMENT = "MIGRATOR_CLUSTER"
DEFAULT = "cluster.yaml"
_PATHS = ("identity_file", "known_hosts", "config")
_SSH = {"user": str, "port": int, "become": str, **dict.fromkeys(_PATHS, str)}


@dataclass(frozen=True, slots=True)
class Written:
    """A file's values, the nodes of YAML that they were made of, and what names it in errors."""

    raw: Any
    root: yaml.Node | None
    source: str


def find(given: str | None) -> Path:
    """The cluster file to use: --cluster, else the environment, else ./cluster.yaml."""
    return Path(given or os.environ.get(ENVIRONMENT) or DEFAULT)


def read(path: Path) -> Written:
    """A cluster file that is to be checked yet; BadInput where it is none that could be read, or no YAML."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        hint = f"give one with --cluster FILE or {ENVIRONMENT}, or make a lab: migrator lab up"
        raise BadInput(f"{path}: there is no such cluster file; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    return Written(*read_yaml(text, str(path)), str(path))


def ssh_address(host: str, usual: Mapping[str, Any], own: Mapping[str, Any]) -> SshAddress:
    """How a node is reached: by what is said of it itself, and where that says nothing by what is usual."""
    told = {**usual, **own}
    at_home = os.path.expanduser
    return SshAddress(host, **{key: at_home(of) if key in _PATHS else of for key, of in told.items()})


def likely(raw: Any) -> Iterator[tuple[str, SshAddress]]:
    """Name and address of each node in values that nobody has checked yet; what looks strange is passed over."""
    file = _mapping(raw)
    usual = _ssh(file.get("defaults"))
    nodes = file.get("nodes")
    for node in map(_mapping, nodes if isinstance(nodes, list) else ()):
        name, host = node.get("name"), node.get("address") or node.get("name")
        if isinstance(name, str) and isinstance(host, str):
            yield name, ssh_address(host, usual, _ssh(node))


def _ssh(of: Any) -> dict[str, Any]:
    told = _mapping(_mapping(of).get("ssh"))
    return {key: value for key, value in told.items() if key in _SSH and isinstance(value, _SSH[key])}


def _mapping(of: Any) -> Mapping[Any, Any]:
    return of if isinstance(of, dict) else {}
