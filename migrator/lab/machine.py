"""A third template for containers: the `debian` one with an init, cron and an sshd of its own.

For containers that are like a system and not like a program.
"""

from __future__ import annotations

from pathlib import Path

from migrator.lab.further import Further

COMMAND = ("/usr/sbin/runit",)  # the init, as a container's command
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


MACHINE = Further(
    "machine",
    ("runit", "cron", "openssh-server", "nftables", "busybox"),
    1_000_000_000,
    (STAGE_1, STAGE_2, STAGE_3, SERVICES, CRONTAB),
    _set_up,
)
