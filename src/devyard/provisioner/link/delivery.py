"""What becomes of a message that can't be sent as it is, and of a result that the server will not take.

Called by the session. Invariant: a result that does not reach the server lies in a file, and the log says where.
"""

from pathlib import Path

import msgspec
import structlog

from devyard.provisioner.jobs.run import Result
from devyard.provisioner.link.lostresults import keep_lost_result
from devyard.provisioner.link.running import Running
from devyard.wire.provisionerlink import MAX_MESSAGE_BYTES, Failed, Job, Renew

log = structlog.get_logger()

_encode = msgspec.msgpack.Encoder().encode


def encode_fitting(message: msgspec.Struct, running: Running | None, lost_directory: Path) -> bytes:
    """The message as bytes; a result over the limit becomes a failure that says so, anything else is left out."""
    data = _encode(message)
    if len(data) <= MAX_MESSAGE_BYTES or running is None:
        return data
    size = f"{len(data) >> 20} MiB, {MAX_MESSAGE_BYTES >> 20} are allowed"
    log.error("message_too_large", kind=type(message).__name__, size=size)
    result = running.outbox.result
    if result is None or message is not result:
        return _encode(Renew(running.job.job_id, running.job.lease_id))
    keep_undelivered(lost_directory, running.job, result, "too large to be sent")
    return _encode(
        Failed(
            job_id=result.job_id,
            lease_id=result.lease_id,
            seq=result.seq,
            error=f"The job's result is too large to be stored: {size}.",
        )
    )


def keep_undelivered(directory: Path, job: Job, result: Result, why: str) -> None:
    """Writes down a result that the server will not get, and says where its state is."""
    path = keep_lost_result(directory, job, result, why)
    log.error("result_refused", job_id=str(job.job_id), why=why, state_kept_in=str(path) if path else "")
