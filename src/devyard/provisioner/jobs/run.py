"""Runs a job of any kind and turns whatever happens into the one result that ends it.

The session calls `run_job`. Invariant: it returns a result for every job, except when its task is cancelled.
"""

import msgspec
import structlog

from devyard.provisioner.engine.lane import CommandFailed
from devyard.provisioner.engine.process import WorkerLost
from devyard.provisioner.engine.stopping import Stop, Stopped
from devyard.provisioner.jobs.building import BuildFailed, build_workspace
from devyard.provisioner.jobs.dryrun import plan_start
from devyard.provisioner.jobs.importing import import_version
from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.secrets import Secrets
from devyard.provisioner.jobs.workplace import JobFailed, JobLink, Tools
from devyard.provisioner.results.agents import TemplateError
from devyard.provisioner.templates.archive import ArchiveError
from devyard.wire.provisionerlink import BuildDone, BuildJob, DryRunDone, Failed, ImportDone, ImportJob, Job

Result = ImportDone | BuildDone | DryRunDone | Failed

log = structlog.get_logger()


async def run_job(tools: Tools, job: Job, link: JobLink, stop: Stop) -> Result:
    """The job's result; `seq` is for the session to set."""
    work = job.work
    secrets = Secrets(work.context)
    job_log = JobLog(link.send_log, secrets, has_details=isinstance(work, BuildJob) and work.debug)
    result = await _run(tools, job, link, job_log, stop)
    if isinstance(result, Failed):
        result = msgspec.structs.replace(result, error=secrets.clean(result.error))
        job_log.say(result.error, "warn" if result.outcome == "canceled" else "error")
    return result


async def _run(tools: Tools, job: Job, link: JobLink, job_log: JobLog, stop: Stop) -> Result:
    work = job.work
    try:
        if isinstance(work, ImportJob):
            return await import_version(tools, job, work, link, job_log, stop)
        if isinstance(work, BuildJob):
            return await build_workspace(tools, job, work, link, job_log, stop)
        return await plan_start(tools, job, work, link, job_log, stop)
    except BuildFailed as error:
        return error.result
    except Stopped:
        return _fail(job, stop.reason or "The job was canceled.", is_canceled=not stop.is_failure)
    except JobFailed as error:
        return msgspec.structs.replace(_fail(job, str(error)), error_code=error.code)
    except (TemplateError, ArchiveError) as error:
        return _fail(job, str(error))
    except CommandFailed as error:
        return _fail(job, f"Terraform failed: {error}")
    except WorkerLost as error:
        return _fail(job, f"Terraform crashed: {error}")
    except Exception:
        log.exception("job_failed_unexpectedly", job_id=str(job.job_id))
        return _fail(job, "The provisioner failed unexpectedly; its own log has the details.")


def _fail(job: Job, error: str, *, is_canceled: bool = False) -> Failed:
    outcome = "canceled" if is_canceled else "failed"
    return Failed(
        job_id=job.job_id,
        lease_id=job.lease_id,
        seq=0,
        error=error,
        outcome=outcome,  # type: ignore[arg-type]  # one of the two literals
    )
