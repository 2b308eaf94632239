"""How a virtual machine is called for, without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.lab import lab as labs
from migrator.lab import vm
from migrator.lab.paths import LabPaths
from migrator.lab.shell import LabError

LAB = LabPaths.of("some")
SPEC = labs.Spec(subnet_index=7, nodes=("n1", "n2"), kernels=("6.1", "6.12"))


def test_each_machine_boots_the_kernel_that_is_its_own_on_the_cable_that_is_its_own() -> None:
    words = [vm.qemu_argv(LAB, name, SPEC.ip(name), SPEC.kernel(name), SPEC.memory_bytes) for name in SPEC.nodes]
    assert [argv[argv.index("-kernel") + 1] for argv in words] == [
        "/image/kernels/6.1/vmlinuz",
        "/image/kernels/6.12/vmlinuz",
    ]
    assert ["ifname=n1," in argv[argv.index("-netdev") + 1] for argv in words] == [True, False]
    assert [argv[argv.index("-append") + 1].split()[-1] for argv in words] == [
        "lab.ip=10.213.7.11",
        "lab.ip=10.213.7.12",
    ]
    assert all("1024M" in argv for argv in words)


def test_a_command_reaches_the_shell_of_a_machine_as_it_was_written_and_only_under_its_checked_key() -> None:
    argv = vm.ssh_argv(LAB, "10.213.7.11", ["sh", "-c", "echo 'a b'; $x"])
    assert argv[-1] == """sh -c 'echo '"'"'a b'"'"'; $x'"""
    assert "StrictHostKeyChecking=yes" in argv
    assert f"UserKnownHostsFile={LAB.known_hosts}" in argv


def test_a_disk_is_never_booted_on_another_image_than_it_was_begun_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrator.lab.paths.LABS", tmp_path)
    monkeypatch.setattr("migrator.lab.vm.network.plug_vm", lambda lab, name: None)
    monkeypatch.setattr("migrator.lab.vm.cgroup.make", lambda path: None)
    LAB.node("n1").dir.mkdir(parents=True)
    LAB.node("n1").vm_image.write_text(f"{tmp_path}/gone\n")
    with pytest.raises(LabError, match="make the lab anew: migrator lab down --name some"):
        vm.start(LAB, "n1", SPEC.ip("n1"), "6.1", SPEC.memory_bytes)
