"""A move made by the verbs alone, up to its link: no orchestrator, and so no run to settle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from migrator.transport import kit
from tests.lab.stage import Outcome, Stage

NODE = f"{kit.directory()}/node"


def shell(stage: Stage, node: str, script: str) -> Outcome:
    return stage.on_node(node, "sh", "-c", script, timeout_s=60)


def verb(stage: Stage, node: str, words: str) -> Outcome:
    return stage.on_node(node, "sh", NODE, *words.split(), timeout_s=60)


@contextmanager
def linked(stage: Stage, name: str) -> Iterator[None]:
    """Container `name` of n1 as its move to n2 has it before the first pass over the files; the token is 2."""
    base = shell(stage, "n1", f"cat /var/lib/migrator/containers/{name}/id_base").out.strip()
    for node, words in (
        ("n1", f"lease {name} 1 2 hand"),
        ("n2", f"lease {name} 0 2 hand"),
        ("n1", f"prepare {name} 2 source debian {base} 100000000 0"),
        ("n2", f"prepare {name} 2 target debian {base} 100000000 0"),
    ):
        assert verb(stage, node, words).code == 0
    made = verb(stage, "n1", f"keygen {name} 2 {stage.spec.ip('n2')}").out.split()
    assert verb(stage, "n2", f"admit {name} 2 {made[4]} 600 {made[1]} {made[2]}").code == 0
    host_key = " ".join(shell(stage, "n2", "cat /etc/ssh/ssh_host_ed25519_key.pub").out.split()[:2])
    assert verb(stage, "n1", f"link {name} 2 root {stage.spec.ip('n2')} 22 {host_key}").code == 0
    yield
    for node, word in (("n1", "thaw"), ("n2", "discard-target"), ("n1", "settle")):
        token = shell(stage, node, f"sed -n s/^token=//p /var/lib/migrator/records/{name}").out.strip() or "2"
        verb(stage, node, f"{word} {name} {token}" + (" 1" if word == "settle" else ""))
