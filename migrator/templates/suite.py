"""A Debian suite as a source: debootstrap, by the way to the mirror that this machine's own apt has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from migrator.errors import BadInput, FailedSafe, Refused, quoted

SUITE = re.compile(r"[a-z][a-z0-9.-]{0,40}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
SCRIPTS = Path("/usr/share/debootstrap/scripts")
FALLBACK_SCRIPT = "sid"  # builds suites that this debootstrap is too old to know by name
TIMEOUT_S = 1800
LEFT_OUT = ("dev", "proc", "sys", "run", "tmp", "var/cache/apt", "var/lib/apt/lists")  # their directories stay


def bootstrap(suite: str, root: Path, mirror: str | None, packages: tuple[str, ...], log: Path) -> None:
    """Makes a minimal root of a suite, with some packages more, and without what apt keeps for itself."""
    if not SUITE.fullmatch(suite):
        raise BadInput(f"--suite {quoted(suite)}: not a suite's name")
    for package in packages:
        if not PACKAGE.fullmatch(package):
            raise BadInput(f"--include {quoted(package)}: not a package's name")
    if shutil.which("debootstrap") is None:
        raise Refused("debootstrap is not installed here; install it, or build from a tar")
    if os.geteuid() != 0:
        raise Refused("debootstrap needs root; run this as root, or build from a tar that mmdebstrap has made")
    script = SCRIPTS / suite
    argv = [
        "debootstrap",
        "--variant=minbase",
        *([f"--include={','.join(packages)}"] if packages else []),
        suite,
        str(root),
    ]
    argv += [mirror or find_mirror(), str(script if script.exists() else SCRIPTS / FALLBACK_SCRIPT)]
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise FailedSafe(f"debootstrap of {suite}: no end after {TIMEOUT_S} s") from None
    if done.returncode != 0:
        inner = root / "debootstrap" / "debootstrap.log"
        texts = [path.read_text(errors="replace") if path.is_file() else "" for path in (log, inner)]
        raise FailedSafe(f"debootstrap of {suite}: {why_failed(*texts)}")
    for name in LEFT_OUT:
        empty(root / name)
    for name in ("etc/resolv.conf", "etc/machine-id", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
        (root / name).touch()


def why_failed(said: str, dpkg_said: str) -> str:
    """One line of what debootstrap has said, and of its log of dpkg, to which its words point: that is gone with the
    root.
    """
    if before := re.search(r"^ (\S+) pre-depends on (\S+)", dpkg_said, re.MULTILINE):
        return (
            f"package {before[1]} needs {before[2]} to be there before it, and this debootstrap does not put them in "
            "that order; change --include, or build from a tar that mmdebstrap has made"
        )
    if wrong := re.search(r"^dpkg: error processing (?:package|archive) (\S+).*:\n (.+)", dpkg_said, re.MULTILINE):
        return f"{wrong[1].rpartition('/')[2]}: {wrong[2]}"
    lines = [line for line in said.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("E:")), lines[-1] if lines else "no word")


def empty(folder: Path) -> None:
    """Leaves nothing in a directory, if it is there and no link."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def find_mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    try:
        found = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        found = []
    if not found:
        raise BadInput("apt knows no Debian mirror here; name one with --mirror URL")
    return found[0]
