"""Questions on a terminal. Asked on stderr, so that stdout stays for results."""

import click

from devyard.cli.failures import CommandFailed


def ask(question: str, default: str = "") -> str:
    """A line of text, not empty."""
    answer = click.prompt(question, default=default or None, err=True)
    return str(answer).strip()


def ask_secret(question: str) -> str:
    """A line that is not shown."""
    return str(click.prompt(question, hide_input=True, err=True))


def confirm(question: str, *, default: bool = False) -> None:
    """Goes on only after a yes. Raises CommandFailed."""
    if not click.confirm(question, default=default, err=True):
        raise CommandFailed("Nothing was changed.")


def require_yes(question: str, *, yes: bool, is_terminal: bool) -> None:
    """For what can't be undone: `--yes`, or a yes on a terminal. Raises CommandFailed."""
    if yes:
        return
    if not is_terminal:
        raise CommandFailed(f"{question} Say so with --yes.")
    confirm(question)
