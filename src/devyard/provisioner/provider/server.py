"""The provider as a gRPC server on a unix socket, to which Terraform connects.

The engine has one per Terraform worker and announces each run by `use`; `devyard provider serve` and the plugin
executable have one that finds a job for each connection. Invariant: the socket exists only between `start` and
`close`, only its owner can open it, and a call that has begun is finished, whoever hangs up.
docs/design/provider.md has the reasons.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import grpc
import structlog

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.registry import schema_bytes
from devyard.provisioner.provider.relay import Peer, Relay, listen
from devyard.provisioner.provider.sandboxes import SandboxRuntime
from devyard.provisioner.provider.service import ProviderJob, ProviderService

ADDRESSES = (
    "registry.terraform.io/coder/coder",
    "registry.terraform.io/hashicorp/coder",
    "registry.terraform.io/devyard/devyard",
    "registry.terraform.io/hashicorp/devyard",
)
"""Whom Terraform looks for: with `required_providers`, and (hashicorp) without."""

MAX_SOCKET_PATH_BYTES = 106
"""The system takes 107; the socket behind the relay has one character more."""

_MAX_MESSAGE_BYTES = 64 << 20
"""What Terraform itself takes."""

_MAX_CALLS = 128
"""At once, on one connection; Terraform itself makes 10."""

_CLOSE_GRACE_S = 5.0

_STAND_IN = ("cat",)
"""The program of the process that TF_REATTACH_PROVIDERS names: it does nothing, and ends with its standard input.

Terraform looks each second whether that process lives, and cancels its calls in flight when it does not; older
ones kill it when the socket does not answer. So it has to be a real one, and must not be one that matters.
"""

_log = structlog.get_logger(__name__)


FindJob = Callable[[Peer], ProviderJob]
"""The job of a connection, asked for when it is opened."""


class ProviderServer:
    """A running provider."""

    def __init__(
        self,
        listener: socket.socket,
        stand_in: asyncio.subprocess.Process | None,
        *,
        sandboxes: SandboxRuntime | None = None,
        find_job: FindJob | None = None,
        tls: ssl.SSLContext | None = None,
        more_handlers: Sequence[grpc.GenericRpcHandler] = (),
    ) -> None:
        """Over a socket that is listened on already; `start` is the usual way.

        `stand_in`: see `reattach`. `find_job` None: every connection belongs to the job last given to `use`.
        """
        self._socket_path = Path(listener.getsockname())
        self._inner_path = self._socket_path.with_name(self._socket_path.name + "~")
        self._stand_in = stand_in
        self._sandboxes = sandboxes
        self._find_job = find_job
        self._job = ProviderJob(BuildContext())
        self._services: dict[str, ProviderService] = {}
        self._calls = _Calls()
        self._relay = Relay(listener, self._inner_path, self._open, self._forget, tls)
        # grpc.aio closes the socket of a server that nobody refers to.
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", _MAX_CALLS),
            ]
        )
        handlers = (_provider_handler(self._service, self._calls), *(more_handlers or [_controller_handler()]))
        self._server.add_generic_rpc_handlers(handlers)

    @classmethod
    async def start(
        cls, socket_path: Path, *, sandboxes: SandboxRuntime | None = None, find_job: FindJob | None = None
    ) -> "ProviderServer":
        """Serves on `socket_path` (absolute, at most 106 bytes, else ValueError)."""
        length = len(bytes(socket_path))
        if length > MAX_SOCKET_PATH_BYTES or not socket_path.is_absolute():
            raise ValueError(
                f"{socket_path} can't be a provider's socket: it has {length} bytes; "
                f"it has to be absolute, with at most {MAX_SOCKET_PATH_BYTES}"
            )
        stand_in = await asyncio.create_subprocess_exec(
            *_STAND_IN, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        provider = cls(listen(socket_path), stand_in, sandboxes=sandboxes, find_job=find_job)
        await provider.serve()
        return provider

    async def serve(self) -> None:
        """Begins to answer."""
        self._server.add_insecure_port(f"unix:{self._inner_path}")
        await asyncio.to_thread(self._inner_path.chmod, 0o600)
        await self._server.start()
        await self._relay.start()

    @property
    def stand_in_pid(self) -> int:
        """The process that Terraform takes for this server."""
        if self._stand_in is None:
            raise RuntimeError("a server without a stand-in can't be attached to")
        return self._stand_in.pid

    def use(self, context: BuildContext) -> Capture:
        """Announces the next run of Terraform; the capture fills while it runs."""
        self._job = ProviderJob(context)
        return self._job.capture

    def reattach(self) -> dict[str, object]:
        """The value of TF_REATTACH_PROVIDERS, to be written as JSON."""
        entry = {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": self.stand_in_pid,
            "Test": True,
            "Addr": {"Network": "unix", "String": str(self._socket_path)},
        }
        return dict.fromkeys(ADDRESSES, entry)

    async def close(self) -> None:
        """Ends the server after the calls in flight (5 s at most) and removes the socket."""
        begun = asyncio.get_running_loop().time()
        await self._server.stop(grace=_CLOSE_GRACE_S)
        await self._calls.finish(_CLOSE_GRACE_S - (asyncio.get_running_loop().time() - begun))
        await self._relay.close()
        for path in (self._socket_path, self._inner_path):
            await asyncio.to_thread(path.unlink, missing_ok=True)
        if self._stand_in and self._stand_in.stdin:
            self._stand_in.stdin.close()
            await self._stand_in.wait()

    def _open(self, peer: Peer) -> None:
        """A connection is about to send its first call."""
        if self._find_job is None:
            self._services[peer.name] = ProviderService(self._sandboxes, lambda: self._job)
        else:
            job = self._find_job(peer)
            self._services[peer.name] = ProviderService(self._sandboxes, lambda: job)

    def _forget(self, peer_name: str) -> None:
        self._services.pop(peer_name, None)

    def _service(self, peer_name: str) -> ProviderService:
        service = self._services.get(peer_name)
        # A call may run on for a moment after its connection has gone.
        return service or ProviderService(self._sandboxes, lambda: self._job)


FindService = Callable[[str], ProviderService]

_Method = Callable[[ProviderService, Any], Awaitable[Any]]

_METHODS: dict[str, tuple[_Method, Any]] = {
    "GetMetadata": (ProviderService.get_metadata, pb.GetMetadata),
    "GetResourceIdentitySchemas": (ProviderService.get_resource_identity_schemas, pb.GetResourceIdentitySchemas),
    "GetFunctions": (ProviderService.get_functions, pb.GetFunctions),
    "PrepareProviderConfig": (ProviderService.prepare_provider_config, pb.PrepareProviderConfig),
    "Configure": (ProviderService.configure, pb.Configure),
    "ValidateResourceTypeConfig": (ProviderService.validate_resource_type_config, pb.ValidateResourceTypeConfig),
    "ValidateDataSourceConfig": (ProviderService.validate_data_source_config, pb.ValidateDataSourceConfig),
    "UpgradeResourceState": (ProviderService.upgrade_resource_state, pb.UpgradeResourceState),
    "UpgradeResourceIdentity": (ProviderService.upgrade_resource_identity, pb.UpgradeResourceIdentity),
    "ReadResource": (ProviderService.read_resource, pb.ReadResource),
    "PlanResourceChange": (ProviderService.plan_resource_change, pb.PlanResourceChange),
    "ApplyResourceChange": (ProviderService.apply_resource_change, pb.ApplyResourceChange),
    "ImportResourceState": (ProviderService.import_resource_state, pb.ImportResourceState),
    "MoveResourceState": (ProviderService.move_resource_state, pb.MoveResourceState),
    "ReadDataSource": (ProviderService.read_data_source, pb.ReadDataSource),
    "Stop": (ProviderService.stop, pb.Stop),
}


def _provider_handler(find_service: FindService, calls: "_Calls") -> grpc.GenericRpcHandler:
    handlers = {
        name: _unary(calls, name, find_service, *method_and_message)
        for name, method_and_message in _METHODS.items()
    }
    handlers["GetSchema"] = grpc.unary_unary_rpc_method_handler(_get_schema)
    return grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers)


def _controller_handler() -> grpc.GenericRpcHandler:
    """Terraform says good-bye through go-plugin's controller; the server stays for the next run."""

    async def shut_down(request: bytes, context: Any) -> bytes:
        return b""

    handler = grpc.unary_unary_rpc_method_handler(shut_down)
    return grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": handler})


async def _get_schema(request: bytes, context: Any) -> bytes:
    return schema_bytes()


def _unary(
    calls: "_Calls", name: str, find_service: FindService, method: _Method, message: Any
) -> grpc.RpcMethodHandler:
    async def handle(request: Any, context: Any) -> Any:
        try:
            return await calls.run(method(find_service(context.peer()), request))
        except Exception as error:
            # The edge: a defect of ours fails this call, which Terraform reports, and nothing else.
            _log.exception("provider call failed", call=name)
            await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__} in {name}")

    return cast(
        "grpc.RpcMethodHandler",
        grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=message.Request.FromString,
            response_serializer=message.Response.SerializeToString,
        ),
    )


class _Calls:
    """The calls that run. grpc.aio cancels the handler of a peer that hung up; the work goes on here."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    async def run(self, work: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def finish(self, timeout_s: float) -> None:
        """Waits for those whose peer is gone; cancels what still runs then."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(timeout_s, 0))
        for task in self._tasks:
            task.cancel()
