"""The lab's root image: a Debian root for nodes, and a template for containers, built once and cached.

The cache lies outside the checkout, one directory for each recipe and kernel: CRIU depends on the kernel, so an
image that was proven under one kernel says nothing about another. CRIU comes from the first suite whose CRIU
dumps and restores a process with a TCP connection here (`guest/prove-criu`).
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from migrator.lab import cache, debian
from migrator.lab.cache import CACHE
from migrator.lab.debian import BASE_SUITE
from migrator.lab.shell import LabError, run

GUEST = Path(__file__).parent / "guest"
CRIU_SUITES = ("trixie", "forky", "sid")
NODE_PACKAGES = [
    "crun",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "libcriu2",
    "nftables",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "rsync",
    "runc",
    "sudo",
    "tini",
]
TEMPLATE_NAME = "debian"
TEMPLATE_PACKAGES = ["iproute2", "procps", "python3", "redis-server"]
SPACE_BYTES_MIN = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: `node` is a root directory for nodes, `templates` holds one directory a template."""

    node: Path
    templates: Path
    criu: str


def image_path() -> Path:
    """Where the image for this recipe and this kernel lies, built or not."""
    recipe = repr((BASE_SUITE, CRIU_SUITES, NODE_PACKAGES, TEMPLATE_PACKAGES, platform.release()))
    recipe += (GUEST / "prove-criu").read_text()
    return CACHE / f"image-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def load() -> Image:
    """The built image, or an error that says how to build it."""
    path = image_path()
    ready = path / "ready"
    if not ready.exists():
        raise LabError("the lab's root image is not built; run: migrator lab image")
    return Image(path / "node", path / "templates", ready.read_text().strip())


def build(say: Callable[[str], None]) -> Image:
    """Builds the image unless it is there. `say` gets one line for each long step."""
    path = image_path()
    if (path / "ready").exists():
        return load()
    cache.build_once(path, path / "ready", "the lab's root image", SPACE_BYTES_MIN, lambda: _build(path, say))
    return load()


def _build(path: Path, say: Callable[[str], None]) -> None:
    partial = path.with_suffix(".partial")
    cache.remove_tree(partial)
    partial.mkdir()
    log = partial / "log"
    node, template = partial / "node", partial / "templates" / TEMPLATE_NAME
    template.mkdir(parents=True)
    say(f"building the lab's root image in {path} (once; the downloads take a few minutes)")
    mirror = debian.find_mirror()
    script = debian.debootstrap_script(BASE_SUITE)
    argv: list[str | Path] = ["debootstrap", "--variant=minbase", BASE_SUITE, node, mirror, script]
    run(argv, timeout_s=1800, what="debootstrap", log=log)
    debian.configure_apt(node, mirror)
    run(["cp", "-a", "--reflink=auto", node, template / "rootfs"], timeout_s=300)
    say("  installing the template's packages")
    debian.install(template / "rootfs", TEMPLATE_PACKAGES, log)
    say("  installing the node's packages")
    debian.install(node, NODE_PACKAGES, log)
    criu = _install_proven_criu(node, mirror, log, say)
    finish_template(template)
    _finish_node(node)
    (partial / "ready").write_text(f"{criu}\n")
    partial.rename(path)


def _install_proven_criu(node: Path, mirror: str, log: Path, say: Callable[[str], None]) -> str:
    """Installs CRIU from the first suite whose CRIU works on this kernel; returns its version and suite."""
    failures = []
    for suite in CRIU_SUITES:
        if suite != BASE_SUITE:
            debian.add_suite(node, mirror, suite)
        try:
            debian.install(node, ["criu"], log, suite=suite)
        except LabError as error:
            failures.append(f"{suite}: {error}")
            continue
        proof = _prove(node)
        if proof.returncode == 0:
            version = proof.stdout.strip()
            say(f"  CRIU {version} from {suite}: dumped and restored a TCP connection on {platform.release()}")
            return f"criu {version} {suite}"
        reason = (proof.stderr.strip().splitlines() or ["no reason given"])[-1]
        say(f"  CRIU from {suite} does not fit this kernel: {reason}")
        failures.append(f"{suite}: {reason}")
    raise LabError(f"no suite has a CRIU that works on kernel {platform.release()}: " + "; ".join(failures))


def _prove(node: Path) -> subprocess.CompletedProcess[str]:
    prove = node / "root" / "prove-criu"
    shutil.copy(GUEST / "prove-criu", prove)
    # CRIU wants a root that is a mount, so a chroot will not do.
    inside = (
        'mount --bind "$1" "$1" && cd "$1" && pivot_root . mnt && mount -t proc proc /proc && '
        "umount -l /mnt && exec sh /root/prove-criu"
    )
    argv: list[str | Path] = [
        "unshare",
        "--mount",
        "--pid",
        "--net",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        inside,
        "sh",
        node,
    ]
    try:
        return run(argv, timeout_s=120, check=False, what="proving CRIU")
    finally:
        prove.unlink()


def finish_template(template: Path) -> None:
    """Makes a template of a directory with a `rootfs`: without what apt keeps, and with a digest of what is there."""
    rootfs = template / "rootfs"
    run(["chroot", rootfs, "apt-get", "clean"])
    shutil.rmtree(rootfs / "var/lib/apt/lists", ignore_errors=True)
    (rootfs / "etc/resolv.conf").write_text("")
    installed = run(["chroot", rootfs, "dpkg-query", "-W"]).stdout
    (template / "digest").write_text(hashlib.sha256(installed.encode()).hexdigest() + "\n")


def _finish_node(node: Path) -> None:
    run(["chroot", node, "apt-get", "clean"])
    shutil.rmtree(node / "var/lib/apt/lists", ignore_errors=True)
    for key in (node / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # every node makes its own
    (node / "var/lib/migrator").mkdir(parents=True, exist_ok=True)
