"""The pool of lanes for forms: how many there are, which are used again, when they end."""

import asyncio
from contextlib import AsyncExitStack

from devyard.provisioner.forms.lanes import FormLanes
from tests.unit.engine.test_lanes import Factory, FakeLane


def make(slots: int = 2, **values: float) -> tuple[FormLanes, Factory]:
    factory = Factory()
    return FormLanes(factory, slots, **values), factory  # type: ignore[arg-type]


async def use(lanes: FormLanes, key: str = "", **changes: object) -> FakeLane:
    async with lanes.lane(key) as lane:
        for name, value in changes.items():
            setattr(lane, name, value)
    await asyncio.sleep(0)
    return lane  # type: ignore[return-value]


async def test_a_warm_lane_is_used_again() -> None:
    lanes, factory = make()
    assert await use(lanes) is await use(lanes)
    assert len(factory.made) == 1
    await lanes.close()
    assert factory.open_count == 0


async def test_there_are_never_more_than_the_slots() -> None:
    lanes, factory = make(2)
    async with AsyncExitStack() as stack:
        for key in ("a", "b"):
            await stack.enter_async_context(lanes.lane(key))
        third = asyncio.create_task(use(lanes, "c"))
        await asyncio.sleep(0.01)
        assert not third.done()
        assert factory.open_count == 2
    await third
    assert factory.open_count == 2, "an idle one has made room"
    await lanes.close()
    assert factory.open_count == 0


async def test_spoiled_and_worn_ones_are_not_kept() -> None:
    lanes, _ = make(max_uses=2)
    spoiled = await use(lanes, is_alive=False)
    assert spoiled.is_closed
    lane = await use(lanes)
    assert await use(lanes) is lane
    assert lane.is_closed


async def test_an_idle_one_ends_after_a_while() -> None:
    lanes, _ = make(idle_s=0)
    lane = await use(lanes)
    await asyncio.sleep(0.01)
    assert lane.is_closed
    assert await use(lanes) is not lane
    await lanes.close()
