"""A Terraform provider of the tests' own, `example`, as a plugin executable: one resource that keeps a greeting.

Terraform starts it itself and finds it by the handshake of go-plugin (docs/internals.md there); it speaks
protocol 5 on a unix socket. Its package is a shell script and a copy of this file.
"""

import asyncio
import os
import sys
import tempfile

import grpc
import msgspec

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb


def attribute(name: str, **flags: bool) -> pb.Schema.Attribute:
    return pb.Schema.Attribute(name=name, type=b'"string"', **flags)


SCHEMA = pb.Schema(
    block=pb.Schema.Block(attributes=[attribute("greeting", required=True), attribute("id", computed=True)])
)


def read(value: pb.DynamicValue) -> dict | None:
    return msgspec.msgpack.decode(value.msgpack)


def write(value: dict | None) -> pb.DynamicValue:
    return pb.DynamicValue(msgpack=msgspec.msgpack.encode(value))


def get_schema(_: pb.GetProviderSchema.Request) -> pb.GetProviderSchema.Response:
    empty = pb.Schema(block=pb.Schema.Block())
    return pb.GetProviderSchema.Response(provider=empty, resource_schemas={"example_greeting": SCHEMA})


def prepare(request: pb.PrepareProviderConfig.Request) -> pb.PrepareProviderConfig.Response:
    return pb.PrepareProviderConfig.Response(prepared_config=request.config)


def upgrade(request: pb.UpgradeResourceState.Request) -> pb.UpgradeResourceState.Response:
    state = msgspec.json.decode(request.raw_state.json)
    return pb.UpgradeResourceState.Response(upgraded_state=write(state))


def plan(request: pb.PlanResourceChange.Request) -> pb.PlanResourceChange.Response:
    wanted, prior = read(request.proposed_new_state), read(request.prior_state)
    if wanted is not None and prior is None:
        wanted["id"] = msgspec.msgpack.Ext(0, b"\0")  # unknown
    return pb.PlanResourceChange.Response(planned_state=write(wanted))


def apply(request: pb.ApplyResourceChange.Request) -> pb.ApplyResourceChange.Response:
    wanted = read(request.planned_state)
    if wanted is not None:
        wanted["id"] = "greeting-of-" + wanted["greeting"]
    return pb.ApplyResourceChange.Response(new_state=write(wanted))


CALLS = {
    "GetSchema": (pb.GetProviderSchema.Request, get_schema),
    "PrepareProviderConfig": (pb.PrepareProviderConfig.Request, prepare),
    "Configure": (pb.Configure.Request, lambda _: pb.Configure.Response()),
    "ValidateResourceTypeConfig": (
        pb.ValidateResourceTypeConfig.Request,
        lambda _: pb.ValidateResourceTypeConfig.Response(),
    ),
    "UpgradeResourceState": (pb.UpgradeResourceState.Request, upgrade),
    "ReadResource": (
        pb.ReadResource.Request,
        lambda request: pb.ReadResource.Response(new_state=request.current_state),
    ),
    "PlanResourceChange": (pb.PlanResourceChange.Request, plan),
    "ApplyResourceChange": (pb.ApplyResourceChange.Request, apply),
    "Stop": (pb.Stop.Request, lambda _: pb.Stop.Response()),
}


def handler(request_type, function):
    async def answer(request, context):
        return function(request)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request_type.FromString,
        response_serializer=lambda reply: reply.SerializeToString(),
    )


async def serve(path: str, ended: asyncio.Event) -> None:
    server = grpc.aio.server()
    calls = {name: handler(*call) for name, call in CALLS.items()}

    async def shut_down(request, context):
        asyncio.get_running_loop().call_soon(ended.set)
        return b""

    control = {"Shutdown": grpc.unary_unary_rpc_method_handler(shut_down)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("tfplugin5.Provider", calls),
            grpc.method_handlers_generic_handler("plugin.GRPCController", control),
        )
    )
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    sys.stdout.write(f"1|5|unix|{path}|grpc|\n")
    sys.stdout.flush()
    await ended.wait()
    await server.stop(0)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="example-") as directory:
        await serve(f"{directory}/s", asyncio.Event())


if __name__ == "__main__":
    if "TF_PLUGIN_MAGIC_COOKIE" not in os.environ:
        sys.exit("Terraform starts this.")
    asyncio.run(main())
