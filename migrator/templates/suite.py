"""A Debian suite as a source: debootstrap, by the way to the mirror that this machine's own apt has.

debootstrap is many processes, and mounts `proc` in what it makes. So it has processes and mounts of its own, all of
which end with the first of them: whoever stops a build, or kills it, leaves nothing that runs or is mounted.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO

from migrator.errors import BadInput, FailedSafe, Refused, quoted

SUITE = re.compile(r"[a-z][a-z0-9.-]{0,40}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
SCRIPTS = Path("/usr/share/debootstrap/scripts")
FALLBACK_SCRIPT = "sid"  # builds suites that this debootstrap is too old to know by name
TIMEOUT_S = 1800
END_S = 10  # for all of them, once they are killed
UNSHARE = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL")
ALONE = ("setpriv", "--pdeathsig", "KILL", *UNSHARE)
LEFT_OUT = ("dev", "proc", "sys", "run", "tmp", "var/cache/apt", "var/lib/apt/lists")  # their directories stay
OF_THE_BUILD = (
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/log/apt/history.log",
    "var/log/apt/term.log",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
)


def bootstrap(
    suite: str, root: Path, mirror: str | None, packages: tuple[str, ...], log: Path, say: Callable[[str], None]
) -> None:
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
        *ALONE,
        "debootstrap",
        "--variant=minbase",
        *([f"--include={','.join(packages)}"] if packages else []),
        suite,
        str(root),
    ]
    argv += [mirror or find_mirror(), str(script if script.exists() else SCRIPTS / FALLBACK_SCRIPT)]
    say(f"debootstrap makes {suite}, which takes a minute or two")
    with log.open("wb") as out:
        try:
            code = run_whole(argv, out)
        except subprocess.TimeoutExpired:
            raise FailedSafe(f"debootstrap of {suite}: no end after {TIMEOUT_S} s") from None
    if code != 0:
        inner = root / "debootstrap" / "debootstrap.log"
        texts = [path.read_text(errors="replace") if path.is_file() else "" for path in (log, inner)]
        raise FailedSafe(f"debootstrap of {suite}: {why_failed(*texts)}")
    take_out(root)


def take_out(root: Path) -> None:
    """What apt keeps for itself, and what says when and on what the suite was built, so that twice the same is the same
    template.
    """
    for name in LEFT_OUT:
        empty(root / name)
    for name in OF_THE_BUILD:
        (root / name).unlink(missing_ok=True)
    for name in ("etc/resolv.conf", "etc/machine-id", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
        (root / name).touch()


def run_whole(argv: list[str], out: IO[bytes]) -> int:
    """Runs a command to its end, or to that of our own; its exit code. When this returns, or raises, nothing of it
    runs: all that it begins holds the pipe's end.
    """
    ended, held = os.pipe()
    try:
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(held,)) as running:
            try:
                return running.wait(TIMEOUT_S)
            finally:
                running.kill()
    finally:
        os.close(held)
        select.select([ended], [], [], END_S)
        os.close(ended)


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
