"""The calls of Terraform, one method each: decode, ask the declaration, encode.

Called by grpc through server.py, which has one service for each connection. Invariant: a call belongs to the job
that was in use when it came in, what Configure said counts for its connection and job alone, and a call holds
nothing after its answer. Stop changes nothing: our creates are short, and one that is answered is in the state.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.capture import Capture, CapturedProblem, CapturedResource
from devyard.provisioner.provider.declarations import Call, Resource, known
from devyard.provisioner.provider.planning import fill_defaults, plan_change
from devyard.provisioner.provider.problems import Problem, check_attributes, diagnostics
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.registry import DATA_SOURCES, PROVIDER_BLOCK, RESOURCES, metadata
from devyard.provisioner.provider.sandboxes import SandboxRuntime
from devyard.provisioner.provider.schema import Values
from devyard.provisioner.provider.values import decode, decode_json, encode, has_unknown

PLACEHOLDER_URL = "https://devyard.example.com"
"""Stands for the access URL in a plan outside of any installation."""


@dataclass(frozen=True, slots=True)
class ProviderJob:
    """What calls are answered from, and what is noted of them."""

    context: BuildContext
    capture: Capture = field(default_factory=Capture)


class ProviderService:
    """Answers the calls of one connection. `find_job` gives the job that is in use now."""

    def __init__(self, sandboxes: SandboxRuntime | None, find_job: Callable[[], ProviderJob]) -> None:
        self._sandboxes = sandboxes
        self._find_job = find_job
        self._configured: tuple[ProviderJob, str] | None = None

    async def get_metadata(self, request: pb.GetMetadata.Request) -> pb.GetMetadata.Response:
        return metadata()

    async def get_resource_identity_schemas(
        self, request: pb.GetResourceIdentitySchemas.Request
    ) -> pb.GetResourceIdentitySchemas.Response:
        return pb.GetResourceIdentitySchemas.Response()

    async def get_functions(self, request: pb.GetFunctions.Request) -> pb.GetFunctions.Response:
        return pb.GetFunctions.Response()

    async def prepare_provider_config(
        self, request: pb.PrepareProviderConfig.Request
    ) -> pb.PrepareProviderConfig.Response:
        config = decode(PROVIDER_BLOCK, request.config) or {}
        problems = diagnostics("Invalid provider configuration", check_attributes(PROVIDER_BLOCK, config))
        return pb.PrepareProviderConfig.Response(prepared_config=request.config, diagnostics=problems)

    async def configure(self, request: pb.Configure.Request) -> pb.Configure.Response:
        config = decode(PROVIDER_BLOCK, request.config) or {}
        url, host = known(config.get("url")), known(config.get("host"))
        job = self._find_job()
        if job.context.refusal:
            problems = diagnostics("Invalid environment", [Problem(job.context.refusal)])
            return pb.Configure.Response(diagnostics=problems)
        access_url = url.rstrip("/") if url else _default_url(job)
        self._configured = (job, replace_host(access_url, host) if host else access_url)
        return pb.Configure.Response()

    async def validate_resource_type_config(
        self, request: pb.ValidateResourceTypeConfig.Request
    ) -> pb.ValidateResourceTypeConfig.Response:
        resource = RESOURCES[request.type_name]
        config = decode(resource.block, request.config) or {}
        problems = _find_problems(resource, config)
        return pb.ValidateResourceTypeConfig.Response(diagnostics=diagnostics(_headline(request), problems))

    async def validate_data_source_config(
        self, request: pb.ValidateDataSourceConfig.Request
    ) -> pb.ValidateDataSourceConfig.Response:
        if self._find_job().context.is_form:
            return pb.ValidateDataSourceConfig.Response()
        source = DATA_SOURCES[request.type_name]
        config = fill_defaults(source.block, decode(source.block, request.config) or {})
        problems = [*check_attributes(source.block, config), *source.check(config)]
        return pb.ValidateDataSourceConfig.Response(diagnostics=diagnostics(_headline(request), problems))

    async def upgrade_resource_state(
        self, request: pb.UpgradeResourceState.Request
    ) -> pb.UpgradeResourceState.Response:
        if not request.raw_state.json:
            problem = Problem("The state was written by Terraform 0.11 or older, which can't be read.")
            return pb.UpgradeResourceState.Response(diagnostics=diagnostics(_headline(request), [problem]))
        block = RESOURCES[request.type_name].block
        state = decode_json(block, request.raw_state.json)
        return pb.UpgradeResourceState.Response(upgraded_state=encode(block, state))

    async def upgrade_resource_identity(
        self, request: pb.UpgradeResourceIdentity.Request
    ) -> pb.UpgradeResourceIdentity.Response:
        problem = Problem(f"{request.type_name} has no identity to upgrade.")
        return pb.UpgradeResourceIdentity.Response(diagnostics=diagnostics(_headline(request), [problem]))

    async def read_resource(self, request: pb.ReadResource.Request) -> pb.ReadResource.Response:
        resource = RESOURCES[request.type_name]
        state = decode(resource.block, request.current_state)
        if state is None:
            return pb.ReadResource.Response(new_state=request.current_state, private=request.private)
        call = self._call(state)
        fresh = await resource.refresh(call, state, _built_by(request.private))
        answer = pb.ReadResource.Response(new_state=request.current_state, private=request.private)
        if fresh != state:
            answer.new_state.CopyFrom(encode(resource.block, fresh))
            answer.private = _private(call.context)
        answer.diagnostics.extend(diagnostics(_headline(request), call.problems))
        return answer

    async def plan_resource_change(self, request: pb.PlanResourceChange.Request) -> pb.PlanResourceChange.Response:
        resource = RESOURCES[request.type_name]
        prior = decode(resource.block, request.prior_state)
        config = decode(resource.block, request.config)
        call = self._call(prior)
        if resource.name == "ai_task":
            call.capture.has_ai_task = True
        if config is None or decode(resource.block, request.proposed_new_state) is None:
            return pb.PlanResourceChange.Response(
                planned_state=request.proposed_new_state, planned_private=request.prior_private
            )
        plan = plan_change(resource.block, config, prior)
        return pb.PlanResourceChange.Response(
            planned_state=encode(resource.block, plan.values),
            requires_replace=[
                pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)]) for name in plan.replaces
            ],
            planned_private=request.prior_private,
        )

    async def apply_resource_change(
        self, request: pb.ApplyResourceChange.Request
    ) -> pb.ApplyResourceChange.Response:
        resource = RESOURCES[request.type_name]
        prior = decode(resource.block, request.prior_state)
        config = decode(resource.block, request.config)
        call = self._call(prior)
        if decode(resource.block, request.planned_state) is None:
            return await self._delete(call, resource, request, prior or {})
        if prior is not None:
            # Every change of ours replaces, so an update in place can only be one without any change.
            return pb.ApplyResourceChange.Response(
                new_state=request.planned_state, private=request.planned_private
            )
        return await self._create(call, resource, request, config or {})

    async def import_resource_state(
        self, request: pb.ImportResourceState.Request
    ) -> pb.ImportResourceState.Response:
        block = RESOURCES[request.type_name].block
        state = fill_defaults(block, {}, computed=None) | {"id": request.id}
        imported = pb.ImportResourceState.ImportedResource(
            type_name=request.type_name, state=encode(block, state), private=_private(self._find_job().context)
        )
        return pb.ImportResourceState.Response(imported_resources=[imported])

    async def move_resource_state(self, request: pb.MoveResourceState.Request) -> pb.MoveResourceState.Response:
        source, target = RESOURCES.get(request.source_type_name), RESOURCES[request.target_type_name]
        if source is not target or not request.source_state.json:
            problem = Problem(f"A {request.source_type_name} can't become a {request.target_type_name}.")
            headline = f"Can't move to {request.target_type_name}"
            return pb.MoveResourceState.Response(diagnostics=diagnostics(headline, [problem]))
        state = decode_json(target.block, request.source_state.json)
        return pb.MoveResourceState.Response(
            target_state=encode(target.block, state), target_private=request.source_private
        )

    async def read_data_source(self, request: pb.ReadDataSource.Request) -> pb.ReadDataSource.Response:
        source = DATA_SOURCES[request.type_name]
        values = fill_defaults(source.block, decode(source.block, request.config) or {}, computed=None)
        call = self._call(None)
        state = values | source.read(call, values)
        if call.context.is_form:
            call.problems += [*check_attributes(source.block, values), *source.check(values)]
            self._record(call, request.type_name, values)
        return pb.ReadDataSource.Response(
            state=encode(source.block, state), diagnostics=diagnostics(_headline(request), call.problems)
        )

    async def stop(self, request: pb.Stop.Request) -> pb.Stop.Response:
        return pb.Stop.Response()

    def _call(self, state: Values | None) -> Call:
        job = self._find_job()
        if state is not None and state.get("id"):
            job.capture.known_ids.add(state["id"])
        is_configured = self._configured is not None and self._configured[0] is job
        access_url = self._configured[1] if self._configured and is_configured else _default_url(job)
        return Call(job.context, job.capture, access_url, self._sandboxes)

    def _record(self, call: Call, type_name: str, values: Values) -> None:
        """Form mode: problems go to the capture, once each, and Terraform goes on."""
        name = str(values.get("name") or values.get("id") or "")
        for problem in call.problems:
            entry = CapturedProblem(type_name, name, problem.message)
            if entry not in call.capture.problems:
                call.capture.problems.append(entry)
        call.problems.clear()

    async def _create(
        self, call: Call, resource: Resource, request: pb.ApplyResourceChange.Request, config: Values
    ) -> pb.ApplyResourceChange.Response:
        call.problems += _find_problems(resource, config)
        values = fill_defaults(resource.block, config)
        if not call.problems:
            values |= {"id": str(uuid4())} | await resource.create(call, values)
        if call.problems:
            nothing = encode(resource.block, None)
            problems = diagnostics(_headline(request), call.problems)
            return pb.ApplyResourceChange.Response(new_state=nothing, diagnostics=problems)
        if has_unknown(values):
            raise AssertionError(f"{resource.name}: a computed attribute was left unknown")
        call.capture.add_created(CapturedResource(resource.name, values["id"], values))
        return pb.ApplyResourceChange.Response(
            new_state=encode(resource.block, values), private=_private(call.context)
        )

    async def _delete(
        self, call: Call, resource: Resource, request: pb.ApplyResourceChange.Request, prior: Values
    ) -> pb.ApplyResourceChange.Response:
        await resource.delete(call, prior)
        if call.problems:
            problems = diagnostics(_headline(request), call.problems)
            return pb.ApplyResourceChange.Response(
                new_state=request.prior_state, private=request.planned_private, diagnostics=problems
            )
        call.capture.destroyed.append(CapturedResource(resource.name, prior.get("id") or "", prior))
        return pb.ApplyResourceChange.Response(new_state=request.planned_state)


def _default_url(job: ProviderJob) -> str:
    return (job.context.access_url or PLACEHOLDER_URL).rstrip("/")


def replace_host(url: str, host: str) -> str:
    """The URL with another host; scheme, port and path stay."""
    parts = urlsplit(url)
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc))


def _find_problems(resource: Resource, config: Values) -> Iterator[Problem]:
    values = fill_defaults(resource.block, config)
    yield from check_attributes(resource.block, values)
    yield from resource.check(values)


def _headline(request: Any) -> str:
    return f"Invalid {request.type_name}"


def _private(context: BuildContext) -> bytes:
    return json.dumps({"build_id": context.build_id}).encode()


def _built_by(private: bytes) -> str:
    """The id of the build that made the resource; empty for one that another provider made."""
    try:
        stored = json.loads(private or b"{}")
    except ValueError:
        return ""
    return str(stored.get("build_id", "")) if isinstance(stored, dict) else ""
