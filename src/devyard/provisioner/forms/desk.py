"""Takes requests for forms from the session, answers each exactly once, beside whatever job runs.

The session hands over requests and parts of files, and sends what the desk gives it. Invariants: every request is
answered within `TIME_LIMIT_S`, also with an error; a lost connection ends what was under way, for nobody waits for
it any more.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from devyard.provisioner.engine.lane import Lane
from devyard.provisioner.engine.process import WorkerLost
from devyard.provisioner.engine.stopping import Stop, Stopped
from devyard.provisioner.forms.evaluate import evaluate
from devyard.provisioner.forms.lanes import FormLanes
from devyard.provisioner.forms.prepared import PreparedForms
from devyard.provisioner.jobs.secrets import Secrets
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.link.downloads import Download
from devyard.provisioner.templates.archive import ArchiveError
from devyard.provisioner.templates.cache import Template
from devyard.provisioner.templates.packages import FetchPackage
from devyard.provisioner.templates.restoring import Packs, name_version
from devyard.wire.provisionerforms import FormAnswer
from devyard.wire.provisionerlink import Archive, FileChunk, FileRequest, FormRequest

log = structlog.get_logger()

SLOTS = 2
TIME_LIMIT_S = 30.0
"""The server gives up sooner; what was prepared by then serves the next request."""

_INIT = ("init", "-input=false", "-no-color")


class InitFailed(Exception):
    """`terraform init` ended with an error, which is the text."""


class FormDesk:
    """The forms of one provisioner. `send` queues a message for the server."""

    def __init__(
        self,
        tools: Tools,
        send: Callable[[msgspec.Struct], None],
        fetch_package: FetchPackage,
        slots: int = SLOTS,
    ) -> None:
        self.slots = slots
        self._tools = tools
        self._send = send
        self._fetch_package = fetch_package
        self._lanes = FormLanes(tools.terraform.make_lane, slots)
        self._prepared = PreparedForms(tools.work_root)
        self._downloads: dict[UUID, Download] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def take(self, request: FormRequest) -> None:
        """Works out a form; the answer comes by `send`."""
        if request.request_id in self._tasks or len(self._tasks) >= self.slots:
            self._send(FormAnswer(request_id=request.request_id, error="The provisioner is busy; try again."))
            return
        task = asyncio.create_task(self._answer(request), name=f"form {request.request_id}")
        self._tasks[request.request_id] = task

    async def take_chunk(self, chunk: FileChunk) -> None:
        """A part of a file that a form waits for; of any other file it is dropped."""
        if download := self._downloads.get(chunk.file_id):
            await download.take(chunk)

    def disconnect(self) -> None:
        """Ends what is under way: the server has forgotten its requests."""
        for task in self._tasks.values():
            task.cancel()

    async def close(self) -> None:
        """Ends everything and removes all files."""
        tasks = list(self._tasks.values())
        self.disconnect()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lanes.close()
        await self._prepared.close()

    async def _answer(self, request: FormRequest) -> None:
        stop = Stop()
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                answer = await self._work_out(request, stop)
        except TimeoutError:
            answer = _refuse(request, f"The form was not ready within {TIME_LIMIT_S:.0f} s.")
        except (ArchiveError, InitFailed) as error:
            answer = _refuse(request, str(error))
        except WorkerLost as error:
            answer = _refuse(request, f"Terraform crashed: {error}")
        except Stopped:
            answer = _refuse(request, "The form was stopped.")
        except Exception:
            log.exception("form_failed_unexpectedly", request_id=str(request.request_id))
            answer = _refuse(request, "The provisioner failed unexpectedly; its own log has the details.")
        finally:
            self._tasks.pop(request.request_id, None)
        self._send(answer)

    async def _work_out(self, request: FormRequest, stop: Stop) -> FormAnswer:
        terraform = self._tools.terraform
        await terraform.configure(request.terraform.cli_config)

        async def init(directory: Path) -> None:
            # A lane apart: its worker was started with this configuration.
            async with self._lanes.lane(f"init {terraform.cli_config_path}") as lane:
                await _initialize(lane, directory, stop)

        templates, archive = self._tools.templates, request.archive
        name = name_version(archive, request.packages, request.lock_file)
        packs = Packs(request.packages, request.lock_file, terraform.platform, self._fetch_package, log.info)
        async with (
            templates.use(archive, self._fetch, init, packs) as template,
            self._prepared.use(name, template, request.variables) as prepared,
        ):
            if prepared.directory is None:
                return FormAnswer(request_id=request.request_id)
            async with self._lanes.lane(prepared.lane_key) as lane:
                answer = await evaluate(lane, prepared.directory, prepared, request, stop)
        return _clean(answer, request, template)

    async def _fetch(self, archive: Archive, target: Path) -> None:
        download = self._downloads[archive.file_id] = Download(archive, target)
        self._send(FileRequest(archive.file_id))
        try:
            await download.wait()
        finally:
            self._downloads.pop(archive.file_id, None)


async def _initialize(lane: Lane, directory: Path, stop: Stop) -> None:
    errors: list[str] = []

    def on_error_line(line: bytes) -> None:
        if len(errors) < 50:
            errors.append(line.decode("utf-8", "replace").strip(" │╷╵"))

    code = await lane.run(directory, list(_INIT), lambda _: None, on_error_line, stop)
    if code:
        text = " ".join(filter(None, errors))[:2000]
        raise InitFailed(f"terraform init failed: {text}")


def _refuse(request: FormRequest, error: str) -> FormAnswer:
    return FormAnswer(request_id=request.request_id, error=Secrets(request.context).clean(error))


def _clean(answer: FormAnswer, request: FormRequest, template: Template) -> FormAnswer:
    """Without secrets in what Terraform complains about."""
    secrets = Secrets(request.context)
    secrets.add_variables(template.variables, request.variables)
    problems = tuple(
        msgspec.structs.replace(
            problem, summary=secrets.clean(problem.summary), detail=secrets.clean(problem.detail)
        )
        for problem in answer.problems
    )
    return msgspec.structs.replace(answer, problems=problems)
