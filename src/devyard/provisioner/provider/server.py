"""The provider as a gRPC server on a unix socket, to which Terraform is attached by TF_REATTACH_PROVIDERS.

One server per Terraform worker, started and closed by the engine; each run of Terraform is announced by `use`.
Invariant: the socket exists only between `start` and `close`, only its owner can open it, and a call that has
begun is finished, whoever hangs up. docs/design/provider.md has the reasons.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import grpc
import structlog

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.registry import schema_bytes
from devyard.provisioner.provider.sandboxes import SandboxRuntime
from devyard.provisioner.provider.service import ProviderService

ADDRESSES = (
    "registry.terraform.io/coder/coder",
    "registry.terraform.io/hashicorp/coder",
    "registry.terraform.io/devyard/devyard",
    "registry.terraform.io/hashicorp/devyard",
)
"""Whom Terraform looks for: with `required_providers`, and (hashicorp) without."""

MAX_SOCKET_PATH_BYTES = 107

_MAX_MESSAGE_BYTES = 64 << 20
"""What Terraform itself takes."""

_MAX_CALLS = 128
"""At once, on one connection; Terraform itself makes 10."""

_CLOSE_GRACE_S = 5.0

_NO_PROCESS = 2147483647
"""Above the highest pid of any kernel: Terraform kills the pid named here when the socket does not answer."""

_log = structlog.get_logger(__name__)


class ProviderServer:
    """A running provider."""

    def __init__(self, socket_path: Path, sandboxes: SandboxRuntime | None) -> None:
        self._socket_path = socket_path
        self._service = ProviderService(sandboxes)
        self._calls = _Calls()
        # grpc.aio closes the socket of a server that nobody refers to.
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", _MAX_CALLS),
            ]
        )
        handlers = (_provider_handler(self._service, self._calls), _controller_handler())
        self._server.add_generic_rpc_handlers(handlers)

    @classmethod
    async def start(cls, socket_path: Path, *, sandboxes: SandboxRuntime | None = None) -> "ProviderServer":
        """Serves on `socket_path` (absolute, at most 107 bytes, else ValueError)."""
        length = len(bytes(socket_path))
        if length > MAX_SOCKET_PATH_BYTES or not socket_path.is_absolute():
            raise ValueError(
                f"{socket_path} can't be a provider's socket: it has {length} bytes; "
                f"it has to be absolute, with at most {MAX_SOCKET_PATH_BYTES}"
            )
        provider = cls(socket_path, sandboxes)
        provider._server.add_insecure_port(f"unix:{socket_path}")
        await asyncio.to_thread(socket_path.chmod, 0o600)
        await provider._server.start()
        return provider

    def use(self, context: BuildContext) -> Capture:
        """Announces the next run of Terraform; the capture fills while it runs."""
        return self._service.use(context)

    def reattach(self) -> dict[str, object]:
        """The value of TF_REATTACH_PROVIDERS, to be written as JSON."""
        entry = {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": _NO_PROCESS,
            "Test": True,
            "Addr": {"Network": "unix", "String": str(self._socket_path)},
        }
        return dict.fromkeys(ADDRESSES, entry)

    async def close(self) -> None:
        """Ends the server after the calls in flight (5 s at most) and removes the socket."""
        begun = asyncio.get_running_loop().time()
        await self._server.stop(grace=_CLOSE_GRACE_S)
        await self._calls.finish(_CLOSE_GRACE_S - (asyncio.get_running_loop().time() - begun))
        await asyncio.to_thread(self._socket_path.unlink, missing_ok=True)


def _provider_handler(service: ProviderService, calls: "_Calls") -> grpc.GenericRpcHandler:
    methods: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
        "GetMetadata": (service.get_metadata, pb.GetMetadata),
        "GetResourceIdentitySchemas": (service.get_resource_identity_schemas, pb.GetResourceIdentitySchemas),
        "GetFunctions": (service.get_functions, pb.GetFunctions),
        "PrepareProviderConfig": (service.prepare_provider_config, pb.PrepareProviderConfig),
        "Configure": (service.configure, pb.Configure),
        "ValidateResourceTypeConfig": (service.validate_resource_type_config, pb.ValidateResourceTypeConfig),
        "ValidateDataSourceConfig": (service.validate_data_source_config, pb.ValidateDataSourceConfig),
        "UpgradeResourceState": (service.upgrade_resource_state, pb.UpgradeResourceState),
        "UpgradeResourceIdentity": (service.upgrade_resource_identity, pb.UpgradeResourceIdentity),
        "ReadResource": (service.read_resource, pb.ReadResource),
        "PlanResourceChange": (service.plan_resource_change, pb.PlanResourceChange),
        "ApplyResourceChange": (service.apply_resource_change, pb.ApplyResourceChange),
        "ImportResourceState": (service.import_resource_state, pb.ImportResourceState),
        "MoveResourceState": (service.move_resource_state, pb.MoveResourceState),
        "ReadDataSource": (service.read_data_source, pb.ReadDataSource),
        "Stop": (service.stop, pb.Stop),
    }
    handlers = {name: _unary(calls, name, *method) for name, method in methods.items()}
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
    calls: "_Calls", name: str, method: Callable[[Any], Awaitable[Any]], message: Any
) -> grpc.RpcMethodHandler:
    async def handle(request: Any, context: Any) -> Any:
        try:
            return await calls.run(method(request))
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
