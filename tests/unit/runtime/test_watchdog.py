"""The watchdog names the code that blocks the loop, once per stall."""

import asyncio
import time

from devyard.runtime.watchdog import Watchdog


def block_the_loop(seconds):
    time.sleep(seconds)


async def test_a_stall_names_the_blocking_function():
    stalls = []
    watchdog = Watchdog(stalls.append, report_interval_s=0.0)
    watchdog.start()
    await asyncio.sleep(0.06)
    block_the_loop(0.4)
    await asyncio.sleep(0.06)
    watchdog.stop()
    assert len(stalls) == 1
    assert "block_the_loop" in stalls[0].where
    assert "test_watchdog.py" in stalls[0].where
    assert 0.1 <= stalls[0].blocked_s < 0.4
    assert any("test_a_stall" in line for line in stalls[0].stack)


async def test_reports_are_rate_limited_and_a_free_loop_is_quiet():
    stalls = []
    watchdog = Watchdog(stalls.append, report_interval_s=60.0)
    watchdog.start()
    await asyncio.sleep(0.2)
    assert stalls == []
    for _ in range(2):
        block_the_loop(0.25)
        await asyncio.sleep(0.06)
    watchdog.stop()
    assert len(stalls) == 1
