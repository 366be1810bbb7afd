"""Entry point of `devyard`: answers `version` at once, hands everything else to a command loaded when used.

The console script and `python -m devyard` call `run`. Invariants: importing this file imports nothing but `sys`,
a command's module is imported only when that command runs, and no traceback reaches a user.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def run() -> None:
    """The whole process: parse, run, and exit with the command's status."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "version":
        from devyard.cli.version import answer_quickly

        if answer_quickly(arguments[1:]):
            return
    if arguments == ["agent"]:  # what a workspace's init script runs: a user is waiting for it
        from devyard.agent.start import start_agent

        end_process(start_agent())
    from devyard.cli.root import run_command

    end_process(run_command(arguments))


def end_process(status: int) -> "NoReturn":
    """Ends at once: taking the interpreter down object by object costs a short command a tenth of its time."""
    import os

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # nobody reads any more, or there is no stream
            pass
    os._exit(status)
