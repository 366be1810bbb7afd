"""`devyard templates init`: a directory with a starter template."""

import shutil
from pathlib import Path

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.nearby import hint_nearest
from devyard.cli.output import note
from devyard.cli.settings import Settings
from devyard.runtime.starters import find_starters, read_starter


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path), default=None, required=False)
@click.option("--id", "starter", default="", help="Which starter template.")
@click.option("--list", "lists", is_flag=True, help="List the starter templates.")
@click.pass_obj
def init(settings: Settings, directory: Path | None, starter: str, lists: bool) -> None:
    """Make a directory with a starter template."""
    starters = find_starters()
    if lists:
        for name, path in starters.items():
            click.echo(f"{name}  {read_starter(name, path).description}".rstrip())
        return
    starter = starter or _choose(starters, asks=settings.is_terminal)
    if starter not in starters:
        known = ", ".join(starters) or "(none here)"
        raise CommandFailed(
            f"There is no starter template {starter!r}.{hint_nearest(starter, starters)} There are: {known}."
        )
    target = directory or Path(starter)
    if target.exists() and not target.is_dir():
        raise CommandFailed(f"{target} is a file. Choose a new directory.")
    if target.exists() and any(target.iterdir()):
        raise CommandFailed(f"{target} is not empty. Choose a new directory.")
    shutil.copytree(starters[starter], target, dirs_exist_ok=True)
    note(f"Made {target}. Change it as you like, then: devyard templates push {starter} -d {target}")


def _choose(starters: dict[str, Path], *, asks: bool) -> str:
    if len(starters) == 1:
        return next(iter(starters))
    if not asks or not starters:
        raise CommandFailed(
            f"Which starter template? Add --id with one of: {', '.join(starters) or '(none here)'}."
        )
    for name, path in starters.items():
        note(f"  {name}  {read_starter(name, path).description}".rstrip())
    return str(click.prompt("Starter template", type=click.Choice(list(starters)), show_choices=False, err=True))
