"""`devyard server encryption`: which keys the database is sealed with, and a new one in their place.

Speaks to the database, not to the API: by --postgres-url, or to the running embedded one of --data-dir.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import click
import msgspec

from devyard.cli.output import print_json, render_table
from devyard.server.db.pool import keyring_of
from devyard.server.encryption import rotation
from devyard.server.options import OptionError
from devyard.server.processes.postgres import find_running_url
from devyard.server.processes.serverapp import StartRefused
from devyard.server.settings import ServerSettings, load_settings

_FLAGS = (
    ("--data-dir", "Data directory of the server."),
    ("--postgres-url", "The server's database, where it is not the embedded one."),
    ("--encryption-keys-file", "File of the keys, where it is not encryption.keys in the data directory."),
    ("--config", "The server's YAML file."),
)


def _where(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag, text in reversed(_FLAGS):
        command = click.option(flag, metavar="VALUE", help=text)(command)
    return command


@click.group()
def encryption() -> None:
    """Keys that secrets in the database are sealed with."""


@encryption.command()
@_where
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def status(ctx: click.Context, /, output: str, **flags: str | None) -> None:
    """Show the keys by their ids, and how many values each seals."""

    async def show(pool: asyncpg.Pool, settings: ServerSettings) -> None:
        found = await rotation.read_status(pool)
        if output == "json":
            print_json(msgspec.json.encode(found))
            return
        rows = [
            [key.id, "seals" if key.is_writer else "opens" if key.is_here else "missing", str(key.values)]
            for key in found.keys
        ]
        sys.stdout.write(render_table(["key", "use", "values"], rows, sys.stdout.isatty()))
        if found.plain_values:
            click.echo(f"{found.plain_values} values are not sealed yet; a running server does it by itself.")

    _run(ctx, flags, show)


@encryption.command()
@_where
@click.option("--drop-old", is_flag=True, help="Remove the old keys once nothing is sealed with them any more.")
@click.pass_context
def rotate(ctx: click.Context, /, drop_old: bool, **flags: str | None) -> None:
    """Make a new key and seal every secret with it, while the server runs.

    Can be stopped and run again. With keys from DEVYARD_ENCRYPTION_KEYS put the new key in front there first.
    """

    async def work(pool: asyncpg.Pool, settings: ServerSettings) -> None:
        known_before = keyring_of(pool).ids
        is_done = drop_old and len(known_before) > 1 and (await rotation.read_status(pool)).is_complete
        if not is_done:
            await rotation.rotate(pool, settings, click.echo)
        if drop_old:
            await rotation.drop_old(pool, settings, click.echo)

    _run(ctx, flags, work)


def _run(
    ctx: click.Context,
    flags: dict[str, str | None],
    work: Callable[[asyncpg.Pool, ServerSettings], Awaitable[None]],
) -> None:
    server = ctx.parent.parent if ctx.parent else None
    given = {
        **(server.params if server else {}),
        **{name: value for name, value in flags.items() if value is not None},
    }
    try:
        settings = load_settings(given, os.environ).settings
        url = settings.postgres_url or find_running_url(settings.data_dir / "postgres")
        if url is None:
            raise click.ClickException(
                f"No database runs in {settings.data_dir}. Start the server, or name its --postgres-url."
            )
        asyncio.run(_with_pool(msgspec.structs.replace(settings, postgres_url=url), work))
    except (OptionError, StartRefused) as error:
        raise click.ClickException(str(error)) from None
    except (OSError, asyncpg.PostgresError) as error:
        raise click.ClickException(f"The database can't be used: {error}") from None


async def _with_pool(
    settings: ServerSettings, work: Callable[[asyncpg.Pool, ServerSettings], Awaitable[None]]
) -> None:
    async with rotation.open_deployment(settings) as pool:
        await work(pool, settings)
