"""The provisioner process: builds everything by hand, in order, handles signals, and serves until told to end.

Called by `devyard provisioner start`. SIGTERM finishes the job and ends; SIGINT cancels it and ends; a second
signal ends within seconds. Invariant: what it made on this machine (directories, sockets, processes) is gone
when it ends, and the next one clears away what a killed one left.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from devyard.provisioner.engine.backend import check_version
from devyard.provisioner.engine.terraform import open_terraform
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.link.dial import Identity
from devyard.provisioner.link.lostresults import keep_leftover
from devyard.provisioner.link.records import list_leftovers
from devyard.provisioner.link.session import Session
from devyard.provisioner.sandbox.runtime import Sandboxes
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.workdir import find_fast_directory
from devyard.runtime.limits import raise_file_limit

log = structlog.get_logger()

_ROOT_PREFIX = "devyard-provisioner-"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to run. `terraform`: auto, library, binary or a path; `passed_variables`: names or patterns.

    `cli_config`: a Terraform CLI configuration that counts instead of the server's.
    """

    url: str
    key: str
    name: str
    organization: str
    tags: Mapping[str, str]
    cache_directory: Path
    sandbox_root: Path
    sandbox_isolation: Literal["namespaces", "none"]
    terraform: str
    passed_variables: Sequence[str] = ()
    key_file: Path | None = None
    cli_config: Path | None = None
    cache_bytes: int = 8 << 30


async def serve_provisioner(settings: Settings) -> None:
    """Serves until a signal. Raises NoTerraform when there is none that works."""
    raise_file_limit()  # Terraform as a library keeps its connections to the provider until its worker is replaced
    settings.cache_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    hidden = [settings.cache_directory, *(path for path in (settings.key_file, settings.cli_config) if path)]
    sandboxes = Sandboxes(settings.sandbox_root, isolation=settings.sandbox_isolation, hidden=hidden)
    lost_directory = settings.cache_directory / "lost-states"
    with open_work_root(find_fast_directory(Path(tempfile.gettempdir()))) as work_root:
        async with open_terraform(
            settings.terraform,
            directory=work_root,
            passed_variables=settings.passed_variables,
            sandboxes=sandboxes,
            cli_config=settings.cli_config,
        ) as terraform:
            if warning := check_version(terraform.version):
                log.warning("terraform_is_old", version=terraform.version, hint=warning)
            templates = TemplateCache(settings.cache_directory, settings.cache_bytes)
            await asyncio.to_thread(templates.sweep)
            tools = Tools(terraform, templates, work_root)
            identity = Identity(
                url=settings.url,
                key=settings.key,
                name=settings.name,
                tags=settings.tags,
                organization=settings.organization,
            )
            session = Session(identity, tools, lost_directory)
            with _signals(session):
                await session.run()
    log.info("provisioner_ended")


@contextmanager
def open_work_root(parent: Path) -> Iterator[Path]:
    """A private directory for jobs and sockets, after those that killed provisioners left are removed.

    Jobs found in those are written down where those provisioners look for them in their next life, to offer them
    to their server: it may lack their last moments. The same happens to a job that is cut short here.
    """
    _remove_leftovers(parent)
    root = Path(tempfile.mkdtemp(prefix=_ROOT_PREFIX, dir=parent))
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield root
    finally:
        _keep_jobs(root)
        shutil.rmtree(root, ignore_errors=True)
        os.close(descriptor)


def _remove_leftovers(parent: Path) -> None:
    """A directory that nobody holds the lock of belongs to nobody."""
    for path in parent.glob(f"{_ROOT_PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _keep_jobs(path)
                shutil.rmtree(path, ignore_errors=True)
                log.info("leftovers_removed", path=str(path))
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def _keep_jobs(root: Path) -> None:
    for leftover in list_leftovers(root):
        try:
            path = keep_leftover(leftover)
        except OSError as error:
            log.error("lost_job_not_kept", job_id=leftover.owner.job_id, why=str(error))
        else:
            log.warning("lost_job_kept", job_id=leftover.owner.job_id, state=str(path or ""))


@contextmanager
def _signals(session: Session) -> Iterator[None]:
    parent_pid = os.getppid()
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def end_soon() -> None:
        """SIGINT: somebody wants it, or it is how a built-in one learns that its server is gone."""
        if _is_parent_gone(parent_pid):
            session.abandon()
        else:
            session.cancel()

    def receive(number: signal.Signals) -> None:
        received.append(number)
        log.info("signal", name=number.name)
        if len(received) > 1:
            session.cancel(force=True)
        elif number == signal.SIGTERM:
            session.drain()
        else:
            end_soon()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _is_parent_gone(pid: int) -> bool:
    """Whether the process that started this one has ended, or has begun to: its first thread is a zombie then."""
    if os.getppid() != pid:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("Z", "X")
