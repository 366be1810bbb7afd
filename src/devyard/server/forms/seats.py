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
MAX_AT_ONCE = 200
MAX_AT_ONCE_PER_USER = 8


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
        self._known[request.template_version_id] = None
        self._known.move_to_end(request.template_version_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        try:
            await self._send(request)
        except Exception as error:
            self._asked.pop(request.request_id, None)
            raise SeatGone from error
        return await future

    def take(self, answer: FormAnswer) -> bool:
        """An answer has come; False where nothing like it was asked for."""
        _, future = self._asked.pop(answer.request_id, (None, None))
        if future is None:
            return False
        if not future.done():
            future.set_result(answer)
        self.on_free()
        return True

    def close(self) -> None:
        """The connection has ended."""
        self._is_closed = True
        for _, future in self._asked.values():
            if not future.done():
                future.set_exception(SeatGone())
        self._asked.clear()


class FormSeats:
    """All seats of this process, and how much its users ask at once."""

    def __init__(self) -> None:
        self._seats: set[FormSeat] = set()
        self._users: Counter[UUID] = Counter()
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
    def counted(self, user_id: UUID) -> Iterator[None]:
        """Counts an evaluation of a user while it lasts. Raises RateLimited: there are too many at once."""
        if self._users[user_id] >= MAX_AT_ONCE_PER_USER or self._users.total() >= MAX_AT_ONCE:
            raise RateLimited("Too many forms are worked out at once. Wait a moment, then try again.")
        self._users[user_id] += 1
        try:
            yield
        finally:
            self._users[user_id] -= 1
            if not self._users[user_id]:
                del self._users[user_id]

    def _slot_freed(self) -> None:
        if self.has_backlog:
            self.on_backlog()
