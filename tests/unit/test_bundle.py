"""What a node is given to run a container: made from the descriptor, and from what the node can do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from migrator.model.container import Descriptor
from migrator.runtime import bundle

WEB = Descriptor(
    name="web",
    template="debian",
    template_digest="d",
    command=("sleep", "$(reboot)"),
    address="10.0.0.7/24",
    id_index=20,
    memory_bytes=256 << 20,
    cpu_milli=500,
    disk_bytes=1 << 30,
)


def config(ct: Descriptor = WEB, controllers: tuple[str, ...] = ("cpu", "memory")) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(bundle.config_json(ct, "/kit", controllers))
    return loaded


def test_the_command_is_passed_as_words_and_never_as_text_of_a_shell() -> None:
    args = config()["process"]["args"]
    assert args[:2] == ["/bin/sh", "-c"]
    assert "$(reboot)" not in args[2]
    assert args[-2:] == ["sleep", "$(reboot)"]


def test_a_node_is_told_the_restart_policy_in_a_word_of_its_own() -> None:
    for policy in ("no", "always"):
        files = bundle.files(replace(WEB, restart=policy), "/kit", "br0", ())
        assert files["restart"] == f"{policy}\n".encode()


def test_limits_are_set_where_the_node_can_enforce_them() -> None:
    resources = config()["linux"]["resources"]
    assert resources["memory"] == {"limit": 256 << 20}
    assert resources["cpu"] == {"quota": 50_000, "period": 100_000}


def test_limits_are_left_out_where_the_node_cannot_enforce_them() -> None:
    assert set(config(controllers=("hugetlb",))["linux"]["resources"]) == {"devices"}


def test_the_containers_root_is_an_unprivileged_user_of_the_node() -> None:
    mapping = config()["linux"]["uidMappings"]
    assert mapping == [{"containerID": 0, "hostID": 20 * 65536, "size": 65536}]
    assert {"type": "user"} in config()["linux"]["namespaces"]
    assert "CAP_SYS_ADMIN" not in config()["process"]["capabilities"]["bounding"]


def test_a_restore_asks_the_hook_before_anything_runs() -> None:
    assert config()["annotations"]["org.criu.config"].endswith("/web/criu.conf")
    assert "action-script /kit/criu-hook" in bundle.criu_conf("/kit").decode()


def test_cruns_is_told_by_the_kit_alone_and_not_a_second_time_by_a_crun_that_reads_the_annotation() -> None:
    made = json.loads(bundle.config_json(replace(WEB, runtime="crun"), "/kit", ()))
    assert made["annotations"] == {}


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50)), st.lists(st.text(max_size=50), min_size=1))
def test_a_descriptor_survives_its_file(labels: dict[str, str], command: list[str]) -> None:
    ct = Descriptor(**{**_fields(WEB), "labels": labels, "command": tuple(command)})
    text = bundle.descriptor_json(ct)
    assert b"\n" not in text
    assert TypeAdapter(Descriptor).validate_json(text) == ct


@given(st.text(min_size=1, max_size=60), st.integers(16, 64_999))
def test_a_mac_is_local_unicast_and_a_cable_fits_the_kernels_limit(name: str, index: int) -> None:
    ct = Descriptor(**{**_fields(WEB), "name": name, "id_index": index})
    assert int(ct.mac.split(":")[0], 16) & 3 == 2
    assert len(ct.veth) <= 15


def _fields(ct: Descriptor) -> dict[str, Any]:
    return {name: getattr(ct, name) for name in Descriptor.__dataclass_fields__}
