"""How the kernel shares the processor: terminals at once, builds when there is time. Linux only, no rights needed.

Called by the relay and the agent (`prefer_latency`) and, in its own words, by Terraform's worker. Invariant:
nobody gets more time than its share, only sooner or later; where the kernel can't, nothing changes.
"""

import ctypes
import os

SLICE_NS = 200_000
_SCHED_FLAG_RESET_ON_FORK = 0x01
_SYSCALL = {"x86_64": 314, "aarch64": 274}


class _Attributes(ctypes.Structure):
    """`struct sched_attr` of sched_setattr(2), first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def prefer_latency() -> bool:
    """The calling thread runs soon after it is woken, in short slices (Linux 6.12 and newer); children do not.

    A session of its own also keeps it apart from its parent's other work (sched(7), autogroups).
    """
    number = _SYSCALL.get(os.uname().machine)
    if number is None:
        return False
    attributes = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=os.SCHED_OTHER,
        flags=_SCHED_FLAG_RESET_ON_FORK,
        nice=max(os.getpriority(os.PRIO_PROCESS, 0), 0),
        runtime=SLICE_NS,
    )
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attributes), 0) == 0)
