"""Runs the system's OpenSSH client over a stream that is open already.

Called by command.py. ssh gets the socket by descriptor passing, the agent's host keys from the server's reply, and
asks for no other authentication: the stream's ticket was it. Invariants: nothing of ours that others could use
outlives the command (a directory of mode 0700 in between), and ssh's exit status is the command's.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from devyard.cli.connect.agentstream import AgentStream
from devyard.cli.connect.pump import pump

OPTIONS = (
    ("GlobalKnownHostsFile", "/dev/null"),
    ("StrictHostKeyChecking", "yes"),
    ("UpdateHostKeys", "no"),
    ("PreferredAuthentications", "none"),
    ("ControlPath", "none"),
    ("LogLevel", "ERROR"),
    ("ServerAliveInterval", "30"),
    ("ServerAliveCountMax", "6"),
)


class SshRequest(msgspec.Struct, frozen=True):
    """What the user wants of the session."""

    host: str
    command: Sequence[str] = ()
    environment: Sequence[str] = ()
    remote_forwards: Sequence[str] = ()
    forwards_agent: bool = False
    identity_agent: str = ""
    is_verbose: bool = False


def find_ssh() -> str | None:
    """The ssh binary on PATH."""
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        candidate = f"{directory}/ssh"
        if directory and os.access(candidate, os.X_OK):
            return candidate
    return None


def run_openssh(binary: str, stream: AgentStream, request: SshRequest) -> int:
    """Runs ssh to its end; its exit status, or 128 + signal as a shell counts."""
    directory = _make_private_directory()
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"{directory}/stream")
        listener.listen(1)
        (directory / "known_hosts").write_text(render_known_hosts(request.host, stream.host_keys))
        threading.Thread(target=_serve, args=(listener, stream.socket), daemon=True).start()
        return _spawn(binary, build_arguments(request, directory))
    finally:
        for name in ("stream", "known_hosts"):
            (directory / name).unlink(missing_ok=True)
        directory.rmdir()


def build_arguments(request: SshRequest, directory: Path) -> list[str]:
    """ssh's command line."""
    helper = Path(__file__).with_name("fdpass.py")
    proxy = f"{_quoted(sys.executable)} -I -S {_quoted(str(helper))} {_quoted(str(directory / 'stream'))}"
    options = [
        *OPTIONS,
        ("ProxyCommand", proxy.replace("%", "%%")),
        ("ProxyUseFdpass", "yes"),
        ("UserKnownHostsFile", str(directory / "known_hosts")),
        ("HostKeyAlias", request.host),
    ]
    if request.environment:
        options.append(("SetEnv", " ".join(_environment_word(item) for item in request.environment)))
    if request.identity_agent:
        options.append(("IdentityAgent", request.identity_agent))
    arguments = ["ssh", "-F", "none"]
    for name, value in options:
        arguments += ["-o", f"{name}={value}"]
    arguments += ["-A"] if request.forwards_agent else ["-a"]
    for forward in request.remote_forwards:
        arguments += ["-R", forward]
    if request.is_verbose:
        arguments.append("-v")
    return [*arguments, "--", request.host, *request.command]


def render_known_hosts(host: str, keys: Sequence[str]) -> str:
    """known_hosts lines (sshd(8)) for public keys in OpenSSH's format."""
    lines = []
    for key in keys:
        words = key.split()
        if len(words) >= 2:
            lines.append(f"{host} {words[0]} {words[1]}\n")
    return "".join(lines)


def _environment_word(item: str) -> str:
    escaped = item.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _make_private_directory() -> Path:
    root = os.environ.get("XDG_RUNTIME_DIR", "")
    if not root or len(root) > 40 or not os.access(root, os.W_OK | os.X_OK):
        root = "/tmp"  # noqa: S108 - the directory made below is ours alone (mkdir fails where one exists)
    directory = Path(root, f"devyard-{os.getpid()}-{os.urandom(6).hex()}")
    directory.mkdir(mode=0o700)
    return directory


def _serve(listener: socket.socket, stream: socket.socket) -> None:
    """Gives the stream to the one process that comes for it."""
    peer, _ = listener.accept()
    listener.close()
    if type(stream) is socket.socket:
        with peer, stream:
            socket.send_fds(peer, [b"\0"], [stream.fileno()])
        return
    ours, theirs = socket.socketpair()  # TLS ends in this process: ssh gets a pair's other end
    with peer, theirs:
        socket.send_fds(peer, [b"\0"], [theirs.fileno()])
    with ours:
        pump(stream, ours.fileno(), ours.fileno())


def _spawn(binary: str, arguments: list[str]) -> int:
    """Runs ssh in the foreground: what the terminal sends is its, what is sent to us is passed on."""
    child = 0

    def pass_on(number: int, frame: FrameType | None) -> None:
        if child:
            os.kill(child, number)

    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    kept |= {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        child = os.posix_spawn(binary, arguments, os.environ, setsigdef=list(kept))
        _, status = os.waitpid(child, 0)
    finally:
        child = 0
        for number, handler in kept.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
