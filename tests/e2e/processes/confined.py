"""Becomes a command under a container's limits: no namespaces, no mounts, few capabilities.

    python confined.py UID COMMAND…

What Docker's defaults forbid: unshare(2), mount(2), setns(2) and clone(2) with namespace flags answer EPERM, and
of the capabilities only Docker's are left. UID other than 0 is taken on afterwards, whether it has a name or not.
"""

import ctypes
import os
import platform
import struct
import sys

KEPT_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
NAMESPACE_FLAGS = 0x7E020000
NUMBERS = {
    "x86_64": {"refused": (165, 166, 272, 308, 155), "clone": 56, "clone3": 435},
    "aarch64": {"refused": (40, 39, 97, 268, 41), "clone": 220, "clone3": 435},
}[platform.machine()]
LOAD, EQUAL, HAS_BITS, ANSWER = 0x20, 0x15, 0x45, 0x06
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def forbid_namespaces():
    code = [(LOAD, 0, 0, 0)]
    for number in NUMBERS["refused"]:
        code += [(EQUAL, 0, 1, number), (ANSWER, 0, 0, EPERM)]
    # glibc falls back from clone3, whose flags a filter can't see, to clone.
    code += [(EQUAL, 0, 1, NUMBERS["clone3"]), (ANSWER, 0, 0, ENOSYS)]
    code += [(EQUAL, 0, 3, NUMBERS["clone"]), (LOAD, 0, 0, 16), (HAS_BITS, 0, 1, NAMESPACE_FLAGS)]
    code += [(ANSWER, 0, 0, EPERM), (ANSWER, 0, 0, ALLOW)]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = Program(len(code), ctypes.addressof(packed))
    if libc.prctl(22, 2, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def drop_capabilities():
    for capability in range(64):
        if capability not in KEPT_CAPABILITIES:
            libc.prctl(24, capability, 0, 0, 0)


forbid_namespaces()
drop_capabilities()
uid = int(sys.argv[1])
if uid:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
os.execvp(sys.argv[2], sys.argv[2:])
