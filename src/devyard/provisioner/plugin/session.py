"""One run of the plugin executable after its handshake: serves Terraform until that ends it.

Called by executable.py. Invariant: the process ends after Shutdown, after SIGTERM, and when the process that
started it is gone.
"""

import asyncio
import os
import signal
import socket
from typing import Any

import grpc

from devyard.provisioner.plugin.certificate import Certificate, make_tls
from devyard.provisioner.plugin.connections import find_job
from devyard.provisioner.provider.server import ProviderServer

_SERVING = b"\x08\x01"
"""grpc.health.v1.HealthCheckResponse with status SERVING."""


def run_session(
    listener: socket.socket, certificate: Certificate | None, client_certificate: str, parent: int
) -> None:
    """Serves on `listener` until the end. `client_certificate`: PEM, the only one let in."""
    asyncio.run(_run(listener, certificate, client_certificate, parent))


async def _run(
    listener: socket.socket, certificate: Certificate | None, client_certificate: str, parent: int
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    environment = dict(os.environ)
    server = ProviderServer(
        listener,
        None,
        find_job=lambda peer: find_job(environment, None),
        tls=make_tls(certificate, client_certificate) if certificate else None,
        more_handlers=_plugin_handlers(ended),
    )
    await server.serve()
    _watch_parent(parent, ended)
    await ended.wait()
    await server.close()


def _watch_parent(parent: int, ended: asyncio.Event) -> None:
    """Terraform that was killed can't say good-bye."""
    try:
        descriptor = os.pidfd_open(parent)
    except OSError:  # gone already
        ended.set()
        return
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    if os.getppid() != parent:
        ended.set()


def _plugin_handlers(ended: asyncio.Event) -> tuple[grpc.GenericRpcHandler, ...]:
    """What go-plugin asks of every plugin: control, standard streams, broker, health."""

    async def shut_down(request: bytes, context: Any) -> bytes:
        asyncio.get_running_loop().call_soon(ended.set)
        return b""

    async def check(request: bytes, context: Any) -> bytes:
        return _SERVING

    async def stream_nothing(request: bytes, context: Any) -> None:
        """Our output goes to standard error, which Terraform reads; the stream stays open until the end."""
        await ended.wait()

    async def broker_nothing(requests: Any, context: Any) -> None:
        await ended.wait()

    unary = grpc.unary_unary_rpc_method_handler
    services = {
        "plugin.GRPCController": {"Shutdown": unary(shut_down)},
        "plugin.GRPCStdio": {"StreamStdio": grpc.unary_stream_rpc_method_handler(stream_nothing)},
        "plugin.GRPCBroker": {"StartStream": grpc.stream_stream_rpc_method_handler(broker_nothing)},
        "grpc.health.v1.Health": {"Check": unary(check)},
    }
    return tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())
