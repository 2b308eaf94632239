"""The image for labs of virtual machines, built once beside the namespace lab's and out of it.

tools/             a Debian root with QEMU: it runs in there, and nothing is installed on this machine
kernels/SERIES/    Debian's own kernels, and for each an initramfs that mounts the root
base.img           ext4: the node's root, the templates, the modules of all kernels; each machine writes beside it
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from migrator.lab import cache, debian, image
from migrator.lab.cache import CACHE
from migrator.lab.image import GUEST, TEMPLATE_NAME
from migrator.lab.shell import LabError, run

# Which suite has which kernel; "newest" goes on. The cloud flavour has all that containers want, and few drivers.
KERNEL_SUITES = {"6.1": "bookworm", "6.12": "trixie", "newest": "forky"}
KERNEL_DEFAULT = "6.12"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
# QEMU 7.2 crashes its guests under software emulation; the base suite has 10.
TOOLS_PACKAGES = ["busybox-static", "cpio", "e2fsprogs", "kmod", "qemu-system-x86", "qemu-utils", "seabios", "xz-utils"]
GUEST_PACKAGES = ["kmod"]
GUEST_PROGRAMS = {"boot-vm": "usr/local/sbin/boot-vm", "vm-reboot": "usr/sbin/reboot"}
BOOT_MODULES = ["virtio_pci", "virtio_blk", "ext4"]
DISK_BYTES = 8 << 30  # what a machine sees; the file holds what is written
SPACE_BYTES_MIN = 4_000_000_000


@dataclass(frozen=True, slots=True)
class VmImage:
    """A built image, by its directory."""

    dir: Path

    @property
    def tools(self) -> Path:
        return self.dir / "tools"


def image_path() -> Path:
    """Where the image for this recipe lies, built or not. It follows the node's root, whose CRIU it has."""
    recipe = repr((image.image_path().name, KERNEL_SUITES, TOOLS_PACKAGES, GUEST_PACKAGES, BOOT_MODULES, DISK_BYTES))
    recipe += "".join((GUEST / name).read_text() for name in ("vm-initramfs", *GUEST_PROGRAMS))
    return CACHE / f"vms-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def load() -> VmImage:
    """The built image, or an error that says how to build it."""
    path = image_path()
    if not (path / "ready").exists():
        raise LabError("the image for virtual machines is not built; run: migrator lab image --vms")
    return VmImage(path)


def build(say: Callable[[str], None]) -> VmImage:
    """Builds the image unless it is there, and the namespace lab's before it."""
    node = image.build(say)
    path = image_path()
    if (path / "ready").exists():
        return load()
    if platform.machine() != "x86_64":
        raise LabError(f"labs of virtual machines are made for x86_64 alone, and this is {platform.machine()}")
    what = "the image for virtual machines"
    cache.build_once(path, path / "ready", what, SPACE_BYTES_MIN, lambda: _build(path, node, say))
    return load()


def _build(path: Path, node: image.Image, say: Callable[[str], None]) -> None:
    partial = path.with_suffix(".partial")
    cache.remove_tree(partial)
    partial.mkdir()
    log, tools, guest = partial / "log", partial / "tools", partial / "guest"
    say(f"building the image for virtual machines in {path} (once; a minute or two)")
    # From the template's root, which has all of the base suite: the node's has libraries that CRIU has brought.
    run(["cp", "-a", "--reflink=auto", node.templates / TEMPLATE_NAME / "rootfs", tools], timeout_s=300)
    mirror = debian.find_mirror()
    debian.configure_apt(tools, mirror)
    say("  installing QEMU, in a root of its own")
    debian.install(tools, TOOLS_PACKAGES, log)
    for name in ("lab", "image"):  # where a machine's directory and this one are mounted, in QEMU's own namespace
        (tools / name).mkdir()
    run(["cp", "-a", "--reflink=auto", node.node, guest], timeout_s=300)
    _finish_guest(guest, node.templates, log)
    versions = {}
    for series, suite in KERNEL_SUITES.items():
        if suite != debian.BASE_SUITE:
            debian.add_suite(tools, mirror, suite)
        versions[series] = _add_kernel(partial, series, suite, log)
        say(f"  kernel {versions[series]} from {suite}")
    say("  making the disk")
    _make_disk(partial, log)
    for scratch in (guest, tools / "build"):
        cache.remove_tree(scratch)
    (partial / "ready").write_text("".join(f"{series} {version}\n" for series, version in versions.items()))
    partial.rename(path)


def _finish_guest(guest: Path, templates: Path, log: Path) -> None:
    """Makes the node's root one that boots by itself: what loads modules, what is started, the templates."""
    debian.use_name_servers(guest)
    run(["chroot", guest, "apt-get", "update"], timeout_s=300, what="apt-get update in the guest")
    debian.install(guest, GUEST_PACKAGES, log)
    run(["chroot", guest, "apt-get", "clean"])
    shutil.rmtree(guest / "var/lib/apt/lists", ignore_errors=True)
    for name, place in GUEST_PROGRAMS.items():
        shutil.copy(GUEST / name, guest / place)
        (guest / place).chmod(0o755)
    run(["cp", "-a", "--reflink=auto", templates, guest / "var/lib/migrator/templates"], timeout_s=300)


def _add_kernel(partial: Path, series: str, suite: str, log: Path) -> str:
    """Unpacks a suite's kernel, makes its initramfs, and gives the guest its modules; returns the full version."""
    tools, kernel = partial / "tools", partial / "kernels" / series
    work = tools / "build" / series
    work.mkdir(parents=True)
    image = next(name for name in _parts(tools, f"{KERNEL_PACKAGE}/{suite}") if name.startswith("linux-image-"))
    packages = " ".join([image, *_parts(tools, image)])  # newer suites have the modules in a package of their own
    fetch = f"cd /build/{series} && apt-get -o APT::Sandbox::User=root download {packages} && "
    fetch += "for package in *.deb; do dpkg-deb -x $package . || exit 1; done"
    run(["chroot", tools, "sh", "-c", fetch], timeout_s=300, what=f"fetching kernel {series}", log=log)
    if not (work / "usr/lib/modules").exists():  # before trixie kernels still come in /lib
        (work / "usr/lib").mkdir(parents=True, exist_ok=True)
        (work / "lib").rename(work / "usr/lib.old")
        (work / "usr/lib.old/modules").rename(work / "usr/lib/modules")
    if not (work / "lib").exists():
        (work / "lib").symlink_to("usr/lib")
    modules = next((work / "usr/lib/modules").iterdir())
    run(["chroot", tools, "depmod", "-b", f"/build/{series}", modules.name], what="depmod")
    kernel.mkdir(parents=True)
    shutil.copy(next(path for path in work.rglob("vmlinuz*") if path.is_file()), kernel / "vmlinuz")
    _make_initramfs(tools, series, modules.name)
    shutil.move(work / "initrd", kernel / "initrd")
    target = partial / "guest/usr/lib/modules"
    target.mkdir(exist_ok=True)
    run(["cp", "-a", modules, target], timeout_s=300)
    return modules.name


def _parts(tools: Path, package: str) -> list[str]:
    """The packages that a package needs in its own version: those that it was parted into."""
    shown = run(["chroot", tools, "apt-cache", "show", "--no-all-versions", package]).stdout
    fields = dict(line.split(": ", 1) for line in shown.splitlines() if ": " in line)
    return [
        word.split(" ")[0]
        for word in fields.get("Depends", "").split(", ")
        if word.endswith(f"(= {fields['Version']})")
    ]


def _make_initramfs(tools: Path, series: str, version: str) -> None:
    """Packs busybox, the first program, and the modules up to the root, as plain files in the order of their needs."""
    root = tools / "build" / series / "initramfs"
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy(tools / "usr/bin/busybox", root / "bin/busybox")
    shutil.copy(GUEST / "vm-initramfs", root / "init")
    (root / "init").chmod(0o755)
    ask = ["modprobe", "-a", "-d", f"/build/{series}", "-S", version, "--show-depends", *BOOT_MODULES]
    order: list[str] = []
    for line in run(["chroot", tools, *ask], what="modprobe").stdout.splitlines():
        if line.startswith("insmod "):
            path = line.split()[1]
            name = Path(path).name.removesuffix(".xz")
            if name not in order:
                order.append(name)
                unpack = "xz -dc" if path.endswith(".xz") else "cat"
                run(["chroot", tools, "sh", "-c", f"{unpack} {path} > /build/{series}/initramfs/modules/{name}"])
    (root / "order").write_text("".join(f"{name}\n" for name in order))
    pack = f"cd /build/{series}/initramfs && find . | cpio --quiet -o -H newc > ../initrd"
    run(["chroot", tools, "sh", "-c", pack], what="packing the initramfs")


def _make_disk(partial: Path, log: Path) -> None:
    with (partial / "base.img").open("wb") as disk:
        disk.truncate(DISK_BYTES)
    inside = 'mount --bind "$1" "$1/tools/image" && cd "$1/tools" && shift && exec chroot . "$@"'
    make = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", "/image/guest", "/image/base.img"]
    argv: list[str | Path] = ["unshare", "--mount", "sh", "-c", inside, "sh", partial, *make]
    run(argv, timeout_s=600, what="making the disk", log=log)
