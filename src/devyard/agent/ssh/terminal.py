"""A pseudo-terminal: open, size, modes from an SSH request (RFC 4254 section 8), signals. No I/O loop.

Called by session.py, which reads and writes the master end.
"""

import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Mapping

_SPEEDS = {int(name[1:]): getattr(termios, name) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}
_CHARACTERS = {
    1: "VINTR",
    2: "VQUIT",
    3: "VERASE",
    4: "VKILL",
    5: "VEOF",
    6: "VEOL",
    7: "VEOL2",
    8: "VSTART",
    9: "VSTOP",
    10: "VSUSP",
    12: "VREPRINT",
    13: "VWERASE",
    14: "VLNEXT",
    18: "VDISCARD",
}
_INPUT = {
    30: "IGNPAR",
    31: "PARMRK",
    32: "INPCK",
    33: "ISTRIP",
    34: "INLCR",
    35: "IGNCR",
    36: "ICRNL",
    37: "IUCLC",
    38: "IXON",
    39: "IXANY",
    40: "IXOFF",
    41: "IMAXBEL",
}
_LOCAL = {
    50: "ISIG",
    51: "ICANON",
    53: "ECHO",
    54: "ECHOE",
    55: "ECHOK",
    56: "ECHONL",
    57: "NOFLSH",
    58: "TOSTOP",
    59: "IEXTEN",
    60: "ECHOCTL",
    61: "ECHOKE",
    62: "PENDIN",
}
_OUTPUT = {70: "OPOST", 71: "OLCUC", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}
_CONTROL = {92: "PARENB", 93: "PARODD"}
_FLAG_SETS = ((0, _INPUT), (1, _OUTPUT), (2, _CONTROL), (3, _LOCAL))
_IUTF8_OPCODE, _IUTF8 = 42, 0o40000
_ISPEED_OPCODE, _OSPEED_OPCODE = 128, 129

Attributes = list[int | list[bytes | int]]
"""As `termios.tcgetattr` gives them; the last item holds the control characters."""
Size = tuple[int, int, int, int]
"""Columns, rows, width and height in pixels; 0 means not told."""


def open_terminal(size: Size, modes: Mapping[int, int]) -> tuple[int, int]:
    """A new pseudo-terminal (master, terminal end), sized and set up. Raises OSError."""
    master, terminal = os.openpty()
    try:
        set_size(master, size)
        with contextlib.suppress(termios.error):
            attributes = termios.tcgetattr(terminal)
            termios.tcsetattr(terminal, termios.TCSANOW, apply_modes(attributes, modes))
    except BaseException:
        os.close(master)
        os.close(terminal)
        raise
    return master, terminal


def set_size(master: int, size: Size) -> None:
    """Sets the size; the foreground process group gets SIGWINCH when it changed."""
    columns, rows, width, height = (min(max(value, 0), 0xFFFF) for value in size)
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


def foreground_group(master: int) -> int | None:
    """The process group that a typed Ctrl-C would reach; None when there is none."""
    try:
        return os.tcgetpgrp(master) or None
    except OSError:
        return None


def apply_modes(attributes: Attributes, modes: Mapping[int, int]) -> Attributes:
    """`termios` attributes changed as the client asks; what the system does not know is left out. Pure."""
    result = list(attributes)
    characters = _characters(attributes)
    for opcode, value in modes.items():
        if opcode in _CHARACTERS and hasattr(termios, _CHARACTERS[opcode]):
            # 255 means: this character is off.
            characters[getattr(termios, _CHARACTERS[opcode])] = bytes([0 if value >= 255 else value])
        elif opcode == _ISPEED_OPCODE and value in _SPEEDS:
            result[4] = _SPEEDS[value]
        elif opcode == _OSPEED_OPCODE and value in _SPEEDS:
            result[5] = _SPEEDS[value]
        elif opcode == _IUTF8_OPCODE:
            result[0] = _with_flag(result[0], _IUTF8, bool(value))
        else:
            for index, names in _FLAG_SETS:
                if opcode in names:
                    result[index] = _with_flag(result[index], getattr(termios, names[opcode], 0), bool(value))
    result[6] = characters
    return result


def _characters(attributes: Attributes) -> list[bytes | int]:
    last = attributes[6]
    assert isinstance(last, list)
    return list(last)


def _with_flag(field: object, flag: int, is_on: bool) -> int:
    assert isinstance(field, int)
    return field | flag if is_on else field & ~flag
