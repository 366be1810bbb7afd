"""A job that was taken: how to stop it, what it has to tell, and the link that it sees.

Made by the session, seen by jobs as their `JobLink`.
"""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.link.downloads import Download
from devyard.provisioner.link.outbox import Outbox
from devyard.provisioner.link.packages import PackageLink, Prepare
from devyard.provisioner.link.records import JobRecord
from devyard.wire.provisionerlink import Archive, Job, JobLogLine
from devyard.wire.provisionerpackages import Package


class Running:
    """A job with its outbox. `wake` tells the session that there is something to send."""

    def __init__(
        self,
        job: Job,
        record: JobRecord,
        wake: Callable[[], None],
        request_file: Callable[[UUID], None],
        packages: PackageLink,
    ) -> None:
        self.job = job
        self.record = record
        self.stop = Stop()
        self.outbox = Outbox(job.job_id, job.lease_id)
        self.download: Download | None = None
        self.is_lease_lost = False
        self._wake = wake
        self._request_file = request_file
        self._packages = packages

    def send_log(self, line: JobLogLine) -> None:
        """Queues a line of the log."""
        self.outbox.add_line(line)
        self._wake()

    def save_state(self, state: bytes) -> None:
        """Queues a newer state."""
        self.outbox.save_state(state)
        self._wake()

    def keep_state(self, state: bytes) -> None:
        """Writes a newer state where the next provisioner finds it. Blocks for the time of a small file."""
        self.record.keep_state(state)

    def report_in_flight(
        self, creating: tuple[str, ...], destroying: tuple[str, ...], planned: tuple[str, ...]
    ) -> None:
        """Queues what is being made and removed, and notes it for the next provisioner."""
        self.outbox.report_in_flight(creating, destroying, planned)
        self.record.note_in_flight((*creating, *planned))
        self._wake()

    async def fetch(self, archive: Archive, target: Path) -> None:
        """Downloads the template. Raises ArchiveError."""
        self.download = Download(archive, target)
        self._request_file(archive.file_id)
        try:
            await self.download.wait()
        finally:
            self.download = None

    async def fetch_package(self, package: Package, target: Path) -> None:
        """Downloads a package. Raises ArchiveError."""
        await self._packages.fetch(package, target)

    async def offer_package(self, package: Package, prepare: Prepare) -> str:
        """Brings a package to the server; why it was not taken, or nothing."""
        return await self._packages.offer(self.job.job_id, self.job.lease_id, package, prepare)
