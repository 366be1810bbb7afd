"""When scripts run: all start scripts side by side, stop scripts within a budget, cron scripts by the clock.

Owned by program.py, which turns the results into lifecycle states.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from devyard.agent.scripts.cron import CronError, parse_cron
from devyard.agent.scripts.runner import Outcome, ScriptRunner, Stage
from devyard.wire.agentlink import Script

log = logging.getLogger("devyard.agent.scripts")

StageResult = Literal["ok", "error", "timeout"]

STOP_BUDGET_S = 8.0
"""For stop scripts without a time limit of their own: containers are killed ten seconds after their SIGTERM."""
LONGEST_STOP_BUDGET_S = 600.0
MAX_CRON_WAIT_S = 3600.0


async def run_start_scripts(runner: ScriptRunner, scripts: Sequence[Script]) -> StageResult:
    """Runs the start scripts side by side; the worst result counts."""
    return await _run_all(runner, [script for script in scripts if script.run_on_start], "start")


async def run_stop_scripts(runner: ScriptRunner, scripts: Sequence[Script]) -> StageResult:
    """Runs the stop scripts side by side within their budget, and kills what is not done."""
    chosen = [script for script in scripts if script.run_on_stop]
    try:
        async with asyncio.timeout(stop_budget_s(chosen)):
            return await _run_all(runner, chosen, "stop")
    except TimeoutError:
        return "timeout"


def stop_budget_s(scripts: Sequence[Script]) -> float:
    """Seconds that the stop scripts may take together."""
    longest = max((float(script.timeout_s) for script in scripts), default=0.0)
    return min(max(longest + 3.0, STOP_BUDGET_S), LONGEST_STOP_BUDGET_S)


async def run_cron_scripts(runner: ScriptRunner, scripts: Sequence[Script]) -> None:
    """Runs the scripts with a schedule, each for itself, until cancelled."""
    chosen = [script for script in scripts if script.cron]
    await asyncio.gather(*(_run_cron(runner, script) for script in chosen))


async def _run_all(runner: ScriptRunner, scripts: Sequence[Script], stage: Stage) -> StageResult:
    tasks = [asyncio.ensure_future(runner.run(script, stage)) for script in scripts]
    try:
        outcomes = await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return worst_of(outcomes)


def worst_of(outcomes: Sequence[Outcome]) -> StageResult:
    """A failure outweighs a timeout, a timeout outweighs success."""
    statuses = {outcome.status for outcome in outcomes}
    if "exit_failure" in statuses:
        return "error"
    return "timeout" if "timed_out" in statuses else "ok"


async def _run_cron(runner: ScriptRunner, script: Script) -> None:
    try:
        schedule = parse_cron(script.cron)
    except CronError as error:
        log.error("The script %s has a malformed schedule and is not run: %s", script.display_name, error)
        return
    while True:
        now = datetime.now().astimezone()
        due = schedule.next_after(now)
        if due is None:
            log.warning("The schedule of the script %s never comes.", script.display_name)
            return
        # Sleeps are short, so that a clock that was set or a suspended machine is noticed.
        left_s = (due - now).total_seconds()
        if left_s > MAX_CRON_WAIT_S:
            await asyncio.sleep(MAX_CRON_WAIT_S)
            continue
        await asyncio.sleep(left_s)
        await runner.run(script, "cron")
