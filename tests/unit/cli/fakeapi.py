"""An HTTP server that speaks the API's shapes from a table of replies, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import msgspec

from devyard.wire.jobs import JobInput, JobMetadata, ProvisionerJob
from devyard.wire.workspaces import (
    AgentHealth,
    Workspace,
    WorkspaceAgent,
    WorkspaceBuild,
    WorkspaceHealth,
    WorkspaceResource,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOKEN = "abcdefghij-0123456789abcdefghijkl"


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, object] | Callable[[Asked], tuple[int, object]]


@dataclass
class FakeApi:
    """Replies by `METHOD /path` below /api/v2; anything else is the API's 404."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    version: str = "v0.1.0-devel"

    def on(self, what: str, answer: Answer) -> None:
        self.answers[what] = answer

    def bodies(self, what: str) -> list[Any]:
        """The JSON bodies of every request of that kind."""
        return [a.json for a in self.asked if f"{a.method} {a.path}" == what]

    def answer(self, asked: Asked) -> tuple[int, object]:
        self.asked.append(asked)
        answer = self.answers.get(f"{asked.method} {asked.path}")
        if answer is None:
            return 404, {"message": "Route not found.", "code": "not_found"}
        return answer(asked) if callable(answer) else answer

    def __enter__(self) -> "FakeApi":
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def handle_any(self) -> None:
                target = urlsplit(self.path)
                size = int(self.headers.get("Content-Length", 0))
                asked = Asked(
                    self.command,
                    target.path.removeprefix("/api/v2"),
                    dict(parse_qsl(target.query, keep_blank_values=True)),
                    {k.lower(): v for k, v in self.headers.items()},
                    self.rfile.read(size),
                )
                status, value = api.answer(asked)
                body = value if isinstance(value, bytes) else msgspec.json.encode(value)
                self.send_response(status)
                self.send_header("X-Coder-Build-Version", api.version)
                if status == 204:
                    body = b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


def make_job(status: str = "succeeded", **changes: Any) -> ProvisionerJob:
    job = ProvisionerJob(
        id=uuid4(),
        created_at=NOW,
        status="succeeded",
        file_id=uuid4(),
        tags={},
        queue_position=0,
        queue_size=0,
        organization_id=uuid4(),
        input=JobInput(),
        type="workspace_build",
        metadata=JobMetadata(),
    )
    return msgspec.structs.replace(job, status=status, **changes)


def make_build(workspace_id: UUID | None = None, **changes: Any) -> WorkspaceBuild:
    build = WorkspaceBuild(
        id=uuid4(),
        created_at=NOW,
        updated_at=NOW,
        workspace_id=workspace_id or uuid4(),
        workspace_name="dev",
        workspace_owner_id=uuid4(),
        workspace_owner_name="ada",
        workspace_owner_avatar_url="",
        template_version_id=uuid4(),
        template_version_name="v1",
        build_number=1,
        transition="start",
        initiator_id=uuid4(),
        initiator_name="ada",
        job=make_job(),
        reason="initiator",
        resources=[],
        status="running",
        daily_cost=0,
        template_version_preset_id=None,
    )
    return msgspec.structs.replace(build, **changes)


def make_workspace(**changes: Any) -> Workspace:
    workspace_id = uuid4()
    workspace = Workspace(
        id=workspace_id,
        created_at=NOW,
        updated_at=NOW,
        owner_id=uuid4(),
        owner_name="ada",
        owner_avatar_url="",
        organization_id=uuid4(),
        organization_name="default",
        template_id=uuid4(),
        template_name="local",
        template_display_name="Local",
        template_icon="",
        template_allow_user_cancel_workspace_jobs=True,
        template_active_version_id=uuid4(),
        template_require_active_version=False,
        latest_build=make_build(workspace_id),
        outdated=False,
        name="dev",
        last_used_at=NOW,
        deleting_at=None,
        dormant_at=None,
        health=WorkspaceHealth(True, []),
        automatic_updates="never",
        allow_renames=True,
        favorite=False,
        next_start_at=None,
    )
    return msgspec.structs.replace(workspace, **changes)


def make_user(**changes: Any) -> dict[str, Any]:
    user = {
        "id": str(uuid4()),
        "username": "ada",
        "name": "Ada",
        "avatar_url": "",
        "email": "ada@example.com",
        "created_at": NOW.isoformat(),
        "updated_at": NOW.isoformat(),
        "last_seen_at": NOW.isoformat(),
        "status": "active",
        "login_type": "password",
        "organization_ids": [],
        "roles": [{"name": "owner", "display_name": "Owner"}],
    }
    return {**user, **changes}


def make_agent(**changes: Any) -> WorkspaceAgent:
    agent = WorkspaceAgent(
        id=uuid4(),
        parent_id=None,
        created_at=NOW,
        updated_at=NOW,
        status="connected",
        lifecycle_state="ready",
        name="main",
        resource_id=uuid4(),
        architecture="amd64",
        environment_variables={},
        operating_system="linux",
        logs_length=0,
        logs_overflowed=False,
        version="v0.1.0",
        api_version="1.0",
        apps=[],
        connection_timeout_seconds=2,
        troubleshooting_url="",
        subsystems=[],
        health=AgentHealth(True),
        display_apps=[],
        log_sources=[],
        scripts=[],
        startup_script_behavior="non-blocking",
    )
    return msgspec.structs.replace(agent, **changes)


def with_agent(workspace: Workspace, *agents: WorkspaceAgent) -> Workspace:
    """The workspace with agents in one resource."""
    resource = WorkspaceResource(
        id=uuid4(),
        created_at=NOW,
        job_id=uuid4(),
        workspace_transition="start",
        type="devyard_sandbox",
        name="dev",
        hide=False,
        icon="",
        daily_cost=0,
        agents=list(agents),
    )
    build = msgspec.structs.replace(workspace.latest_build, resources=[resource])
    return msgspec.structs.replace(workspace, latest_build=build)
