"""What the kit makes of a new container's names and host keys, in directories that stand for its root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from migrator.transport import kit

KIT = kit.SCRIPTS
OURS = "# By Migrator, which keeps these lines true as long as this one is here:\n"
LOCAL = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
WEB = "10.0.0.7 web.example.org web\nfd00::7 web.example.org web\n"


def run(folder: Path, script: str) -> str:
    whole = f'. "$KIT/limits.sh"; . "$KIT/identity.sh"; set -eu; base={os.getuid()}; cd {folder}; {script}'
    done = subprocess.run(
        ["sh", "-c", whole], env={**os.environ, "KIT": str(KIT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def named(folder: Path, how: str, name: str = "web.example.org", addresses: str = "10.0.0.7/24 fd00::7/64") -> str:
    return run(folder, f"n_addresses='{addresses}'; name_hosts {how} {name}")


def test_a_new_container_is_named_where_its_template_does_not_name_it(tmp_path: Path) -> None:
    assert named(tmp_path, "first") == "renewed /etc/hosts\n"
    hosts = tmp_path / "hosts"
    assert hosts.read_text() == f"{OURS}{LOCAL}{WEB}# (end)\n"
    assert named(tmp_path, "first") == ""
    named(tmp_path, "ours", "db", "10.0.0.8/24")
    assert hosts.read_text() == f"{OURS}{LOCAL}10.0.0.8 db\n# (end)\n"
    theirs = "127.0.0.1 x localhost # one\n::1 localhost"
    hosts.write_text(theirs)
    named(tmp_path, "first")
    assert hosts.read_text() == f"{theirs}\n{OURS}{WEB}# (end)\n"
    hosts.write_text(hosts.read_text() + "10.0.0.9 own.line\n")
    named(tmp_path, "ours", "db", "10.0.0.8/24")
    assert hosts.read_text() == f"{theirs}\n10.0.0.9 own.line\n{OURS}10.0.0.8 db\n# (end)\n"


def test_a_new_container_has_its_own_name_in_place_of_its_templates(tmp_path: Path) -> None:
    file = tmp_path / "hostname"
    assert run(tmp_path, "name_file web") == ""
    assert not file.exists()
    for said in ("golden-image\n", ""):
        file.write_text(said)
        assert run(tmp_path, "name_file web") == "renewed /etc/hostname\n"
        assert file.read_text() == "web\n"
    assert run(tmp_path, "name_file web") == ""


def test_a_renamed_container_is_named_anew_where_its_file_says_the_name_that_it_had(tmp_path: Path) -> None:
    file = tmp_path / "hostname"
    file.write_text("web\n")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text('{"hostname": "web", "root": {}}')
    names = f"CONTAINERS={tmp_path}; ct=c"
    run(
        tmp_path, f"{names}; note_name c shop; note_name c shop.example.org"
    )  # the second time while it is stopped, too
    assert run(tmp_path, f"{names}; rename_own shop.example.org") == "renewed /etc/hostname\n"
    assert file.read_text() == "shop.example.org\n"
    assert not (tmp_path / "c" / "renamed-from").exists()
    file.write_text("chosen-inside\n")
    assert run(tmp_path, f"{names}; note_name c db; rename_own db") == ""
    assert file.read_text() == "chosen-inside\n"


def test_a_link_in_the_place_of_its_name_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x\n")
    (tmp_path / "hostname").symlink_to(secret)
    assert run(tmp_path, "name_file web") == ""
    assert secret.read_text() == "x\n"


def test_names_that_are_not_ours_stay_and_no_link_is_followed(tmp_path: Path) -> None:
    hosts, secret = tmp_path / "hosts", tmp_path / "secret"
    named(tmp_path, "ours")
    assert not hosts.exists()
    hosts.write_text("127.0.0.1 localhost\n")
    named(tmp_path, "ours")
    assert hosts.read_text() == "127.0.0.1 localhost\n"
    hosts.unlink()
    secret.write_text(f"{OURS}# (end)\n")
    hosts.symlink_to(secret)
    named(tmp_path, "first")
    named(tmp_path, "ours")
    assert (hosts.is_symlink(), secret.read_text()) == (True, f"{OURS}# (end)\n")


@pytest.mark.parametrize(
    ("files", "kinds"),
    [
        ({}, ""),
        ({"etc/ssh/ssh_config": ""}, ""),
        ({"etc/ssh/sshd_config": "#HostKey /etc/ssh/ssh_host_rsa_key\n"}, "ed25519 ecdsa\n"),
        ({"etc/ssh/ssh_host_rsa_key": "", "etc/ssh/ssh_host_rsa_key.pub": ""}, "ed25519 ecdsa\n"),
        ({"etc/ssh/ssh_config": "", "usr/sbin/sshd": ""}, "ed25519 ecdsa\n"),
        ({"etc/ssh/sshd_config": "HostKey /etc/ssh/ssh_host_rsa_key\n"}, "ed25519 ecdsa\nrsa\n"),
    ],
)
def test_host_keys_are_made_where_there_is_an_sshd(tmp_path: Path, files: dict[str, str], kinds: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert run(tmp_path, f"first_kinds {tmp_path}") == kinds


def test_keys_of_the_template_are_replaced_whatever_kind_they_are(tmp_path: Path) -> None:
    folder, keys = tmp_path / "ssh", tmp_path / "keys"
    for made in (folder, keys):
        made.mkdir()
    for name in ("ssh_host_rsa_key", "ssh_host_rsa_key.pub", "ssh_host_ed25519_key", "sshd_config"):
        (folder / name).write_text("old")
    for name in ("ed25519", "ed25519.pub"):
        (keys / name).write_text("new")
    assert run(folder, f"put_host_keys {keys}") == "renewed /etc/ssh/ssh_host_ed25519_key\n"
    found = {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in folder.iterdir()}
    assert found.pop("sshd_config")[0] == "old"
    assert found == {"ssh_host_ed25519_key": ("new", 0o600), "ssh_host_ed25519_key.pub": ("new", 0o644)}


def test_a_machine_id_is_renewed_where_there_is_one_to_renew(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    renew = f"root={tmp_path.resolve()}; renew_machine_id"
    assert run(tmp_path, renew) == ""
    for before, renewed in (("", False), ("uninitialized\n", False), ("0" * 32 + "\n", True)):
        (etc / "machine-id").write_text(before)
        assert run(tmp_path, renew) == ("renewed /etc/machine-id\n" if renewed else "")
        now = (etc / "machine-id").read_text()
        assert (now != before, len(now) == 33) == (renewed, renewed)
