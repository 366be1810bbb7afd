"""The provider's calls: it agrees to everything, and computed attributes get made-up values."""

from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from tests.terraform_provider.schema import Block, fill, schema_answer

MADE_UP = {"string": "made-up", "number": 1, "bool": True, "map": {}}
UNKNOWN = msgpack.ExtType(0, b"\x00")


class Service:
    """One method for each call of the protocol; the name is the call's."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._answer = schema_answer(schema)

    def GetSchema(self, request: pb.GetProviderSchema.Request) -> pb.GetProviderSchema.Response:
        return self._answer

    def PrepareProviderConfig(
        self, request: pb.PrepareProviderConfig.Request
    ) -> pb.PrepareProviderConfig.Response:
        return pb.PrepareProviderConfig.Response(prepared_config=request.config)

    def Configure(self, request: pb.Configure.Request) -> pb.Configure.Response:
        return pb.Configure.Response()

    def ValidateResourceTypeConfig(
        self, request: pb.ValidateResourceTypeConfig.Request
    ) -> pb.ValidateResourceTypeConfig.Response:
        return pb.ValidateResourceTypeConfig.Response()

    def ValidateDataSourceConfig(
        self, request: pb.ValidateDataSourceConfig.Request
    ) -> pb.ValidateDataSourceConfig.Response:
        return pb.ValidateDataSourceConfig.Response()

    def UpgradeResourceState(self, request: pb.UpgradeResourceState.Request) -> pb.UpgradeResourceState.Response:
        return pb.UpgradeResourceState.Response(upgraded_state=pb.DynamicValue(json=request.raw_state.json))

    def ReadResource(self, request: pb.ReadResource.Request) -> pb.ReadResource.Response:
        return pb.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request: pb.PlanResourceChange.Request) -> pb.PlanResourceChange.Response:
        block = self._schema["resources"][request.type_name]
        return pb.PlanResourceChange.Response(planned_state=_filled(block, request.proposed_new_state, _plan))

    def ApplyResourceChange(self, request: pb.ApplyResourceChange.Request) -> pb.ApplyResourceChange.Response:
        block = self._schema["resources"][request.type_name]
        return pb.ApplyResourceChange.Response(new_state=_filled(block, request.planned_state, _make_up))

    def ReadDataSource(self, request: pb.ReadDataSource.Request) -> pb.ReadDataSource.Response:
        block = self._schema["data"][request.type_name]
        return pb.ReadDataSource.Response(state=_filled(block, request.config, _make_up))

    def Stop(self, request: pb.Stop.Request) -> pb.Stop.Response:
        return pb.Stop.Response()


def _filled(block: Block, value: pb.DynamicValue, make: Callable[[str], Any]) -> pb.DynamicValue:
    """The object with its computed attributes filled; null (it is being removed) stays null."""
    hook = msgpack.ExtType if make is _plan else _forget  # what is planned as unknown is to be made by apply
    values = msgpack.unpackb(value.msgpack, ext_hook=hook, strict_map_key=False)
    if values is None:
        return value
    return pb.DynamicValue(msgpack=msgpack.packb(fill(block, values, make)))


def _plan(type_: str) -> Any:
    return UNKNOWN


def _make_up(type_: str) -> Any:
    return MADE_UP.get(type_.partition("(")[0], [])


def _forget(code: int, data: bytes) -> None:
    return None
