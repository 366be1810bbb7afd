"""OpenSSH's ProxyCommand under `ProxyUseFdpass`: fetches a connected socket and hands it to ssh.

Run as a script by openssh.py (`python -I -S fdpass.py PATH`), never imported by anything: ssh closes what it
inherits, so the socket comes from a unix socket at PATH. Nothing but the C module is imported, since this stands
in the way of every `devyard ssh`.
"""

import _socket
import sys


def hand_over(path: str) -> None:
    """One descriptor from the unix socket at `path` to standard output, as SCM_RIGHTS both times."""
    holder = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    holder.connect(path)
    _, ancillary, _, _ = holder.recvmsg(1, _socket.CMSG_SPACE(4))
    descriptor = next(data for _, kind, data in ancillary if kind == _socket.SCM_RIGHTS)
    output = _socket.socket(fileno=1)
    output.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor)])
    output.detach()


if __name__ == "__main__":
    hand_over(sys.argv[1])
