"""The filter of system calls that containers run under, in the form of the OCI runtime specification.

Everything is allowed but what a container has no use for and the node would have to fear, or what no move could carry:
so programs of every kind run, and the list is short enough to be read. A call that is denied fails; nobody is killed.
CRIU dumps the filter of each process and restores it last, after it has itself called what is denied here.
"""

from __future__ import annotations

from typing import Any

_EPERM, _ENOSYS = 1, 38
_CLONE_NEWUSER = 0x10000000

# Why each: the kernel's own code; the machine as a whole; what is not in any namespace; wide doors of the past.
_KERNEL_CODE = ("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf")
_MACHINE = (
    *("acct", "swapon", "swapoff", "quotactl", "quotactl_fd", "iopl", "ioperm", "syslog"),
    *("settimeofday", "clock_settime", "clock_settime64", "adjtimex", "clock_adjtime", "clock_adjtime64", "stime"),
)
_NOT_NAMESPACED = ("add_key", "request_key", "keyctl", "open_by_handle_at", "perf_event_open", "lookup_dcookie")
_OLD = ("nfsservctl", "uselib", "ustat", "sysfs", "_sysctl", "vm86", "vm86old", "create_module", "query_module")
# What CRIU cannot dump, and programs can do without where it is as in a kernel that has none. A userfaultfd is also
# the favourite means to win races in the kernel, and the rings have their own past.
_NOT_CARRIED = ("io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd")
# A node has one architecture; of each family also the older one, whose programs it can run.
_ARCHITECTURES = ("X86_64", "X86", "X32", "AARCH64", "ARM")


def profile() -> dict[str, Any]:
    """The value of `linux.seccomp` in a container's config.json."""
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES],
        "syscalls": [
            _denied((*_KERNEL_CODE, *_MACHINE, *_NOT_NAMESPACED, *_OLD), _EPERM),
            # clone3's flags lie in memory, where no filter sees them: programs that find none use clone.
            _denied((*_NOT_CARRIED, "clone3"), _ENOSYS),
            # A user namespace of one's own gives all capabilities in it, and no move carries it.
            _denied(("clone", "unshare"), _EPERM) | {"args": [_holds(0, _CLONE_NEWUSER)]},
        ],
    }


def _denied(names: tuple[str, ...], errno: int) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno}


def _holds(index: int, bits: int) -> dict[str, Any]:
    return {"index": index, "value": bits, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ"}
