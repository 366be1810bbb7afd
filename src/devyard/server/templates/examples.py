"""Templates to begin with, as the server offers them: the starters that come with this installation.

Called by the routes of templates and versions. Read from disk in a thread each time: they are few and small, and
an administrator may look at them after an upgrade.
"""

import asyncio
import hashlib
from uuid import UUID, uuid4

from devyard.runtime.starters import Starter, find_starters, pack_starter, read_starter
from devyard.server.db.pool import Connection
from devyard.server.files.queries import insert_file, touch_file
from devyard.wire.errors import Invalid, ValidationError
from devyard.wire.templates import TemplateExample

TAR = "application/x-tar"


async def list_examples() -> list[TemplateExample]:
    """All examples by name."""
    starters = await asyncio.to_thread(_read_all)
    return [
        TemplateExample(
            id=starter.id,
            url=starter.url,
            name=starter.display_name,
            description=starter.description,
            icon=starter.icon,
            tags=list(starter.tags),
            markdown=starter.markdown,
        )
        for starter in starters
    ]


async def load_archive(example_id: str) -> bytes:
    """An example's files as a tar.

    Raises:
        Invalid: there is no such example; names those that there are.
    """
    directory = (await asyncio.to_thread(find_starters)).get(example_id)
    if directory is None:
        known = ", ".join(sorted(await asyncio.to_thread(find_starters))) or "none"
        detail = f"There is no such example. This server has: {known}."
        raise Invalid("The template version was refused.", validations=[ValidationError("example_id", detail)])
    return await asyncio.to_thread(pack_starter, directory)


async def keep_archive(connection: Connection, data: bytes, created_by: UUID) -> UUID:
    """The id of the user's file with these bytes; made where there is none."""
    sha256 = hashlib.sha256(data).hexdigest()
    while (found := await touch_file(connection, created_by, sha256)) is None:
        file_id = uuid4()
        if await insert_file(
            connection, file_id=file_id, created_by=created_by, sha256=sha256, mimetype=TAR, data=data
        ):
            return file_id
    return found


def _read_all() -> list[Starter]:
    return [read_starter(starter_id, directory) for starter_id, directory in find_starters().items()]
