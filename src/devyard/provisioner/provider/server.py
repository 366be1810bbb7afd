"""The provider as a gRPC server on a unix socket, to which Terraform is attached by TF_REATTACH_PROVIDERS.

One server per Terraform worker, started and closed by the engine; each run of Terraform is announced by `use`.
Invariant: the socket exists only between `start` and `close`, and only its owner can open it.
docs/design/provider.md has the reasons.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.registry import schema_bytes
from devyard.provisioner.provider.sandboxes import SandboxRuntime
from devyard.provisioner.provider.service import ProviderService, Run
from devyard.provisioner.provider.transport.grpc_server import GrpcServer, Method, Methods

ADDRESSES = (
    "registry.terraform.io/coder/coder",
    "registry.terraform.io/hashicorp/coder",
    "registry.terraform.io/devyard/devyard",
    "registry.terraform.io/hashicorp/devyard",
)
"""Whom Terraform looks for: with `required_providers`, and (hashicorp) without."""

MAX_SOCKET_PATH_BYTES = 107

_NO_PROCESS = 2147483647
"""Above the highest pid of any kernel: Terraform kills the pid named here when the socket does not answer."""


class ProviderServer:
    """A running provider."""

    def __init__(self, socket_path: Path, sandboxes: SandboxRuntime | None) -> None:
        self._socket_path = socket_path
        self._run = Run(BuildContext(), Capture())
        self._server = GrpcServer(lambda: _methods(ProviderService(sandboxes, lambda: self._run)))

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
        await provider._server.start(socket_path)
        return provider

    def use(self, context: BuildContext) -> Capture:
        """Announces the next run of Terraform; the capture fills while it runs."""
        self._run = Run(context, Capture())
        return self._run.capture

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
        await self._server.close()
        await asyncio.to_thread(self._socket_path.unlink, missing_ok=True)


def _methods(service: ProviderService) -> Methods:
    calls: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
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
    methods = {f"/tfplugin5.Provider/{name}": _typed(*call) for name, call in calls.items()}
    methods["/tfplugin5.Provider/GetSchema"] = _get_schema
    methods["/plugin.GRPCController/Shutdown"] = _shut_down
    return methods


def _typed(method: Callable[[Any], Awaitable[Any]], message: Any) -> Method:
    async def call(request: bytes) -> bytes:
        answer = await method(message.Request.FromString(request))
        return bytes(answer.SerializeToString())

    return call


async def _get_schema(request: bytes) -> bytes:
    return schema_bytes()


async def _shut_down(request: bytes) -> bytes:
    """Terraform's good-bye through go-plugin's controller; the server stays for the next run."""
    return b""
