"""Lists and objects on stdout: aligned text for people, JSON for programs.

Called by every command that lists. Invariants: JSON is what the server sent, nothing left out; text goes to any
terminal as plain lines, so that pipes and screen readers get what people see.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import click
import msgspec

Row = TypeVar("Row")


class Column(msgspec.Struct, Generic[Row], frozen=True):
    """A column: its title, how a row fills it, and whether it is shown when nobody chose."""

    title: str
    text: Callable[[Row], str]
    is_default: bool = True


class Listing(msgspec.Struct, Generic[Row], frozen=True):
    """What `-o` and `--column` chose for one list."""

    columns: Sequence[Column[Row]]
    is_json: bool

    def show(self, rows: Sequence[Row], raw: Callable[[], bytes], empty: str = "") -> None:
        """Prints rows, or the JSON that `raw` gives. `empty` is said on stderr when there is nothing."""
        if self.is_json:
            print_json(raw())
        elif rows:
            sys.stdout.write(render_table([c.title for c in self.columns], self._cells(rows), sys.stdout.isatty()))
        elif empty:
            click.echo(empty, err=True)

    def refined(self, column: Column[Row], text: Callable[[Row], str]) -> "Listing[Row]":
        """The same with one column filled by what is known only now."""
        columns = [Column(c.title, text, c.is_default) if c is column else c for c in self.columns]
        return Listing(columns, self.is_json)

    def _cells(self, rows: Sequence[Row]) -> list[list[str]]:
        return [[column.text(row) for column in self.columns] for row in rows]


def list_options(columns: Sequence[Column[Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `-o/--output` and `-c/--column`; the command gets a `listing`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        titles = ", ".join(column.title for column in columns)

        @functools.wraps(function)
        def with_listing(*args: Any, output: str, column: tuple[str, ...], **kwargs: Any) -> Any:
            listing = Listing(choose_columns(columns, column), output == "json")
            return function(*args, listing=listing, **kwargs)

        chosen = click.option("-c", "--column", multiple=True, metavar="NAMES", help=f"Columns to show: {titles}.")
        kind = click.option(
            "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Output format."
        )
        return kind(chosen(with_listing))

    return decorate


def choose_columns(columns: Sequence[Column[Row]], chosen: Sequence[str]) -> list[Column[Row]]:
    """The columns named (in that order, comma lists allowed), or the default ones."""
    names = [name.strip().lower() for part in chosen for name in part.split(",") if name.strip()]
    if not names:
        return [column for column in columns if column.is_default]
    by_title = {column.title.lower(): column for column in columns}
    unknown = [name for name in names if name not in by_title]
    if unknown:
        raise click.UsageError(f"There is no column {unknown[0]!r}; there are: {', '.join(by_title)}.")
    return [by_title[name] for name in names]


def render_table(titles: Sequence[str], rows: Sequence[Sequence[str]], is_terminal: bool = False) -> str:
    """Aligned lines under upper-case titles, two blanks between columns."""
    cells = [[title.upper() for title in titles], *[[plain(cell) for cell in row] for row in rows]]
    widths = [max(len(row[index]) for row in cells) for index in range(len(titles))]
    lines = []
    for number, row in enumerate(cells):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        lines.append(f"\x1b[1m{line}\x1b[0m" if number == 0 and is_terminal else line)
    return "\n".join(lines) + "\n"


def render_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """`name  value` lines, aligned."""
    width = max((len(name) for name, _ in pairs), default=0)
    return "".join(f"{name.ljust(width)}  {plain(value)}".rstrip() + "\n" for name, value in pairs)


def print_json(data: bytes) -> None:
    """JSON from the server, indented."""
    sys.stdout.write(msgspec.json.format(data, indent=2).decode() + "\n")


def to_json(value: object) -> bytes:
    """A value of ours as JSON."""
    return msgspec.json.encode(value)


def note(text: str) -> None:
    """Something for the person, not for the pipe."""
    click.echo(text, err=True)


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """`3m ago`, `in 2h`, `never` for the zero time."""
    if moment is None or moment.year <= 1:
        return "never"
    passed = ((now or datetime.now(UTC)) - moment).total_seconds()
    if abs(passed) < 5:
        return "now"
    text = short_duration(timedelta(seconds=abs(passed)))
    return f"{text} ago" if passed > 0 else f"in {text}"


def short_duration(duration: timedelta) -> str:
    """The two largest units of a duration, without zeros: `2d3h`, `5m`, `12s`."""
    seconds = int(duration.total_seconds())
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return "".join(parts[:2]) or "0s"


def yes_no(value: bool) -> str:
    """A boolean for a table."""
    return "yes" if value else "no"


def plain(text: str) -> str:
    """One line without control characters: names come from other people."""
    return "".join(character if character.isprintable() else " " for character in text)
