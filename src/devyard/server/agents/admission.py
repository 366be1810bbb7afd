"""Who an agent is, by the SHA-256 of its token; dials that come before their build has ended are held.

Called by the guard of the agents' routes. All undecided dials of the process are decided together, by one
statement, when one arrives, when the topic `agents` is woken, and every few seconds. Invariant: at most MAX_HELD
dials wait, none longer than HOLD_S.
"""

import asyncio
import hashlib

import structlog

from devyard.server.agents import queries
from devyard.server.agents.rules import Admission, TokenHolder, decide_admission
from devyard.server.db.wakeups import wait_for
from devyard.server.services import Services
from devyard.wire.errors import AppError, Forbidden, Unauthenticated, Unavailable

log = structlog.get_logger("agents")

HOLD_S = 60.0
MAX_HELD = 5000
POLL_S = 2.0
PAUSE_S = 0.01


class Admissions:
    """Decides dials; `run` decides the waiting ones for ever."""

    def __init__(self, services: Services, *, hold_s: float = HOLD_S, max_held: int = MAX_HELD) -> None:
        self._services = services
        self._hold_s = hold_s
        self._max_held = max_held
        self._waiting: dict[bytes, list[asyncio.Future[TokenHolder]]] = {}
        self._count = 0

    @property
    def held(self) -> int:
        """How many dials wait."""
        return self._count

    async def admit(self, token: str, *, can_wait: bool) -> TokenHolder:
        """The agent of a token, once it may come in.

        Raises:
            Unauthenticated: no agent has the token. Forbidden: its build is not the latest. Unavailable: the
                build takes longer than a dial can wait, or too many wait.
        """
        token_hash = hashlib.sha256(token.encode()).digest()
        holder, admission = await self._look_up(token_hash)
        if admission.verdict == "admit" and holder is not None:
            return holder
        if admission.verdict == "hold" and can_wait:
            return await self._wait(token_hash)
        raise _refusal(admission)

    async def run(self) -> None:
        """Decide the waiting dials whenever a build has ended."""
        with self._services.wakeups.waiter("agents") as event:
            while True:
                await wait_for(event, POLL_S)
                try:
                    await self.decide_waiting()
                except Exception:
                    log.exception("waiting agents could not be looked up")
                await asyncio.sleep(PAUSE_S)

    async def decide_waiting(self) -> None:
        """One look at all that wait."""
        hashes = list(self._waiting)
        if not hashes:
            return
        holders, is_active = await queries.list_token_holders(self._services.pool, hashes)
        for token_hash in hashes:
            holder = holders.get(token_hash)
            admission = decide_admission(holder, is_any_build_active=is_active)
            if admission.verdict == "hold":
                continue
            for future in self._waiting.pop(token_hash, []):
                if future.done():
                    continue
                if admission.verdict == "admit" and holder is not None:
                    future.set_result(holder)
                else:
                    future.set_exception(_refusal(admission))

    async def _look_up(self, token_hash: bytes) -> tuple[TokenHolder | None, Admission]:
        holders, is_active = await queries.list_token_holders(self._services.pool, [token_hash])
        holder = holders.get(token_hash)
        return holder, decide_admission(holder, is_any_build_active=is_active)

    async def _wait(self, token_hash: bytes) -> TokenHolder:
        if self._count >= self._max_held:
            raise Unavailable("Too many agents wait for their builds; dial again in a moment.")
        future: asyncio.Future[TokenHolder] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(token_hash, []).append(future)
        self._count += 1
        try:
            holder, admission = await self._look_up(token_hash)
            if admission.verdict == "admit" and holder is not None:
                return holder
            async with asyncio.timeout(self._hold_s):
                return await future
        except TimeoutError:
            raise Unavailable("The build that makes this agent is still under way; dial again.") from None
        finally:
            self._count -= 1
            waiting = self._waiting.get(token_hash, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(token_hash, None)


def _refusal(admission: Admission) -> AppError:
    if admission.verdict == "hold":
        return Unauthenticated("The build that makes this agent is still under way.")
    return Forbidden(admission.message) if admission.status == 403 else Unauthenticated(admission.message)
