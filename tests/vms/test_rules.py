"""Rules that only kernels of distributions take, told by one kernel and made by another, older or newer."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from migrator.transport import kit
from tests.lab.stage import Stage

RULES = Path(__file__).parents[1] / "lab" / "rules"
CARDS = "ip link add eth0 type veth peer name far; ip link set lo up; ip link set eth0 up"
TIMEOUT_S = 300  # under emulation, and modules are loaded
KIT = f"python3 -ESsB {kit.directory()}"


def in_new_network(stage: Stage, node: str, script: str, stdin: str) -> str:
    done = stage.on_node(node, "unshare", "--net", "sh", "-ec", f"{CARDS}\n{script}", stdin=stdin, timeout_s=TIMEOUT_S)
    assert done.code == 0, done
    return done.out


@pytest.mark.parametrize("source", ["n1", "n2"])
@pytest.mark.parametrize("made_by", ["every.nft", "more.nft"])
def test_what_one_kernel_tells_another_makes_and_tells_the_same(up: Stage, source: str, made_by: str) -> None:
    up.ok("nodes")  # which brings the kit
    told = in_new_network(up, source, f"nft -f - && {KIT}/rules_out.py all", (RULES / made_by).read_text()).split()[0]
    assert base64.b64decode(told)
    made = (
        f"base64 -d > /tmp/told; {KIT}/rules_in.py /proc/self/ns/user < /tmp/told; {KIT}/rules_out.py same < /tmp/told"
    )
    for node in ("n1", "n2"):
        in_new_network(up, node, made, told)
