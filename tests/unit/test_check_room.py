"""The room that a move is refused for just before it starts: by the way that its memory would go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.model.facts import NodeFacts
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES
from migrator.protocol.checks import Answered, Neighbour, findings
from tests.properties.fleets import BY_IMAGES, GIB, MIB, ct, node

HELD = 1000 * MIB
CONTAINER = ct("web", memory=2 * GIB, anon_bytes=HELD)


def against(source: NodeFacts, target: NodeFacts) -> list[str]:
    descriptor = CONTAINER.descriptor
    assert descriptor is not None
    seen = Neighbour({ip: Answered((descriptor.mac,)) for ip in descriptor.ips}, criu_works=True)
    return findings(descriptor, source, target, seen, Policy(), DEFAULT_RATES["stream"])


def test_streamed_memory_asks_the_source_for_no_more_than_its_small_images() -> None:
    source = node("n1", CONTAINER, memory_available_bytes=64 * MIB)
    assert against(source, node("n2")) == []
    (found,) = against(replace(source, memory_available_bytes=64 * MIB - 1), node("n2"))
    assert found.startswith("memory for the images on the source: 64.0 MiB wanted")
    (found,) = against(replace(source, **BY_IMAGES), node("n2"))
    assert found.startswith("memory for the images on the source: 1.0 GiB wanted")


@pytest.mark.parametrize(("facts", "beside"), [({}, 256 * MIB), (BY_IMAGES, HELD)])
def test_the_target_has_to_have_what_lies_beside_the_restored_memory(facts: dict[str, str], beside: int) -> None:
    exactly = HELD + beside + 64 * MIB
    source = node("n1", CONTAINER, memory_available_bytes=9 * GIB)
    assert against(source, replace(node("n2", memory_available_bytes=exactly), **facts)) == []
    (found,) = against(source, replace(node("n2", memory_available_bytes=exactly - 1), **facts))
    assert found.startswith("memory for ")


def test_a_pause_is_predicted_over_the_shared_links_between_the_nodes_too() -> None:
    large = ct("web", memory=2 * GIB, anon_bytes=GIB)
    descriptor = large.descriptor
    assert descriptor is not None
    seen = Neighbour({ip: Answered((descriptor.mac,)) for ip in descriptor.ips}, criu_works=True)
    words = (descriptor, node("n1", large), node("n2"), seen, Policy(blackout_s_max=5), DEFAULT_RATES["stream"])
    assert findings(*words) == []
    (found,) = findings(*words, shared=(100_000_000,))
    assert found.startswith("its pause is predicted at 10.9 s, over the limit of 5.00 s")


def test_files_in_memory_lie_on_both_sides_while_they_are_packed() -> None:
    held = replace(CONTAINER, tmpfs_bytes=400 * MIB)
    source = node("n1", held, memory_available_bytes=464 * MIB)
    target = node("n2", memory_available_bytes=HELD + (256 + 400 + 64) * MIB)
    assert against(source, target) == []
    (found,) = against(replace(source, memory_available_bytes=464 * MIB - 1), target)
    assert found.startswith("memory for the images on the source: 464.0 MiB wanted")
    (found,) = against(source, replace(target, memory_available_bytes=target.memory_available_bytes - 1))
    assert "memory for pages that come early and those in their place" in found
