"""A template for containers whose first process is systemd: the `debian` one with systemd, dbus, cron and sshd."""

from __future__ import annotations

from pathlib import Path

from migrator.lab.further import Further

MASKED = ["user@.service"]  # a systemd of each user's own, which CRIU does not restore


def _set_up(rootfs: Path) -> None:
    (rootfs / "etc/machine-id").write_text("")  # each container makes its own
    for unit in MASKED:
        (rootfs / "etc/systemd/system" / unit).symlink_to("/dev/null")


BOOTED = Further(
    "booted",
    ("systemd-sysv", "dbus", "libpam-systemd", "cron", "openssh-server"),
    1_000_000_000,
    (MASKED,),
    _set_up,
)
