"""Entry point of `devyard`: answers `version` at once, hands everything else to a command loaded when used.

The console script and `python -m devyard` call `run`. Invariants: importing this file imports nothing but `sys`,
a command's module is imported only when that command runs, and no traceback reaches a user.
"""

import sys


def run() -> None:
    """The whole process: parse, run, and exit with the command's status."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "version":
        from devyard.cli.version import answer_quickly

        if answer_quickly(arguments[1:]):
            return
    from devyard.cli.root import run_command

    sys.exit(run_command(arguments))
