"""`terraform-provider-devyard`: the provider as an executable that Terraform starts.

Terraform waits for one line on standard output, the handshake. It is printed as soon as the socket is listened
on and the certificate made; the rest is loaded while Terraform connects. Invariant: importing this file imports
almost nothing, and the process ends when Terraform says so or is gone. Protocol: github.com/hashicorp/go-plugin,
docs/internals.md.
"""

import os
import sys

COOKIE_NAME = "TF_PLUGIN_MAGIC_COOKIE"
COOKIE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"

_CORE_PROTOCOL = 1
_PROVIDER_PROTOCOL = 5

_BY_HAND = """\
This is the Devyard provider for Terraform, which also serves as coder/coder. Terraform starts it; by hand it
does nothing. To use it, name its directory in a dev_overrides block of Terraform's CLI configuration, put it in
a filesystem mirror, or attach Terraform to a running one: devyard provider serve
"""


def main() -> None:
    """The whole process."""
    if os.environ.get(COOKIE_NAME) != COOKIE:
        sys.stderr.write(_BY_HAND)
        sys.exit(1)
    offered = os.environ.get("PLUGIN_PROTOCOL_VERSIONS", str(_PROVIDER_PROTOCOL)).split(",")
    if str(_PROVIDER_PROTOCOL) not in offered:
        sys.stderr.write(
            f"This Terraform speaks provider protocols {', '.join(offered)}; this provider speaks "
            f"{_PROVIDER_PROTOCOL}. Use Terraform 0.12 or newer.\n"
        )
        sys.exit(1)
    _serve()


def _serve() -> None:
    import gc
    import signal

    gc.disable()
    parent = os.getppid()
    # Ctrl-C goes to the whole process group, and Terraform wants its provider to finish what is in flight.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    directory = _make_directory()
    try:
        listener = _listen(f"{directory}/s")
        client_certificate = os.environ.get("PLUGIN_CLIENT_CERT", "")
        certificate = None
        if client_certificate:
            from devyard.provisioner.plugin.certificate import make_certificate

            certificate = make_certificate()
        _shake_hands(f"{directory}/s", certificate.encoded if certificate else "")
        from devyard.runtime.imports import quick_imports

        with quick_imports():
            from devyard.provisioner.plugin.session import run_session
        gc.enable()
        run_session(listener, certificate, client_certificate, parent)
    finally:
        _remove_directory(directory)
    sys.stderr.flush()
    os._exit(0)


def _make_directory() -> str:
    """A directory that only this user can enter. (tempfile would take as long to import as all the rest.)"""
    parent = os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    directory = os.path.abspath(f"{parent}/dyp-{os.urandom(6).hex()}")  # noqa: PTH100
    os.mkdir(directory, 0o700)  # noqa: PTH102  # fails where it exists: nobody else can have made it
    return directory


def _remove_directory(directory: str) -> None:
    for name in ("s", "s~"):
        try:
            os.unlink(f"{directory}/{name}")  # noqa: PTH108
        except FileNotFoundError:
            pass
    os.rmdir(directory)  # noqa: PTH106


def _listen(path: str):  # type: ignore[no-untyped-def]  # the type would have to be imported
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)  # in a directory that only this user can enter
    listener.listen(8)
    listener.setblocking(False)
    return listener


def _shake_hands(path: str, certificate: str) -> None:
    fields = (str(_CORE_PROTOCOL), str(_PROVIDER_PROTOCOL), "unix", path, "grpc", certificate)
    sys.stdout.write("|".join(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
