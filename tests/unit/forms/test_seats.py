"""Who is asked for a form, and what happens when they go."""

import asyncio
from uuid import UUID, uuid4

import pytest

from devyard.server.forms.seats import MAX_AT_ONCE_PER_USER, FormSeat, FormSeats, SeatGone
from devyard.wire.errors import RateLimited
from devyard.wire.provisionerforms import FormAnswer
from devyard.wire.provisionerlink import Archive, FormRequest, WorkspaceContext

ORGANIZATION = UUID(int=1)


def request(version: UUID | None = None) -> FormRequest:
    return FormRequest(
        request_id=uuid4(),
        template_version_id=version or uuid4(),
        archive=Archive(uuid4(), "0" * 64, 1),
        context=WorkspaceContext(access_url="http://test"),
        parameters={},
    )


class Provisioner:
    """A seat and what was sent to it."""

    def __init__(self, slots: int = 1, tags: dict[str, str] | None = None) -> None:
        self.sent: list[FormRequest] = []
        self.seat = FormSeat(ORGANIZATION, tags or {}, slots, self._send)

    async def _send(self, request: FormRequest) -> None:
        self.sent.append(request)


async def begin(seat: FormSeat, asked: FormRequest) -> asyncio.Task[FormAnswer]:
    task = asyncio.create_task(seat.ask(asked))
    await asyncio.sleep(0)
    return task


async def test_a_slot_is_taken_until_the_answer_comes() -> None:
    provisioner = Provisioner()
    asked = request()
    task = await begin(provisioner.seat, asked)
    assert provisioner.seat.free == 0
    assert provisioner.seat.needs_file(asked.archive.file_id)
    task.cancel()  # whoever asked has gone
    await asyncio.wait([task])
    assert provisioner.seat.free == 0
    assert not provisioner.seat.take(FormAnswer(request_id=asked.request_id))
    assert provisioner.seat.free == 1
    assert not provisioner.seat.needs_file(asked.archive.file_id)
    assert not provisioner.seat.take(FormAnswer(request_id=asked.request_id))


async def test_a_lost_connection_tells_who_waits() -> None:
    seats, provisioner = FormSeats(), Provisioner()
    seats.add(provisioner.seat)
    task = await begin(provisioner.seat, request())
    seats.remove(provisioner.seat)
    with pytest.raises(SeatGone):
        await task
    assert provisioner.seat.free == 0
    assert seats.pick(ORGANIZATION, {}, uuid4()) is None


async def test_whom_a_form_goes_to() -> None:
    seats, version = FormSeats(), uuid4()
    small, large, tagged = Provisioner(1), Provisioner(3), Provisioner(9, {"gpu": "yes"})
    for provisioner in (small, large, tagged):
        seats.add(provisioner.seat)
    assert seats.pick(ORGANIZATION, {}, version) is large.seat
    assert seats.pick(ORGANIZATION, {"gpu": "yes"}, version) is tagged.seat
    assert seats.pick(UUID(int=2), {}, version) is None
    asked = request(version)
    task = await begin(small.seat, asked)
    assert seats.pick(ORGANIZATION, {}, version) is large.seat  # the small one is busy
    small.seat.take(FormAnswer(request_id=asked.request_id))
    await task
    assert seats.pick(ORGANIZATION, {}, version) is small.seat  # and now prepared


async def test_a_reserved_slot_is_nobody_elses() -> None:
    seats, provisioner = FormSeats(), Provisioner()
    seats.add(provisioner.seat)
    provisioner.seat.reserve()
    assert seats.pick(ORGANIZATION, {}, uuid4()) is None
    provisioner.seat.release()
    assert seats.pick(ORGANIZATION, {}, uuid4()) is provisioner.seat


async def test_a_free_slot_is_told_to_those_who_wait_in_the_database() -> None:
    seats, provisioner, woken = FormSeats(), Provisioner(), []
    seats.add(provisioner.seat)
    seats.on_backlog = lambda: woken.append(1)
    for has_backlog in (False, True):
        seats.has_backlog = has_backlog
        asked = request()
        task = await begin(provisioner.seat, asked)
        provisioner.seat.take(FormAnswer(request_id=asked.request_id))
        await task
        assert len(woken) == int(has_backlog)


def test_one_user_does_not_take_all() -> None:
    seats, user = FormSeats(), uuid4()
    contexts = [seats.counted(user) for _ in range(MAX_AT_ONCE_PER_USER)]
    for context in contexts:
        context.__enter__()
    with pytest.raises(RateLimited), seats.counted(user):
        pass
    with seats.counted(uuid4()):
        pass
    contexts[0].__exit__(None, None, None)
    with seats.counted(user):
        pass
