"""What a claimed job asks of its provisioner, by the job's type. Runs in the transaction of the claim."""

from devyard.server.builds import actions as builds
from devyard.server.db.pool import Connection
from devyard.server.jobs.queries import JobRow
from devyard.server.services import Services
from devyard.server.templates import work as templates
from devyard.wire.provisionerlink import BuildJob, DryRunJob, ImportJob


async def load_work(connection: Connection, services: Services, job: JobRow) -> ImportJob | BuildJob | DryRunJob:
    """The job's work.

    Raises:
        NotFound: what the job is about is gone.
    """
    if job.type == "workspace_build":
        return await builds.load_build_work(connection, services, job)
    if job.type == "template_version_dry_run":
        return await templates.load_dry_run_work(connection, services, job)
    return await templates.load_import_work(connection, services, job)
