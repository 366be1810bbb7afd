"""A small provisioner for tests: speaks the link over a real websocket and does what the test says."""

import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from devyard.wire.parameters import ParameterDefinition
from devyard.wire.provisionerlink import (
    API_VERSION,
    KEY_HEADER,
    SERVE_PATH,
    DryRunDone,
    FileRequest,
    ImportDone,
    ImportJob,
    Job,
    JobLogLine,
    Logs,
    Ready,
    Register,
    ToProvisioner,
)
from devyard.wire.provisionerresults import ResourceResult, TemplateVariableResult
from tests.conftest import Api

T = TypeVar("T")
INTERNAL = "internal-key-of-the-tests"


def make_tar(files: Mapping[str, str] | None = None) -> bytes:
    """A tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in (files or {"main.tf": "terraform {}\n"}).items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


class FakeProvisioner:
    """One connection; `expect` receives, `send` sends."""

    def __init__(self, socket: ClientConnection, daemon_id: UUID) -> None:
        self.socket = socket
        self.daemon_id = daemon_id

    async def send(self, message: msgspec.Struct) -> None:
        """Send one message."""
        await self.socket.send(msgspec.msgpack.encode(message))

    async def expect_any(self, timeout_s: float = 10) -> Any:
        """The next message, whatever it is."""
        import asyncio

        async with asyncio.timeout(timeout_s):
            return msgspec.msgpack.decode(await self.socket.recv(), type=ToProvisioner)

    async def expect(self, kind: type[T], timeout_s: float = 10) -> T:
        """The next message, which has to be of this kind."""
        message = await self.expect_any(timeout_s)
        assert isinstance(message, kind), message
        return message

    async def register(self, *, tags: Mapping[str, str] | None = None, resume: Any = None) -> None:
        """Say who this is."""
        await self.send(
            Register(
                daemon_id=self.daemon_id,
                name="fake",
                version="0.1.0",
                api_version=API_VERSION,
                tags=tags or {},
                terraform_version="1.15.0",
                resume=resume,
            )
        )

    async def take(self) -> Job:
        """Say ready and receive a job."""
        await self.send(Ready())
        return await self.expect(Job)

    async def log(self, job: Job, *outputs: str) -> None:
        """Send log lines."""
        lines = tuple(JobLogLine(datetime.now(UTC), "provisioner", "info", "Plan", text) for text in outputs)
        await self.send(Logs(job.job_id, job.lease_id, lines))

    async def fetch(self, job: Job) -> bytes:
        """Fetch the job's archive."""
        from devyard.wire.provisionerlink import FileChunk

        await self.send(FileRequest(job.archive.file_id))
        data = b""
        while True:
            chunk = await self.expect(FileChunk)
            assert chunk.offset == len(data)
            data += chunk.data
            if chunk.last:
                return data


@asynccontextmanager
async def provisioner(
    api: Api, *, key: str = INTERNAL, daemon_id: UUID | None = None, organization: str = "default"
) -> AsyncIterator[FakeProvisioner]:
    """A connected provisioner that has not registered yet."""
    url = api.base_url.replace("http", "ws") + SERVE_PATH.format(organization=organization)
    async with connect(url, additional_headers={KEY_HEADER: key}, compression=None, max_size=None) as socket:
        yield FakeProvisioner(socket, daemon_id or uuid4())


RESOURCE = ResourceResult(address="null_resource.x", type="null_resource", name="x")


def import_done(job: Job, **changes: Any) -> ImportDone:
    """A plain result of an import with one parameter; the template declares the variables that it was given."""
    given = job.work.variables if isinstance(job.work, ImportJob) else ()
    fields: dict[str, Any] = {
        "parameters": (
            ParameterDefinition(name="size", type="number", form_type="input", default_value="2", mutable=True),
        ),
        "variables": tuple(
            TemplateVariableResult(v.name, "", "string", "", required=True, sensitive=False) for v in given
        ),
        "presets": (),
        "start_resources": (RESOURCE,),
        "stop_resources": (),
        "agent_resources": {},
        "readme": "# Read me",
    }
    return ImportDone(job_id=job.job_id, lease_id=job.lease_id, seq=1, **{**fields, **changes})


def dry_run_done(job: Job) -> DryRunDone:
    """A plain result of a dry run."""
    return DryRunDone(job_id=job.job_id, lease_id=job.lease_id, seq=1, resources=(RESOURCE,))


async def upload(client: httpx.AsyncClient, data: bytes | None = None) -> httpx.Response:
    """Upload an archive as the CLI does."""
    return await client.post("/files", content=data or make_tar(), headers={"Content-Type": "application/x-tar"})


async def create_version(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A version whose import is queued."""
    file_id = (await upload(client)).json()["hash"]
    body = {
        "storage_method": "file",
        "file_id": file_id,
        "provisioner": "terraform",
        "tags": {},
        "user_variable_values": [],
        "template_id": str(UUID(int=0)),
        **fields,
    }
    reply = await client.post("/organizations/default/templateversions", json=body)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found
