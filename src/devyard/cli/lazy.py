"""Click groups whose commands are imported when they are used.

Called by root.py and by command families with subcommands. Invariant: help and completion of a group come from
its table, not from its commands' modules.
"""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Entry(NamedTuple):
    """A command's place (`module:attribute`), its line in the help, and its other names."""

    target: str
    summary: str
    aliases: tuple[str, ...] = ()
    is_factory: bool = False
    is_hidden: bool = False


class LazyGroup(click.Group):
    """A group over a table of entries; commands added the usual way are in it too."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = dict(entries or {})
        self._names = {alias: name for name, entry in self.entries.items() for alias in entry.aliases}

    def add_aliases(self, names: Mapping[str, str]) -> None:
        """Other names (alias → name) of commands that are in the group."""
        self._names.update(names)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, without aliases."""
        return sorted({*self.entries, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        name = self._names.get(cmd_name, cmd_name)
        entry = self.entries.get(name)
        if entry is None:
            return super().get_command(ctx, name)
        return load_command(name, entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As Click does, with the nearest names in the error."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            found = difflib.get_close_matches(args[0], [*self.list_commands(ctx), *self._names], n=3)
            near = list(dict.fromkeys(self._names.get(name, name) for name in found))[:2]
            if near:
                raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`."""
        rows = []
        for name in self.list_commands(ctx):
            entry = self.entries.get(name)
            if entry is None:
                command = self.commands[name]
                if not command.hidden:
                    rows.append((self._with_aliases(name), command.get_short_help_str(90)))
            elif not entry.is_hidden:
                rows.append((self._with_aliases(name), entry.summary))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _with_aliases(self, name: str) -> str:
        return ", ".join((name, *(alias for alias, target in self._names.items() if target == name)))


def load_command(name: str, entry: Entry) -> click.Command:
    """Imports a command. Raises click.ClickException where this installation lacks it."""
    module_name, _, attribute = entry.target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise click.ClickException(f"This installation has no `{name}` command.") from None
    found = getattr(module, attribute)
    command = found() if entry.is_factory else found
    assert isinstance(command, click.Command)
    return command
