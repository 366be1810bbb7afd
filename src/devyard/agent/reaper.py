"""Process 1 of a container: starts the agent as a child, passes signals on, and reaps orphans.

Called by cli/agent.py before anything else is imported, so that the process that stays is small. Without it
every process whose parent has died would stay a zombie.
"""

import os
import signal
from types import FrameType

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def split_off_reaper() -> None:
    """Returns in a child process, which is to be the agent; the parent stays here until that child ends."""
    child = os.fork()
    if child == 0:
        return
    _reap_until(child)


def _reap_until(child: int) -> None:
    def pass_on(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(1)
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
