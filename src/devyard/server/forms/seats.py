"""The provisioners connected to this process, as far as they work out forms: who is free, who was asked what.

Filled by the provisioners' connections, used by routing.py. No database, no clock. Invariants: a provisioner never
has more than its slots; a slot is free again when the provisioner has answered, not when the asker gave up.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from devyard.server.jobs.rules import can_run
from devyard.wire.errors import RateLimited
from devyard.wire.provisionerforms import FormAnswer
from devyard.wire.provisionerlink import FormRequest

MAX_SLOTS = 16
MAX_KNOWN = 64
FORGET_S = 60.0
"""A provisioner answers within half of it; one that does not gets its slot back then."""

MAX_AT_ONCE = 200
MAX_AT_ONCE_PER_USER = 8
MAX_OPEN_PER_USER = 40


class SeatGone(Exception):
    """The provisioner's connection ended before it answered."""


class FormSeat:
    """One connected provisioner. `send` gives it a request."""

    def __init__(
        self,
        organization_id: UUID,
        tags: Mapping[str, str],
        slots: int,
        send: Callable[[FormRequest], Awaitable[None]],
    ) -> None:
        self.organization_id = organization_id
        self.tags = tags
        self._slots = min(slots, MAX_SLOTS)
        self._send = send
        self._asked: dict[UUID, tuple[UUID, asyncio.Future[FormAnswer]]] = {}
        self._timers: dict[UUID, asyncio.TimerHandle] = {}
        self._known: OrderedDict[UUID, None] = OrderedDict()
        self._reserved = 0
        self._is_closed = False
        self.on_free: Callable[[], None] = lambda: None

    @property
    def free(self) -> int:
        """How many more forms it takes."""
        return 0 if self._is_closed else self._slots - len(self._asked) - self._reserved

    def knows(self, version_id: UUID) -> bool:
        """Whether it has worked out a form of this version, and so has it prepared, as far as one can tell."""
        return version_id in self._known

    def needs_file(self, file_id: UUID) -> bool:
        """Whether a form that it works out is of this file."""
        return any(file_id == wanted for wanted, _ in self._asked.values())

    def reserve(self) -> None:
        """Keeps a slot while something is looked for to fill it; `release` ends that."""
        self._reserved += 1

    def release(self) -> None:
        """The slot is free, or taken by an `ask` that follows at once."""
        self._reserved -= 1

    async def ask(self, request: FormRequest) -> FormAnswer:
        """The answer. The slot is taken before this first waits. Raises SeatGone."""
        future: asyncio.Future[FormAnswer] = asyncio.get_running_loop().create_future()
        self._asked[request.request_id] = (request.archive.file_id, future)
        timer = asyncio.get_running_loop().call_later(FORGET_S, self._forget, request.request_id)
        self._timers[request.request_id] = timer
        self._known[request.template_version_id] = None
        self._known.move_to_end(request.template_version_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        try:
            await self._send(request)
        except BaseException as error:
            self._forget(request.request_id)
            if isinstance(error, Exception):
                raise SeatGone from error
            raise
        return await future

    def take(self, answer: FormAnswer) -> bool:
        """An answer has come; False where nobody waits for it any more."""
        future = self._forget(answer.request_id)
        is_wanted = future is not None and not future.done()
        if future is not None and is_wanted:
            future.set_result(answer)
        self.on_free()
        return is_wanted

    def close(self) -> None:
        """The connection has ended."""
        self._is_closed = True
        for request_id in list(self._asked):
            future = self._forget(request_id)
            if future is not None and not future.done():
                future.set_exception(SeatGone())

    def _forget(self, request_id: UUID) -> asyncio.Future[FormAnswer] | None:
        if timer := self._timers.pop(request_id, None):
            timer.cancel()
        return self._asked.pop(request_id, (None, None))[1]


class FormSeats:
    """All seats of this process, and how much its users ask at once."""

    def __init__(self) -> None:
        self._seats: set[FormSeat] = set()
        self._users: Counter[UUID] = Counter()
        self._open: Counter[UUID] = Counter()
        self.has_backlog = False
        self.on_backlog: Callable[[], None] = lambda: None
        """Called when a slot gets free while others may wait in the database."""

    def __iter__(self) -> Iterator[FormSeat]:
        return iter(list(self._seats))

    def add(self, seat: FormSeat) -> None:
        """A provisioner is there."""
        seat.on_free = self._slot_freed
        self._seats.add(seat)
        self.on_backlog()

    def remove(self, seat: FormSeat) -> None:
        """It has gone; who waits for it is told."""
        self._seats.discard(seat)
        seat.close()

    def pick(self, organization_id: UUID, tags: Mapping[str, str], version_id: UUID) -> FormSeat | None:
        """A seat that may take a form with these tags: one that has the version prepared, then one with room."""
        fitting = [
            seat
            for seat in self._seats
            if seat.free > 0 and seat.organization_id == organization_id and can_run(tags, seat.tags)
        ]
        return max(fitting, key=lambda seat: (seat.knows(version_id), seat.free), default=None)

    @contextmanager
    def opened(self, user_id: UUID) -> Iterator[None]:
        """Counts a user's open form while it is. Raises RateLimited: there are too many."""
        with _count(self._open, user_id, MAX_OPEN_PER_USER):
            yield

    @contextmanager
    def counted(self, user_id: UUID) -> Iterator[None]:
        """Counts an evaluation of a user while it lasts. Raises RateLimited: there are too many at once."""
        if self._users.total() >= MAX_AT_ONCE:
            raise RateLimited("Too many forms are worked out at once. Wait a moment, then try again.")
        with _count(self._users, user_id, MAX_AT_ONCE_PER_USER):
            yield

    def _slot_freed(self) -> None:
        if self.has_backlog:
            self.on_backlog()


@contextmanager
def _count(counter: Counter[UUID], user_id: UUID, limit: int) -> Iterator[None]:
    if counter[user_id] >= limit:
        raise RateLimited("You have too many forms open at once. Close some, or wait a moment.")
    counter[user_id] += 1
    try:
        yield
    finally:
        counter[user_id] -= 1
        if not counter[user_id]:
            del counter[user_id]
