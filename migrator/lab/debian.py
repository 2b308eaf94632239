"""Debian roots for the lab's images: the machine's own way to its mirror, and packages in a root."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from migrator.lab.shell import LabError, run

BASE_SUITE = "trixie"
# Debian releases that debootstrap of an older release does not know by name are built by this script.
FALLBACK_SCRIPT = "sid"


def find_mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = run(argv, what="asking apt for its mirror").stdout.split()
    if not found:
        raise LabError("apt knows no Debian mirror here; check the sources and run: apt-get update")
    return found[0]


def debootstrap_script(suite: str) -> str:
    """Debootstrap's script for a suite, or that of another where it does not know this one."""
    scripts = Path("/usr/share/debootstrap/scripts")
    return str(scripts / (suite if (scripts / suite).exists() else FALLBACK_SCRIPT))


def configure_apt(root: Path, mirror: str) -> None:
    """Gives a root the machine's own way to its mirror: proxies, certificates, retries, name servers."""
    dump = run(["apt-config", "dump", "--no-empty", "Acquire"]).stdout.splitlines()
    wanted = ("Proxy", "CaInfo", "Check-Valid-Until", "Check-Date", "Retries")
    lines = [line for line in dump if any(word in line.split(" ")[0] for word in wanted)]
    lines += [
        'APT::Install-Recommends "false";',
        'Acquire::Languages "none";',
        'Acquire::Check-Valid-Until "false";',
    ]
    (root / "etc/apt/apt.conf.d/99lab").write_text("\n".join(lines) + "\n")
    (root / "etc/apt/sources.list").write_text(f"deb {mirror} {BASE_SUITE} main\n")
    use_name_servers(root)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # no package may start a service while it is installed
    policy.chmod(0o755)
    run(["chroot", root, "apt-get", "update"], timeout_s=300, what="apt-get update in the image")


def use_name_servers(root: Path, machine: Path = Path("/")) -> None:
    """Gives a root this machine's way to find a host by its name. A minimal machine may have no /etc/hosts."""
    for name in ("etc/resolv.conf", "etc/hosts"):
        (root / name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(machine / name, root / name)


def add_suite(root: Path, mirror: str, suite: str) -> None:
    """Makes a suite known to a root's apt, which takes nothing from it unasked."""
    (root / f"etc/apt/sources.list.d/{suite}.list").write_text(f"deb {mirror} {suite} main\n")
    pin = f"Package: *\nPin: release n={suite}\nPin-Priority: 100\n"
    (root / f"etc/apt/preferences.d/{suite}").write_text(pin)
    run(["chroot", root, "apt-get", "update"], timeout_s=300, what=f"apt-get update for {suite}")


def install(root: Path, packages: list[str], log: Path, suite: str | None = None) -> None:
    """Installs packages in a root, from a suite that was added if one is named."""
    target = ["-t", suite] if suite else []
    argv: list[str | Path] = ["chroot", root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y"]
    run([*argv, *target, *packages], timeout_s=1200, what=f"installing {packages[0]} in the image", log=log)
