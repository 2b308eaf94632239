"""A suite as a source: what is said of a debootstrap that failed."""

from __future__ import annotations

from migrator.templates.suite import why_failed

SAID = """I: Unpacking the base system...
W: Failure trying to run: chroot "/root" dpkg --install /var/cache/apt/archives/systemd_257_amd64.deb
W: See /root/debootstrap/debootstrap.log for details
"""
ORDER = """dpkg: regarding .../systemd_257_amd64.deb containing systemd, pre-dependency problem:
 systemd pre-depends on libsystemd-shared (= 257)
  libsystemd-shared:amd64 is unpacked, but has never been configured.

dpkg: error processing archive /var/cache/apt/archives/systemd_257_amd64.deb (--install):
 pre-dependency problem - not installing systemd
"""
SCRIPT = """Setting up cron (3.0) ...
dpkg: error processing package cron (--configure):
 installed cron package post-installation script subprocess returned error exit status 1
"""


def test_packages_in_the_wrong_order_are_told_with_what_to_do() -> None:
    assert why_failed(SAID, ORDER) == (
        "package systemd needs libsystemd-shared to be there before it, and this debootstrap does not put them in that "
        "order; change --include, or build from a tar that mmdebstrap has made"
    )


def test_what_dpkg_says_of_a_package_is_told() -> None:
    told = "cron: installed cron package post-installation script subprocess returned error exit status 1"
    assert why_failed(SAID, SCRIPT) == told


def test_else_its_own_last_error_is_told() -> None:
    assert why_failed("I: x\nE: Couldn't find these debs: nosuch\nW: y\n", "") == "E: Couldn't find these debs: nosuch"
    assert why_failed("W: nothing more\n", "") == "W: nothing more"
    assert why_failed("", "") == "no word"
