"""A step on the terminal: what is being done, what came of it, how long it took, and its log only if it fails.

Called by the quickstart's run. Everything goes to stderr.
"""

import contextlib
import io
import sys
import time
from collections.abc import Iterator

import click

from devyard.cli.failures import CommandFailed


class Done:
    """Takes a step's result line."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, text: str) -> None:
        self.text = text


@contextlib.contextmanager
def step(text: str) -> Iterator[Done]:
    """Shows what is being done, then what came of it and how long it took."""
    is_terminal = sys.stderr.isatty()
    if is_terminal:
        click.echo(f"… {text}", nl=False, err=True)
    done = Done(text)
    began = time.monotonic()
    try:
        yield done
    except BaseException:
        if is_terminal:
            click.echo("", err=True)
        raise
    took = time.monotonic() - began
    click.echo(f"{chr(13) + chr(27) + '[K' if is_terminal else ''}✓ {done.text} ({took:.1f} s)", err=True)


@contextlib.contextmanager
def shown_on_failure() -> Iterator[io.StringIO]:
    """A place for a log that nobody needs unless something fails."""
    log = io.StringIO()
    try:
        yield log
    except CommandFailed:
        click.echo(f"\n{log.getvalue()}", err=True)
        raise
