"""The system calls that Python's own modules lack (os.unshare exists only from 3.12), by ctypes.

Only the launcher process calls this; it imports the standard library's cheapest modules and nothing else,
because its start is part of every workspace's start. Invariant: a call that fails raises OSError naming it.
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_RELATIME = 1 << 21
MNT_DETACH = 2

PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

CAP_KILL = 5
_CAP_LAST = 63
_KEYCTL = {"x86_64": 250, "aarch64": 219, "armv7l": 311}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int, what: str) -> None:
    """Leave the caller's namespaces named by `flags` for new ones (unshare(2))."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare {what}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Call mount(2)."""
    done = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        flags,
        data.encode() if data else None,
    )
    _check(done, f"mount {kind or source} on {target}")


def pivot_into(root: str) -> None:
    """Make `root`, a mount point, the root of this mount namespace and drop the old one (pivot_root(2))."""
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Name this UTS namespace."""
    text = name.encode()
    _check(_libc.sethostname(text, ctypes.c_size_t(len(text))), "sethostname")


def prctl(option: int, value: int, what: str) -> None:
    """Call prctl(2) with one value."""
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero), what)


def hold_signals(*, hold: bool) -> None:
    """Block all signals, or let them through again (sigprocmask(2)).

    Pid 1 loses a signal for which it has no handler yet; a blocked one waits.
    """
    every = ctypes.create_string_buffer(b"\xff" * 128, 128)
    _check(_libc.sigprocmask(ctypes.c_int(0 if hold else 1), every, None), "sigprocmask")


def leave_session_keyring() -> None:
    """Join a new, empty session keyring: the inherited one may hold the provisioner's keys (keyctl(2))."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        # A kernel without keyrings has none to leave.
        _libc.syscall(ctypes.c_long(number), ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), None)


def drop_bounding_set() -> None:
    """Take every capability out of the bounding set, so that no later execve gains one."""
    zero = ctypes.c_ulong(0)
    for capability in range(_CAP_LAST + 1):
        # EINVAL past the last capability that this kernel knows ends the walk.
        if _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), zero, zero, zero) != 0:
            return


def keep_capabilities(*kept: int) -> None:
    """Reduce this thread's effective and permitted capabilities to those given (capset(2))."""
    mask = sum(1 << capability for capability in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.capset(header, data), "capset")
