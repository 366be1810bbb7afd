"""Starts the agent's process: options from the environment, reaper, logging, event loop, exit code.

Called by cli/agent.py with flags, and by cli/main.py directly when there are none, as in an init script: the
time from start to connection is part of the time that a user waits for a workspace.
"""

import os
import sys

from devyard.agent.settings import SettingsError, read_settings

EXIT_USAGE = 2


def start_agent(
    *,
    url: str = "",
    token: str = "",
    token_file: str = "",
    log_dir: str = "/tmp",  # noqa: S108
    script_data_dir: str = "/tmp",  # noqa: S108
    log_level: str = "info",
    block_file_transfer: bool = False,
    is_reaping: bool = True,
) -> int:
    """Runs the agent to its end and returns the exit code; as process 1 it first splits off a reaper."""
    if os.getpid() == 1 and is_reaping:
        from devyard.agent.reaper import split_off_reaper

        split_off_reaper()
    try:
        settings = read_settings(
            os.environ,
            url=url,
            token=token,
            token_file=token_file,
            log_dir=log_dir,
            script_data_dir=script_data_dir,
            block_file_transfer=block_file_transfer,
        )
    except SettingsError as error:
        sys.stderr.write(f"devyard agent: {error}\n")
        return EXIT_USAGE
    import asyncio
    import logging

    from devyard.agent.program import Agent
    from devyard.runtime.scheduling import prefer_latency

    prefer_latency()

    logging.basicConfig(
        level=getattr(logging, log_level.upper()),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("asyncssh").setLevel(logging.ERROR)

    async def run() -> int:
        return await Agent(settings).run()

    return asyncio.run(run())
