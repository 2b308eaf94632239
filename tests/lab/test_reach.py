"""Ways to reach nodes: ssh's own configuration, a jump host, a user with sudo, and a host key that is wrong."""

from __future__ import annotations

from pathlib import Path

import yaml

from migrator.lab import lab as labs
from tests.lab.stage import Stage


def cluster_with(stage: Stage, path: Path, **of_n2: object) -> str:
    """The lab's cluster file with another entry for n2."""
    document = yaml.safe_load(stage.paths.cluster_file.read_text())
    for node in document["nodes"]:
        if node["name"] == "n2":
            node.update(of_n2)
            if node.get("address") is None:
                del node["address"]
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_a_node_is_reached_by_its_name_in_the_ssh_configuration_over_a_jump_host(tidy: Stage, tmp_path: Path) -> None:
    tidy.counter("web", "n1", 1)
    config = tmp_path / "config"
    config.write_text(
        f"Host n2\n  HostName {tidy.spec.ip('n2')}\n  ProxyJump root@{tidy.spec.ip('n3')}\n"
        f"Host *\n  User root\n  IdentityFile {tidy.paths.key}\n  UserKnownHostsFile {tidy.paths.known_hosts}\n"
    )
    by_name = {"address": None, "migration_address": tidy.spec.ip("n2")}
    cluster = cluster_with(tidy, tmp_path / "jump.yaml", **by_name, ssh={"config": str(config)})
    done = tidy.migrator("migrate", "web", "--to", "n2", cluster=cluster)
    assert done.code == 0, done.err
    assert tidy.places("web") == [("n2", "running")]
    tidy.ok("migrate", "web", "--to", "n1")


def cluster_of_ops(stage: Stage, path: Path) -> str:
    """n1 and n2, reached by a user who may become root. The user is made there."""
    setup = (
        "id ops >/dev/null 2>&1 || useradd -m -s /bin/bash -p '*' ops; "
        "echo 'ops ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/ops; "
        "install -d -m 700 -o ops -g ops /home/ops/.ssh; "
        "install -m 600 -o ops -g ops /root/.ssh/authorized_keys /home/ops/.ssh/authorized_keys"
    )
    for node in ("n1", "n2"):
        assert stage.on_node(node, "sh", "-c", setup).code == 0
    document = yaml.safe_load(stage.paths.cluster_file.read_text())
    document["defaults"]["ssh"] |= {"user": "ops", "become": "sudo"}
    document["nodes"] = [node for node in document["nodes"] if node["name"] != "n3"]
    path.write_text(yaml.safe_dump(document))
    return str(path)


def keys_of_ops(stage: Stage, node: str) -> str:
    return stage.on_node(node, "grep", "-c", "migrator:", "/home/ops/.ssh/authorized_keys").out


def test_a_user_with_sudo_is_enough_on_both_ends(tidy: Stage, tmp_path: Path) -> None:
    cluster = cluster_of_ops(tidy, tmp_path / "sudo.yaml")
    tidy.counter("web", "n1", 2)
    for target in ("n2", "n1"):
        done = tidy.migrator("migrate", "web", "--to", target, cluster=cluster)
        assert done.code == 0, done.err
    for node in ("n1", "n2"):
        assert keys_of_ops(tidy, node) == "0\n"


def test_a_key_that_one_user_has_let_in_is_taken_back_by_another(tidy: Stage, tmp_path: Path) -> None:
    cluster = cluster_of_ops(tidy, tmp_path / "sudo.yaml")
    tidy.counter("web", "n1", 4)
    assert tidy.kill_at("web", "n2", "seeded:end", cluster=cluster) == -9
    assert keys_of_ops(tidy, "n2") == "1\n"
    kept = ("stat", "-c", "%U %a", "/home/ops/.ssh/authorized_keys")
    (run,) = tidy.ok("runs", "--json").json()["runs"]
    tidy.ok("--cluster", tidy.cluster, "rollback", run["run"])
    assert keys_of_ops(tidy, "n2") == "0\n"
    assert tidy.on_node("n2", *kept).out == "ops 600\n"
    assert tidy.places("web") == [("n1", "running")]


def test_a_wrong_host_key_is_refused_with_what_to_do(tidy: Stage, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    swapped = tidy.paths.known_hosts.read_text().replace(tidy.spec.ip("n2"), "192.0.2.9")
    known.write_text(swapped.replace(tidy.spec.ip("n3"), tidy.spec.ip("n2")))
    cluster = cluster_with(tidy, tmp_path / "wrong.yaml", ssh={"known_hosts": str(known)})
    listed = tidy.migrator("ct", "list", "--json", cluster=cluster).json()
    assert "host key" in listed["no_answer"]["n2"]
    assert str(known) in listed["no_answer"]["n2"]


def test_a_template_that_the_target_lacks_is_brought_along(tidy: Stage) -> None:
    tidy.counter("web", "n1", 3)
    gone = "umount /var/lib/migrator/templates/debian && rmdir /var/lib/migrator/templates/debian"
    assert tidy.on_node("n3", "sh", "-c", gone).code == 0
    tidy.ok("migrate", "web", "--to", "n3")
    assert tidy.places("web") == [("n3", "running")]
    same = ("sh", "-c", "cd /var/lib/migrator/templates/debian && find rootfs | wc -l && cat digest")
    assert tidy.on_node("n3", *same).out == tidy.on_node("n1", *same).out
    tidy.ok("migrate", "web", "--to", "n1")
    assert tidy.on_node("n3", "rm", "-rf", "--one-file-system", "/var/lib/migrator/templates/debian").code == 0
    labs.crash(tidy.paths, "n3")  # it boots with the lab's own template again
