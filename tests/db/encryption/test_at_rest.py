"""Nothing of what people call secret stands in a dump, and all of it is there for those who may see it."""

import asyncio
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from devyard.server.app import open_app
from devyard.server.db.pool import keyring_of
from devyard.server.encryption import queries, rotation
from devyard.server.encryption.actions import seal_rows
from devyard.server.encryption.keyfile import KeysError, read_key_file, replace_key_file
from devyard.server.encryption.places import SEALED
from tests.conftest import Api
from tests.db.encryption.used import Used, find, secret, use


@pytest.fixture
async def used(live_api: Api) -> tuple[Api, httpx.AsyncClient, Used]:
    """A server that was used, a client of its owner, and what was made."""
    owner = await live_api.client((await live_api.add_user("admin", "owner"))[1])
    return live_api, owner, await use(live_api, owner)


async def test_a_dump_shows_no_secret(used: tuple[Api, httpx.AsyncClient, Used]) -> None:
    api, owner, was = used
    assert await find(api.services.pool, was.secrets) == set()
    await was.check_readable(api, owner)
    # The search itself finds what is there.
    assert await find(api.services.pool, ["ada@example.com"])
    await api.services.pool.execute("UPDATE workspaces SET name = $1", secret("state"))
    assert await find(api.services.pool, was.secrets) == {("workspaces", "name", secret("state"))}


async def unseal_everything(pool: Any) -> int:
    """Bring the rows into the form in which earlier versions wrote them."""
    keyring, rows = keyring_of(pool), 0
    for sealed in SEALED:
        opened = {"bytes": keyring.open_bytes, "text": keyring.open_text, "json": keyring.open_json}[sealed.kind]
        for row_id, value in await queries.list_other(pool, sealed, key_id="none", after=None):
            plain = opened(sealed.place, row_id, value)
            await queries.replace_value(pool, sealed, row_id, value, plain)
            rows += 1
    return rows


async def test_rows_of_an_earlier_version_can_be_read_and_are_sealed(
    used: tuple[Api, httpx.AsyncClient, Used],
) -> None:
    api, owner, was = used
    pool, keyring = api.services.pool, keyring_of(api.services.pool)
    rows = await unseal_everything(pool)
    assert rows >= 9
    assert {table for table, _, _ in await find(pool, was.secrets)} >= {"users", "workspace_builds"}
    status = await rotation.read_status(pool)
    assert (status.plain_values, status.is_complete) == (rows, False)
    await was.check_readable(api, owner)
    await pool.execute("UPDATE encryption_keys SET sealed_at = NULL")
    batches: list[tuple[str, int]] = []
    assert await seal_rows(pool, keyring, uuid4(), on_batch=lambda *batch: batches.append(batch))
    assert sum(count for _, count in batches) == rows
    assert await find(pool, was.secrets) == set()
    await was.check_readable(api, owner)
    assert (await rotation.read_status(pool)).is_complete
    (key,) = await queries.list_keys(pool)
    assert key.sealed_at is not None


async def test_rotation_while_the_server_runs(used: tuple[Api, httpx.AsyncClient, Used], settings: Any) -> None:
    api, owner, was = used
    server = keyring_of(api.services.pool)
    old, said = server.writer_id, []
    async with rotation.open_deployment(settings) as pool:
        await rotation.rotate(pool, settings, said.append)
        status = await rotation.read_status(pool)
        new = keyring_of(pool).writer_id
        assert new != old
        assert {key.id: (key.is_writer, key.values > 0) for key in status.keys} == {
            new: (True, True),
            old: (False, False),
        }
        async with asyncio.timeout(5):
            while server.writer_id != new:  # woken, with no restart
                await asyncio.sleep(0.02)
        await was.check_readable(api, owner)
        await rotation.drop_old(pool, settings, said.append, quiet_s=0)
        assert [key.id for key in await queries.list_keys(pool)] == [new]
    assert len(read_key_file(settings.data_dir / "encryption.keys")) == 1
    await was.check_readable(api, owner)
    assert await find(api.services.pool, was.secrets) == set()


async def test_an_interrupted_rotation_goes_on_with_the_same_key(
    used: tuple[Api, httpx.AsyncClient, Used], settings: Any
) -> None:
    api, owner, was = used
    async with rotation.open_deployment(settings) as pool:
        said: list[str] = []

        def stop_early(text: str) -> None:
            said.append(text)
            raise KeyboardInterrupt

        # Another holder, so that neither this command nor the server seals anything yet.
        await pool.execute("INSERT INTO leases VALUES ('encryption:seal', $1, now() + interval '1 day') "
                           "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, "
                           "expires_at = excluded.expires_at", uuid4())  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            await rotation.rotate(pool, settings, stop_early)
        await queries.touch_key(pool, keyring_of(pool).writer_id)
        begun = keyring_of(pool).writer_id
        with pytest.raises(KeysError, match="No key was dropped"):
            await rotation.drop_old(pool, settings, said.append, quiet_s=0)
        await pool.execute("DELETE FROM leases WHERE name = 'encryption:seal'")
    async with rotation.open_deployment(settings) as pool:
        await rotation.rotate(pool, settings, said.append)
        assert keyring_of(pool).writer_id == begun
        assert (await rotation.read_status(pool)).is_complete
    assert len(read_key_file(settings.data_dir / "encryption.keys")) == 2
    await was.check_readable(api, owner)


async def test_a_value_that_cannot_be_opened_stops_nothing_else(
    used: tuple[Api, httpx.AsyncClient, Used], settings: Any
) -> None:
    api = used[0]
    await api.services.pool.execute("UPDATE workspace_builds SET state = state || 'x'")
    async with rotation.open_deployment(settings) as pool:
        with pytest.raises(KeysError, match="could not be sealed"):
            await rotation.rotate(pool, settings, lambda _: None)
        status = await rotation.read_status(pool)
        assert {key.is_writer: key.values for key in status.keys}[False] == 1
        with pytest.raises(KeysError, match="No key was dropped"):
            await rotation.drop_old(pool, settings, lambda _: None, quiet_s=0)


async def test_without_the_key_no_server_starts(settings: Any, tmp_path: Path) -> None:
    async with open_app(settings, internal_key="k") as app:
        key_id = keyring_of(app.services.pool).writer_id
    elsewhere = msgspec.structs.replace(settings, data_dir=tmp_path / "other")
    with pytest.raises(KeysError) as caught:
        async with open_app(elsewhere, internal_key="k"):
            pass
    assert key_id in str(caught.value)
    assert not (tmp_path / "other" / "encryption.keys").exists()
    path = settings.data_dir / "encryption.keys"
    replace_key_file(path, [b"x" * 32])
    with pytest.raises(KeysError) as caught:
        async with open_app(settings, internal_key="k"):
            pass
    assert f"{path} lacks" in str(caught.value)
    assert key_id in str(caught.value)


async def test_replicas_with_the_same_keys_read_each_other(
    used: tuple[Api, httpx.AsyncClient, Used], settings: Any, tmp_path: Path
) -> None:
    _, owner, was = used
    elsewhere = msgspec.structs.replace(settings, data_dir=tmp_path / "other")
    elsewhere.data_dir.mkdir()
    shutil.copy(settings.data_dir / "encryption.keys", elsewhere.data_dir)
    async with open_app(elsewhere, internal_key="k") as app:
        await was.check_readable(Api(app), owner)
