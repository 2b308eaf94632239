"""A third template for containers, `machine`: the `debian` one with an init, cron and an sshd of its own.

For containers that are like a system and not like a program. Built on demand and cached, as `programs` is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from migrator.lab import cache, debian, image
from migrator.lab.paths import LabPaths
from migrator.lab.shell import run

NAME = "machine"
COMMAND = ("/usr/sbin/runit",)  # the init, as a container's command
PACKAGES = ["runit", "cron", "openssh-server", "nftables", "busybox"]
SPACE_BYTES_MIN = 1_000_000_000
# Stages of runit, without what only a machine of its own would need (disks, consoles, clocks).
STAGE_1 = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /run/sshd /run/runit/supervise
install -m000 /dev/null /run/runit.stopit
install -m000 /dev/null /run/runit.reboot
"""
STAGE_2 = """#!/bin/sh
exec env - PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin runsvdir -P /srv/services
"""
STAGE_3 = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
sv -w 5 force-stop /srv/services/* > /dev/null 2>&1 || :
"""
SERVICES = {
    "cron": "exec cron -f",
    "sshd": "exec /usr/sbin/sshd -D -e",
    "redis": "exec chpst -u redis redis-server --save '' --dir /tmp --bind 127.0.0.1",
}
CRONTAB = "* * * * * root echo ran >> /var/log/cron-ran\n"


def template_path() -> Path:
    """Where the template for this recipe lies, built or not."""
    recipe = repr((image.image_path().name, PACKAGES, STAGE_1, STAGE_2, STAGE_3, SERVICES, CRONTAB))
    return cache.CACHE / f"{NAME}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def build(say: Callable[[str], None]) -> Path:
    """Builds the template unless it is there; returns its directory. `say` gets one line for each long step."""
    path = template_path()
    if path.exists():
        return path
    base = image.build(say).templates / image.TEMPLATE_NAME
    cache.build_once(path, path, "the lab's template of machines", SPACE_BYTES_MIN, lambda: _build(path, base, say))
    return path


def _build(path: Path, base: Path, say: Callable[[str], None]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    cache.remove_tree(partial)
    partial.mkdir()
    rootfs = partial / "rootfs"
    say(f"building the lab's template of machines in {path} (once; the downloads take a minute)")
    run(["cp", "-a", "--reflink=auto", base / "rootfs", rootfs], timeout_s=300)
    debian.configure_apt(rootfs, debian.find_mirror())
    debian.install(rootfs, PACKAGES, partial / "log")
    _set_up(rootfs)
    image.finish_template(partial)
    partial.rename(path)


def _set_up(rootfs: Path) -> None:
    for stage, text in (("1", STAGE_1), ("2", STAGE_2), ("3", STAGE_3)):
        _program(rootfs / "etc/runit" / stage, text)
    for name, command in SERVICES.items():
        _program(rootfs / "srv/services" / name / "run", f"#!/bin/sh\nexec 2>&1\n{command}\n")
    (rootfs / "etc/cron.d/lab").write_text(CRONTAB)


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def offer(lab: LabPaths, node: str) -> None:
    """Puts the built template on a node's disk, as an operator would copy one there."""
    there = lab.node(node).disk / "templates" / NAME
    if not there.exists():
        run(["cp", "-a", "--reflink=auto", template_path(), there], timeout_s=300)


def take_back(lab: LabPaths, node: str) -> None:
    """Takes the template off a node's disk, where no container may stand on it any more."""
    cache.remove_tree(lab.node(node).disk / "templates" / NAME)
