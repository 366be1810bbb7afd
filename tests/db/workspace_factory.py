"""Templates, workspaces and builds for tests, made with the real actions and, where another subject's action would
be needed (an import, a claim), directly in the database."""

import json
from typing import Any
from uuid import UUID, uuid4

import msgspec

from devyard.server.builds import actions
from devyard.server.db.pool import transaction
from devyard.server.jobs.queries import JobRow, get_job
from devyard.wire.parameters import ParameterDefinition
from devyard.wire.provisionerlink import BuildDone, BuildJob
from devyard.wire.provisionerresults import AgentResult, AppResult, MetadataResult, ResourceResult, ScriptResult


async def add_template(
    services: Any,
    owner_id: UUID,
    *,
    name: str = "local",
    parameters: tuple[ParameterDefinition, ...] = (),
    template_id: UUID | None = None,
    **settings: Any,
) -> tuple[UUID, UUID]:
    """A template with one imported version, or another version of a template: (template, version)."""
    file_id, version_id, job_id = uuid4(), uuid4(), uuid4()
    is_new = template_id is None
    template_id = template_id or uuid4()
    async with transaction(services.pool) as connection:
        await connection.execute(
            "INSERT INTO files (id, created_by, sha256, mimetype, data) "
            "VALUES ($1, $2, $3, 'application/x-tar', '')",
            file_id,
            owner_id,
            file_id.hex,
        )
        await connection.execute(
            "INSERT INTO provisioner_jobs (id, organization_id, initiator_id, type, file_id, template_version_id, "
            "status, completed_at) VALUES ($1, $2, $3, 'template_version_import', $4, $5, 'succeeded', now())",
            job_id,
            services.organization_id,
            owner_id,
            file_id,
            version_id,
        )
        if is_new:
            await connection.execute(
                "INSERT INTO templates (id, organization_id, name, active_version_id, created_by) "
                "VALUES ($1, $2, $3, $4, $5)",
                template_id,
                services.organization_id,
                name,
                version_id,
                owner_id,
            )
        await connection.execute(
            "INSERT INTO template_versions (id, organization_id, template_id, name, job_id, created_by, "
            "parameters) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            version_id,
            services.organization_id,
            template_id,
            f"v-{version_id.hex[:8]}",
            job_id,
            owner_id,
            msgspec.to_builtins(list(parameters)),
        )
        for column, value in settings.items():
            await connection.execute(f"UPDATE templates SET {column} = $2 WHERE id = $1", template_id, value)
    return template_id, version_id


async def claim(services: Any, build_id: UUID | str) -> tuple[JobRow, BuildJob]:
    """Take a build's job as a provisioner would: the job under its lease, and its work."""
    async with transaction(services.pool) as connection:
        job_id = await connection.fetchval(
            "UPDATE provisioner_jobs SET status = 'running', started_at = now(), lease_id = $2, "
            "lease_expires_at = now() + interval '15 seconds' "
            "WHERE workspace_build_id = $1 AND status = 'pending' RETURNING id",
            UUID(str(build_id)),
            uuid4(),
        )
        job = await get_job(connection, job_id)
        assert job is not None
        return job, await actions.load_build_work(connection, services, job)


async def finish(services: Any, job: JobRow, result: BuildDone, status: str = "succeeded") -> None:
    """Apply a result and end the job, in one transaction, as the jobs code does."""
    async with transaction(services.pool) as connection:
        await actions.complete_build(connection, services, job, result)
        await connection.execute(
            "UPDATE provisioner_jobs SET status = $2, completed_at = now(), lease_id = NULL WHERE id = $1",
            job.id,
            status,
        )


async def build_done(services: Any, build_id: UUID | str, **options: Any) -> tuple[JobRow, BuildJob]:
    """Run a build to its good end."""
    job, work = await claim(services, build_id)
    await finish(services, job, done(job, **options))
    return job, work


def state(serial: int, lineage: str = "line", **extra: Any) -> bytes:
    """A Terraform state."""
    return json.dumps({"version": 4, "serial": serial, "lineage": lineage, "resources": [], **extra}).encode()


def done(
    job: JobRow,
    *,
    serial: int = 1,
    tokens: tuple[str, ...] = (),
    lineage: str = "line",
    state_bytes: bytes | None = None,
) -> BuildDone:
    """A result with one agent for each token."""
    agents = tuple(agent(token, f"agent{index}" if index else "main") for index, token in enumerate(tokens))
    return BuildDone(
        job_id=job.id,
        lease_id=job.lease_id or uuid4(),
        seq=1,
        state=state(serial, lineage) if state_bytes is None else state_bytes,
        resources=(
            ResourceResult(
                address="devyard_sandbox.main", type="devyard_sandbox", name="main", daily_cost=3, agents=agents
            ),
        ),
    )


def agent(token: str, name: str = "main", **options: Any) -> AgentResult:
    """An agent with an app, two scripts and a metadata item."""
    app = AppResult(
        slug="code",
        display_name="Code",
        url="http://127.0.0.1:13337",
        command="",
        icon="/icon/code.svg",
        subdomain=True,
        share="owner",
        external=False,
        health_url="http://127.0.0.1:13337/healthz",
        health_interval_s=5,
        health_threshold=6,
        hidden=False,
        open_in="slim-window",
        order=1,
        group="",
        tooltip="",
    )
    scripts = tuple(
        ScriptResult(
            display_name=title,
            icon="",
            script=f"echo {title}",
            log_path="",
            cron="",
            run_on_start=is_start,
            run_on_stop=not is_start,
            start_blocks_login=False,
            timeout_s=0,
        )
        for title, is_start in (("Startup", True), ("Shutdown", False))
    )
    item = MetadataResult(key="cpu", display_name="CPU", script="echo 1", interval_s=10, timeout_s=1, order=1)
    return AgentResult(
        name=name,
        token=token,
        os="linux",
        arch="amd64",
        auth="token",
        environment={"EDITOR": "vi"},
        display_apps=("vscode", "web_terminal"),
        apps=(app,),
        scripts=scripts,
        metadata=(item,),
        **options,
    )
