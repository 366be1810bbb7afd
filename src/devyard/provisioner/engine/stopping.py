"""How a job is stopped: asked first, forced later.

The session asks, lanes act on it, jobs look at it when Terraform has ended. A stop never turns back.
"""

import asyncio


class Stop:
    """The wish to end a job.

    `grace_s`: from the first interrupt to the second, unless forced; `last_s`: to the kill. `reason`: why, in a
    sentence, where it was not a person's wish for this job; `is_failure`: it then counts as failed, not canceled.
    """

    def __init__(self, grace_s: float = 30, last_s: float = 2) -> None:
        self.grace_s = grace_s
        self.last_s = last_s
        self.reason = ""
        self.is_failure = False
        self._requested = asyncio.Event()
        self._forced = asyncio.Event()

    @property
    def is_requested(self) -> bool:
        """Somebody wants the job to end."""
        return self._requested.is_set()

    def request(self, *, force: bool = False) -> None:
        """Ends the job: with its state saved, or at once with `force`."""
        self._requested.set()
        if force:
            self._forced.set()

    def end(self, reason: str) -> None:
        """Ends the job because of itself: it has failed, with this reason. A cancel that came before stays one."""
        if not self.is_requested:
            self.reason, self.is_failure = reason, True
        self.request()

    async def wait_requested(self) -> None:
        """Returns once somebody wants the job to end."""
        await self._requested.wait()

    async def wait_forced(self, timeout_s: float) -> bool:
        """Whether force was asked for within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._forced.wait()
        except TimeoutError:
            return False
        return True


class Stopped(Exception):
    """The job ended because somebody asked for it."""
