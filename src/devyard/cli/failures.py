"""What a user sees when a command fails, and the process's exit status.

Called by root.py alone. Invariant: one sentence or a few on stderr that say what happened and what to do, never
a traceback; the details of a defect go to a file that the message names. Secrets are not in either.
"""

import os
import sys

import click

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class CommandFailed(Exception):
    """A command ends with a message of its own and a status."""

    def __init__(self, message: str, status: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.status = status


def report_failure(error: BaseException, *, is_verbose: bool = False) -> int:
    """Says what happened on stderr; the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_FAILURE
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        _say("")
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return _end_quietly()
    if isinstance(error, click.ClickException):
        _say_usage(error)
        return error.exit_code
    if isinstance(error, CommandFailed):
        if str(error):
            _say(str(error))
        return error.status
    return _report_refusal(error, is_verbose=is_verbose)


def _report_refusal(error: BaseException, *, is_verbose: bool) -> int:
    from devyard.wire.errors import AppError, NotFound, Unauthenticated

    if isinstance(error, AppError):
        message = str(error)
        if isinstance(error, NotFound) and message == str(NotFound()):
            message = (
                "There is no such thing here, or your roles do not let you see it. Who you are: devyard whoami"
            )
        if isinstance(error, Unauthenticated) and "devyard login" not in message:
            message += "\nSign in with: devyard login"
        if error.request_id and (is_verbose or error.status >= 500):
            message += f"\nThe server's log has more under request {error.request_id}."
        _say(message)
        return EXIT_FAILURE
    if isinstance(error, OSError):
        _say(f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}.")
        if is_verbose:
            _say(_write_details(error))
        return EXIT_FAILURE
    _say(f"Something went wrong that should not have: {type(error).__name__}: {error}")
    _say(_write_details(error))
    return EXIT_FAILURE


def _say_usage(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _say(error.format_message())  # the whole help is the message
    elif isinstance(error, click.UsageError) and error.ctx is not None:
        _say(f"{error.format_message()}\nSee: {error.ctx.command_path} --help")
    else:
        _say(error.format_message())


def _end_quietly() -> int:
    """The reader of our output has gone, as `| head` does: nobody is there to tell."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    return EXIT_FAILURE


def _write_details(error: BaseException) -> str:
    import tempfile
    import traceback

    try:
        descriptor, path = tempfile.mkstemp(prefix="devyard-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError as failure:
        return f"The details could not be written: {failure}."
    return f"The details are in {path}; please send them with a report."


def _say(text: str) -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        pass
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
