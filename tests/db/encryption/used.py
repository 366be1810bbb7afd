"""A deployment in which people have put secrets everywhere, made through the real routes and the real link."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import msgspec

from devyard.wire.provisionerlink import BuildDone, BuildJob, DryRunDone, DryRunJob, StateSaved, Stored
from devyard.wire.provisionerresults import (
    ResourceMetadataResult,
    ResourceResult,
    TemplateVariableResult,
)
from tests.conftest import Api
from tests.db import workspace_factory as factory
from tests.db.provisioners.fake import create_version, import_done, provisioner


def secret(name: str) -> str:
    """A text that stands nowhere else."""
    return f"planted-{name}-5d1f"


@dataclass
class Used:
    """What was made, and every secret that may not be found in the database."""

    version_id: str = ""
    dry_run_id: str = ""
    workspace_id: str = ""
    build_id: str = ""
    state: bytes = b""
    git_key: str = ""
    secrets: list[str] = field(default_factory=list)

    async def check_readable(self, api: Api, owner: httpx.AsyncClient) -> None:
        """All of it is still what it was, for those who may see it."""
        state = await owner.get(f"/workspacebuilds/{self.build_id}/state")
        assert state.content == self.state
        build = (await owner.get(f"/workspacebuilds/{self.build_id}")).json()
        (agent,) = build["resources"][0]["agents"]
        assert agent["environment_variables"] == {"TOKEN": secret("environment")}
        assert {script["script"] for script in agent["scripts"]} == {f"echo {secret('script')}"}
        listed = (await owner.get("/workspaces")).json()["workspaces"][0]
        assert listed["latest_build"]["resources"][0]["agents"][0]["environment_variables"]
        planned = (await owner.get(f"/templateversions/{self.version_id}/resources")).json()
        assert planned[0]["agents"][0]["environment_variables"] == {"TOKEN": secret("environment")}
        variables = (await owner.get(f"/templateversions/{self.version_id}/variables")).json()
        assert [(v["name"], v["value"]) for v in variables] == [
            ("region", secret("plain-variable")),
            ("token", ""),
        ]
        url = f"/templateversions/{self.version_id}/dry-run/{self.dry_run_id}/resources"
        assert (await owner.get(url)).json()[0]["agents"][0]["environment_variables"]
        from devyard.server.agents import queries

        manifest = await queries.get_manifest(api.services.pool, UUID(agent["id"]))
        assert manifest is not None
        assert (manifest.variables, manifest.git_private_key) == ({"TOKEN": secret("environment")}, self.git_key)


def made(token: str) -> tuple[ResourceResult, ...]:
    """A resource with an agent that was given secrets."""
    agent = factory.agent(token)
    scripts = tuple(msgspec.structs.replace(s, script=f"echo {secret('script')}") for s in agent.scripts)
    agent = msgspec.structs.replace(agent, environment={"TOKEN": secret("environment")}, scripts=scripts)
    metadata = (ResourceMetadataResult(key="password", value=secret("metadata"), sensitive=True),)
    return (
        ResourceResult(address="devyard_sandbox.main", type="devyard_sandbox", name="main",
                       agents=(agent,), metadata=metadata),
    )  # fmt: skip


async def use(api: Api, owner: httpx.AsyncClient) -> Used:
    """Make a user, a version with variables, a dry run and a workspace."""
    used = Used()
    reply = await owner.post(
        "/users",
        json={"email": "ada@example.com", "username": "ada", "password": "correct horse 1",
              "login_type": "password", "organization_ids": [str(api.services.organization_id)]},
    )  # fmt: skip
    assert reply.status_code == 201, reply.text
    user_id = reply.json()["id"]
    values = [
        {"name": "token", "value": secret("variable")},
        {"name": "region", "value": secret("plain-variable")},
    ]
    variables = tuple(
        TemplateVariableResult(name=name, description="", type="string", default_value=default, required=False,
                               sensitive=is_sensitive)
        for name, default, is_sensitive in (("region", "eu", False), ("token", secret("default"), True))
    )  # fmt: skip
    async with provisioner(api) as worker:
        await worker.register()
        version = await create_version(owner, user_variable_values=values)
        used.version_id = version["id"]
        job = await worker.take()
        assert {v.name: v.value for v in job.work.variables} == {v["name"]: v["value"] for v in values}
        await worker.send(import_done(job, variables=variables, start_resources=made("planned"), parameters=()))
        assert (await worker.expect(Stored)).error == ""

        request = {"rich_parameter_values": [{"name": "password", "value": secret("parameter")}],
                   "user_variable_values": [{"name": "token", "value": secret("overridden")}]}  # fmt: skip
        reply = await owner.post(f"/templateversions/{used.version_id}/dry-run", json=request)
        used.dry_run_id = reply.json()["id"]
        job = await worker.take()
        assert isinstance(job.work, DryRunJob)
        assert job.work.parameters == {"password": secret("parameter")}
        assert secret("overridden") in {v.value for v in job.work.variables}
        await worker.send(DryRunDone(job_id=job.job_id, lease_id=job.lease_id, seq=1, resources=made("dry")))
        assert (await worker.expect(Stored)).error == ""

        template = await owner.post(
            "/organizations/default/templates", json={"name": "t", "template_version_id": used.version_id}
        )
        request = {"name": "dev", "template_id": template.json()["id"]}
        reply = await owner.post(f"/organizations/default/members/{user_id}/workspaces", json=request)
        assert reply.status_code == 201, reply.text
        used.workspace_id, used.build_id = reply.json()["id"], reply.json()["latest_build"]["id"]
        job = await worker.take()
        assert isinstance(job.work, BuildJob)
        context = job.work.context
        used.git_key = context.owner_ssh_private_key
        first = factory.state(1, secret=secret("first-state"))
        await worker.send(StateSaved(job_id=job.job_id, lease_id=job.lease_id, seq=1, state=first))
        assert (await worker.expect(Stored)).error == ""
        used.state = factory.state(2, secret=secret("state"), note="x" * 5000)
        done = BuildDone(job_id=job.job_id, lease_id=job.lease_id, seq=2, state=used.state,
                         resources=made(secret("agent-token")))  # fmt: skip
        await worker.send(done)
        assert (await worker.expect(Stored)).error == ""
    used.secrets = [
        *(secret(name) for name in ("variable", "plain-variable", "default", "overridden", "parameter", "metadata",
                                    "environment", "script", "first-state", "state", "agent-token")),
        *used.git_key.splitlines()[1:-2],
        context.owner_session_token.partition("-")[2],
        owner.headers["Coder-Session-Token"].partition("-")[2],
        "correct horse 1",
    ]  # fmt: skip
    assert len(used.git_key.splitlines()) > 4
    return used


async def find(pool: Any, texts: list[str]) -> set[tuple[str, str, str]]:
    """(table, column, text) of each of the texts that a dump of the database would show."""
    columns = await pool.fetch(
        "SELECT table_name, column_name, udt_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND udt_name IN ('text', '_text', 'bytea', 'jsonb', 'json', 'varchar') ORDER BY 1, 2"
    )
    assert {("users", "git_private_key"), ("workspace_builds", "state")} <= {tuple(c)[:2] for c in columns}
    found = set()
    for table, column, kind in columns:
        what = column if kind == "bytea" else f"convert_to({column}::text, 'UTF8')"
        for (value,) in await pool.fetch(f"SELECT {what} FROM {table} WHERE {column} IS NOT NULL"):
            for text in texts:
                quoted = json.dumps(text)[1:-1]
                if text.encode() in value or quoted.encode() in value:
                    found.add((table, column, text))
    return found
