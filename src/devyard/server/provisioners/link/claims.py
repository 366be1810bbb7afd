"""Claiming: the oldest job that a provisioner may take becomes its own, with all that it needs to run it.

Called by a provisioner's connection. Invariant: the claim and the reading of its work are one transaction; a job
whose work can't be made ready is failed with the reason, so that it does not come back to every provisioner.
"""

from collections.abc import Mapping
from uuid import UUID, uuid4

import structlog

from devyard.server.db.pool import transaction
from devyard.server.files.queries import get_file_info
from devyard.server.jobs import lease_queries, results
from devyard.server.jobs.work import load_work
from devyard.server.packages.queries import get_version_packages
from devyard.server.services import Services
from devyard.server.settings import ServerSettings
from devyard.wire.errors import AppError, Unavailable
from devyard.wire.provisionerlink import Archive, BuildJob, DryRunJob, ImportJob, Job, Limits

log = structlog.get_logger("provisioners")


async def claim_job(
    services: Services, organization_id: UUID, tags: Mapping[str, str], daemon_id: UUID
) -> Job | bool:
    """The claimed job; False where there is none, True where one was claimed and had to be failed."""
    lease_id = uuid4()
    claimed_id: UUID | None = None
    try:
        async with transaction(services.pool) as connection:
            job = await lease_queries.claim_job(
                connection,
                organization_id=organization_id,
                tags=tags,
                worker_id=daemon_id,
                lease_id=lease_id,
            )
            if job is None:
                return False
            claimed_id = job.id
            work = await load_work(connection, services, job)
            info = await get_file_info(connection, job.file_id)
            packages, lock_file = await get_version_packages(connection, job.template_version_id)
    except Unavailable:
        raise
    except Exception as error:
        if claimed_id is None:
            raise
        log.warning("a job can't be started", job_id=str(claimed_id), exc_info=error)
        reason = error.message if isinstance(error, AppError) else "The server failed to prepare the job."
        await results.fail_unstartable(services, claimed_id, reason)
        return True
    return Job(
        job_id=job.id,
        lease_id=lease_id,
        template_version_id=job.template_version_id,
        archive=Archive(job.file_id, info.sha256, info.size_bytes),
        work=work,
        packages=packages,
        lock_file=lock_file,
        terraform=services.terraform,
        limits=decide_limits(services.settings, work),
    )


def decide_limits(settings: ServerSettings, work: ImportJob | BuildJob | DryRunJob) -> Limits:
    """What the settings allow a job of this kind."""
    is_build = isinstance(work, BuildJob)
    longest = settings.build_time_limit if is_build else settings.import_time_limit
    return Limits(
        time_s=int(longest.total_seconds()),
        memory_mb=settings.job_memory_mb,
        processes=settings.job_processes,
        disk_mb=settings.job_disk_mb,
    )
