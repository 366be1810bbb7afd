"""The protocol without Terraform: calls over the socket, as any client of protocol 5 makes them."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import msgpack
import pytest

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.registry import RESOURCES
from devyard.provisioner.provider.server import ADDRESSES, ProviderServer


class Client:
    """A client of one provider."""

    def __init__(self, server: ProviderServer, channel: grpc.aio.Channel) -> None:
        self.server = server
        self._channel = channel

    async def call(self, name: str, request: Any, response: Any) -> Any:
        method = self._channel.unary_unary(
            f"/tfplugin5.Provider/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return await method(request, timeout=10)

    async def apply(
        self,
        type_name: str,
        config: dict[str, Any] | None,
        prior: dict[str, Any] | None = None,
        private: bytes = b"",
    ) -> pb.ApplyResourceChange.Response:
        request = pb.ApplyResourceChange.Request(
            type_name=type_name,
            prior_state=pack(prior),
            planned_state=pack(config),
            config=pack(config),
            planned_private=private,
        )
        return await self.call("ApplyResourceChange", request, pb.ApplyResourceChange.Response)


def pack(values: dict[str, Any] | None) -> pb.DynamicValue:
    return pb.DynamicValue(msgpack=msgpack.packb(values))


def unpack(value: pb.DynamicValue) -> Any:
    return msgpack.unpackb(value.msgpack)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    folder = Path(tempfile.mkdtemp(prefix="dy-"))
    server = await ProviderServer.start(folder / "p.sock")
    async with grpc.aio.insecure_channel(f"unix:{folder}/p.sock") as channel:
        yield Client(server, channel)
    await server.close()
    assert not (folder / "p.sock").exists()
    shutil.rmtree(folder)


async def test_reattach_names_all_four_providers(client: Client) -> None:
    reattach = client.server.reattach()
    assert tuple(reattach) == ADDRESSES
    entry = reattach[ADDRESSES[0]]
    assert isinstance(entry, dict)
    assert (entry["Test"], entry["Pid"], entry["ProtocolVersion"]) == (True, client.server.stand_in_pid, 5)


async def test_only_the_owner_may_connect(client: Client) -> None:
    entry: Any = client.server.reattach()[ADDRESSES[0]]
    assert Path(entry["Addr"]["String"]).stat().st_mode & 0o777 == 0o600


async def test_metadata_and_schema_agree(client: Client) -> None:
    metadata = await client.call("GetMetadata", pb.GetMetadata.Request(), pb.GetMetadata.Response)
    schema = await client.call("GetSchema", pb.GetProviderSchema.Request(), pb.GetProviderSchema.Response)
    assert {each.type_name for each in metadata.resources} == set(schema.resource_schemas)
    assert {each.type_name for each in metadata.data_sources} == set(schema.data_source_schemas)
    assert {"coder_agent", "devyard_agent", "devyard_sandbox"} <= set(schema.resource_schemas)
    assert "coder_sandbox" not in schema.resource_schemas


async def test_what_we_have_none_of(client: Client) -> None:
    functions = await client.call("GetFunctions", pb.GetFunctions.Request(), pb.GetFunctions.Response)
    identities = await client.call(
        "GetResourceIdentitySchemas",
        pb.GetResourceIdentitySchemas.Request(),
        pb.GetResourceIdentitySchemas.Response,
    )
    assert len(functions.functions) == len(identities.identity_schemas) == 0
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.call("CallFunction", pb.GetFunctions.Request(), pb.GetFunctions.Response)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_diagnostics_carry_the_attribute_path(client: Client) -> None:
    request = pb.ValidateDataSourceConfig.Request(
        type_name="coder_parameter",
        config=pack(
            {
                "name": "p",
                "type": "number",
                "option": [{"name": "A", "value": "1"}, {"name": "B", "value": "b"}],
                "validation": [],
            }
        ),
    )
    answer = await client.call("ValidateDataSourceConfig", request, pb.ValidateDataSourceConfig.Response)
    (diagnostic,) = answer.diagnostics
    assert diagnostic.severity == pb.Diagnostic.ERROR
    assert diagnostic.summary == "Invalid coder_parameter"
    steps = [step.WhichOneof("selector") for step in diagnostic.attribute.steps]
    assert steps == ["attribute_name", "element_key_int", "attribute_name"]
    assert diagnostic.attribute.steps[1].element_key_int == 1


async def test_a_job_sees_its_own_values(client: Client) -> None:
    request = pb.ReadDataSource.Request(type_name="devyard_workspace", config=pack({}))
    names = []
    for name in ("one", "two"):
        client.server.use(BuildContext(workspace_name=name))
        answer = await client.call("ReadDataSource", request, pb.ReadDataSource.Response)
        names.append(unpack(answer.state)["name"])
    assert names == ["one", "two"]


async def test_capture_belongs_to_one_run(client: Client) -> None:
    first = client.server.use(BuildContext())
    await client.apply("coder_env", {"agent_id": "a", "name": "N"})
    second = client.server.use(BuildContext())
    await client.apply("coder_env", {"agent_id": "a", "name": "M"})
    assert [resource.values["name"] for resource in first.created] == ["N"]
    assert [resource.values["name"] for resource in second.created] == ["M"]
    assert "token" not in repr(first)


async def test_every_resource_can_be_made_and_unmade_with_least_values(client: Client) -> None:
    least = {
        "agent": {"os": "linux", "arch": "amd64"},
        "agent_instance": {"agent_id": "a", "instance_id": "i"},
        "app": {"agent_id": "a", "slug": "s"},
        "script": {"agent_id": "a", "display_name": "d", "script": "s", "run_on_stop": True},
        "env": {"agent_id": "a", "name": "N"},
        "metadata": {"resource_id": "r"},
        "devcontainer": {"agent_id": "a", "workspace_folder": "/w"},
        "ai_task": {},
        "external_agent": {"agent_id": "a"},
    }
    for type_name, resource in RESOURCES.items():
        if resource.name.startswith("sandbox"):
            continue
        client.server.use(BuildContext())
        made = await client.apply(type_name, dict(least[resource.name]))
        assert not made.diagnostics, type_name
        state = unpack(made.new_state)
        assert set(state) == {*resource.block.attributes, *resource.block.blocks}
        assert state["id"]
        gone = await client.apply(type_name, None, state, made.private)
        assert unpack(gone.new_state) is None


async def test_sandboxes_need_a_runtime(client: Client) -> None:
    made = await client.apply("devyard_sandbox", {"init_script": "true"})
    assert "This provisioner can't run sandboxes" in made.diagnostics[0].detail
    assert unpack(made.new_state) is None


async def test_init_script_placeholders_are_replaced_as_text(client: Client) -> None:
    script = 'u="${ACCESS_URL}/x" # ${AUTH_TYPE} \\1 $${ACCESS_URL}'
    client.server.use(BuildContext(access_url="http://h:1/", agent_init_scripts={"linux/arm64": script}))
    config = {"os": "linux", "arch": "arm64", "auth": "aws-instance-identity"}
    state = unpack((await client.apply("coder_agent", config)).new_state)
    assert state["init_script"] == 'u="http://h:1/x" # aws-instance-identity \\1 $http://h:1'


async def test_a_second_ai_task_is_refused(client: Client) -> None:
    assert not (await client.apply("coder_ai_task", {})).diagnostics
    second = await client.apply("devyard_ai_task", {})
    assert "A template can have one ai_task" in second.diagnostics[0].detail


async def test_old_states_are_refused_and_foreign_moves_too(client: Client) -> None:
    old = pb.UpgradeResourceState.Request(type_name="coder_agent", raw_state=pb.RawState(flatmap={"os": "linux"}))
    answer = await client.call("UpgradeResourceState", old, pb.UpgradeResourceState.Response)
    assert "0.11" in answer.diagnostics[0].detail
    move = pb.MoveResourceState.Request(
        source_type_name="null_resource", target_type_name="coder_agent", source_state=pb.RawState(json=b"{}")
    )
    moved = await client.call("MoveResourceState", move, pb.MoveResourceState.Response)
    assert moved.diagnostics


async def test_many_calls_at_once(client: Client) -> None:
    capture = client.server.use(BuildContext())
    answers = await asyncio.gather(
        *(client.apply("coder_env", {"agent_id": "a", "name": f"N{number}"}) for number in range(50))
    )
    assert len({unpack(answer.new_state)["id"] for answer in answers}) == 50
    assert len(capture.created) == 50


async def test_close_lets_calls_in_flight_finish() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dy-"))
    entered, may_end = asyncio.Event(), asyncio.Event()

    class Slow:
        async def find(self, sandbox_id: str) -> None:
            entered.set()
            await may_end.wait()

    server = await ProviderServer.start(folder / "p.sock", sandboxes=Slow())  # type: ignore[arg-type]
    async with grpc.aio.insecure_channel(f"unix:{folder}/p.sock") as channel:
        request = pb.ReadResource.Request(type_name="devyard_sandbox", current_state=pack({"id": "s"}))
        read = asyncio.ensure_future(
            Client(server, channel).call("ReadResource", request, pb.ReadResource.Response)
        )
        await entered.wait()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        may_end.set()
        assert unpack((await read).new_state) is None
        await closing
    shutil.rmtree(folder)


async def test_a_call_whose_peer_hangs_up_is_finished() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dy-"))
    entered, may_end = asyncio.Event(), asyncio.Event()
    ends: list[str] = []

    class Slow:
        async def stop(self, sandbox_id: str) -> None:
            entered.set()
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
            ends.append("finished")

    server = await ProviderServer.start(folder / "p.sock", sandboxes=Slow())  # type: ignore[arg-type]
    async with grpc.aio.insecure_channel(f"unix:{folder}/p.sock") as channel:
        apply = Client(server, channel).apply("devyard_sandbox", None, {"id": "s"})
        deleting = asyncio.ensure_future(apply)
        await entered.wait()
        deleting.cancel()
    closing = asyncio.create_task(server.close())
    done, _ = await asyncio.wait([closing], timeout=0.3)
    assert not done
    may_end.set()
    await closing
    assert ends == ["finished"]
    shutil.rmtree(folder)


async def test_a_defect_fails_its_call_alone_and_tells_no_values(client: Client) -> None:
    request = pb.ReadDataSource.Request(type_name="coder_secret-word", config=pack({}))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await client.call("ReadDataSource", request, pb.ReadDataSource.Response)
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert failed.value.details() == "KeyError in ReadDataSource"
    good = pb.ReadDataSource.Request(type_name="devyard_workspace", config=pack({}))
    assert await client.call("ReadDataSource", good, pb.ReadDataSource.Response)


async def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 106"):
        await ProviderServer.start(tmp_path / ("x" * 120))
