import asyncio

import pytest

from devyard.provisioner.engine.lane import Lanes
from devyard.provisioner.engine.process import WorkerLost


class FakeLane:
    """A lane without processes."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.uses = 0
        self.is_alive = True
        self.is_closed = False

    async def wait_loaded(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        self.is_closed = True


class Factory:
    def __init__(self) -> None:
        self.made: list[FakeLane] = []
        self.fails = 0

    async def __call__(self) -> FakeLane:
        if self.fails:
            self.fails -= 1
            raise WorkerLost("no")
        self.made.append(FakeLane())
        return self.made[-1]

    @property
    def open_count(self) -> int:
        return sum(not lane.is_closed for lane in self.made)


def make(**values: float) -> tuple[Lanes, Factory]:
    factory = Factory()
    return Lanes(factory, **values), factory  # type: ignore[arg-type]


async def use(lanes: Lanes, key: str, **changes: object) -> FakeLane:
    lane = await lanes.take(key)
    for name, value in changes.items():
        setattr(lane, name, value)
    lanes.give_back(lane)
    for _ in range(5):
        await asyncio.sleep(0)
    return lane  # type: ignore[return-value]


async def test_the_same_key_gets_the_same_worker() -> None:
    lanes, factory = make()
    assert await use(lanes, "a") is await use(lanes, "a")
    assert factory.open_count == 2, "the other is fresh, for other third-party providers"
    await lanes.close()
    assert factory.open_count == 0


async def test_without_third_party_providers_one_is_enough() -> None:
    lanes, factory = make(idle_s=0)
    lane = await use(lanes, "")
    await asyncio.sleep(0.01)
    assert not lane.is_closed
    assert await use(lanes, "") is lane
    assert factory.open_count == 1
    await lanes.close()


async def test_another_key_gets_one_that_has_seen_nothing() -> None:
    lanes, factory = make()
    first = await use(lanes, "a")
    second = await use(lanes, "b")
    assert second is not first
    assert first.is_closed
    assert second.key == "b"
    assert factory.open_count == 2
    await lanes.close()


async def test_spoiled_and_worn_out_ones_are_discarded() -> None:
    lanes, factory = make(max_uses=2)
    spoiled = await use(lanes, "a", is_alive=False)
    assert spoiled.is_closed
    lane = await use(lanes, "a")
    assert not lane.is_closed
    assert await use(lanes, "a") is lane
    assert lane.is_closed
    assert factory.open_count == 1
    await lanes.close()


async def test_idle_ones_are_retired() -> None:
    lanes, factory = make(idle_s=0)
    lane = await use(lanes, "a")
    await asyncio.sleep(0.01)
    assert lane.is_closed
    assert factory.open_count == 1
    await lanes.close()


async def test_failed_start_is_tried_once_more_and_then_told() -> None:
    lanes, factory = make()
    factory.fails = 1
    lanes.prepare()
    await asyncio.sleep(0)
    assert (await lanes.take("a")).key == "a"
    factory.fails = 2
    with pytest.raises(WorkerLost):
        await lanes.take("b")
    await lanes.close()
