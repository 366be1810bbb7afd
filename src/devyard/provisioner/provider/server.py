"""The provider as a gRPC server on a unix socket, to which Terraform is attached by TF_REATTACH_PROVIDERS.

One server per Terraform worker, started and closed by the engine; each run of Terraform is announced by
`use`. Invariant: the socket exists only between `start` and `close`, and only its owner can open it.
docs/design/provider.md has the reasons.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import grpc

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

_NO_PROCESS = 2147483647
"""Above the highest pid of any kernel: Terraform kills the pid named here when the socket does not answer."""


class ProviderServer:
    """A running provider."""

    def __init__(self, server: grpc.aio.Server, service: ProviderService, socket_path: Path) -> None:
        self._server = server  # grpc.aio closes the socket of a server that nobody refers to
        self._service = service
        self._socket_path = socket_path

    @classmethod
    async def start(cls, socket_path: Path, *, sandboxes: SandboxRuntime | None = None) -> "ProviderServer":
        """Serves on `socket_path` (absolute, at most 107 bytes, else ValueError)."""
        length = len(bytes(socket_path))
        if length > MAX_SOCKET_PATH_BYTES or not socket_path.is_absolute():
            raise ValueError(
                f"{socket_path} can't be a provider's socket: it has {length} bytes; "
                f"it has to be absolute, with at most {MAX_SOCKET_PATH_BYTES}"
            )
        service = ProviderService(sandboxes)
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ]
        )
        server.add_generic_rpc_handlers((_provider_handler(service), _controller_handler()))
        server.add_insecure_port(f"unix:{socket_path}")
        await server.start()
        await asyncio.to_thread(socket_path.chmod, 0o600)
        return cls(server, service, socket_path)

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
        await self._server.stop(grace=5)
        await asyncio.to_thread(self._socket_path.unlink, missing_ok=True)


def _provider_handler(service: ProviderService) -> grpc.GenericRpcHandler:
    methods = {
        "GetMetadata": _unary(service.get_metadata, pb.GetMetadata),
        "GetSchema": grpc.unary_unary_rpc_method_handler(_get_schema),
        "GetResourceIdentitySchemas": _unary(service.get_resource_identity_schemas, pb.GetResourceIdentitySchemas),
        "GetFunctions": _unary(service.get_functions, pb.GetFunctions),
        "PrepareProviderConfig": _unary(service.prepare_provider_config, pb.PrepareProviderConfig),
        "Configure": _unary(service.configure, pb.Configure),
        "ValidateResourceTypeConfig": _unary(service.validate_resource_type_config, pb.ValidateResourceTypeConfig),
        "ValidateDataSourceConfig": _unary(service.validate_data_source_config, pb.ValidateDataSourceConfig),
        "UpgradeResourceState": _unary(service.upgrade_resource_state, pb.UpgradeResourceState),
        "UpgradeResourceIdentity": _unary(service.upgrade_resource_identity, pb.UpgradeResourceIdentity),
        "ReadResource": _unary(service.read_resource, pb.ReadResource),
        "PlanResourceChange": _unary(service.plan_resource_change, pb.PlanResourceChange),
        "ApplyResourceChange": _unary(service.apply_resource_change, pb.ApplyResourceChange),
        "ImportResourceState": _unary(service.import_resource_state, pb.ImportResourceState),
        "MoveResourceState": _unary(service.move_resource_state, pb.MoveResourceState),
        "ReadDataSource": _unary(service.read_data_source, pb.ReadDataSource),
        "Stop": _unary(service.stop, pb.Stop),
    }
    return grpc.method_handlers_generic_handler("tfplugin5.Provider", methods)


def _controller_handler() -> grpc.GenericRpcHandler:
    """Terraform says good-bye through go-plugin's controller; the server stays for the next run."""

    async def shut_down(request: bytes, context: Any) -> bytes:
        return b""

    handler = grpc.unary_unary_rpc_method_handler(shut_down)
    return grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": handler})


async def _get_schema(request: bytes, context: Any) -> bytes:
    return schema_bytes()


def _unary(method: Callable[[Any], Awaitable[Any]], message: Any) -> grpc.RpcMethodHandler:
    async def handle(request: Any, context: Any) -> Any:
        return await method(request)

    return cast(
        "grpc.RpcMethodHandler",
        grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=message.Request.FromString,
            response_serializer=message.Response.SerializeToString,
        ),
    )
