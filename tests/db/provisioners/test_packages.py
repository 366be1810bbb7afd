"""Packages over the link: uploaded under a lease, counted only when whole, shared, given out, removed."""

import hashlib
import os
from datetime import timedelta
from uuid import uuid4

import pytest

from devyard.server.retention.loops import list_rules, run_rule
from devyard.wire.provisionerlink import CHUNK_BYTES, Job, Stored
from devyard.wire.provisionerpackages import (
    Package,
    PackageChunk,
    PackageOffer,
    PackageRequest,
    PackageWanted,
)
from tests.conftest import Api
from tests.db.provisioners.fake import FakeProvisioner, create_version, import_done, provisioner

DATA = os.urandom(CHUNK_BYTES + 1000)
HOLDER = uuid4()


def describe(data: bytes, **changes: object) -> Package:
    fields = {"name": "registry.example.com/a/b", "version": "1.0.0", "platform": "linux_amd64", **changes}
    return Package(kind="provider", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), **fields)


async def offer(link: FakeProvisioner, job: Job, package: Package) -> PackageWanted:
    await link.send(PackageOffer(job.job_id, job.lease_id, package))
    return await link.expect(PackageWanted)


async def upload(link: FakeProvisioner, job: Job, data: bytes, package: Package) -> PackageWanted:
    wanted = await offer(link, job, package)
    assert wanted == PackageWanted(package.sha256, True)
    for offset in range(0, len(data), CHUNK_BYTES):
        part = data[offset : offset + CHUNK_BYTES]
        await link.send(PackageChunk(package.sha256, offset, part, offset + len(part) == len(data)))
    return await link.expect(PackageWanted)


async def fetch(link: FakeProvisioner, sha256: str) -> bytes:
    await link.send(PackageRequest(sha256))
    data = b""
    while True:
        chunk = await link.expect(PackageChunk)
        assert (chunk.sha256, chunk.offset) == (sha256, len(data))
        data += chunk.data
        if chunk.last:
            return data


async def begin(api: Api, link: FakeProvisioner) -> tuple[Job, dict]:
    client = await api.client((await api.add_user(f"u{uuid4().hex[:8]}", "owner"))[1])
    version = await create_version(client)
    return await link.take(), {"client": client, "version": version}


async def finish(link: FakeProvisioner, job: Job, **fields: object) -> Stored:
    await link.send(import_done(job, **fields))
    return await link.expect(Stored)


async def count(api: Api, table: str) -> int:
    found: int = await api.services.pool.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def purge(api: Api) -> None:
    for rule in list_rules(api.services.settings):
        if "packages" in rule.name:
            await run_rule(api.services, rule, HOLDER, pause_s=0)


async def test_uploaded_once_and_given_to_those_who_build(live_api: Api) -> None:
    package = describe(DATA)
    async with provisioner(live_api) as link:
        await link.register()
        job, made = await begin(live_api, link)
        assert await fetch(link, package.sha256) == b""  # not there, and not this job's
        assert await upload(link, job, DATA, package) == PackageWanted(package.sha256, False)
        assert await fetch(link, package.sha256) == b""  # there, but of no job that was given out
        assert (await finish(link, job, packages=(package,), lock_file=b"locked")).error == ""

        again, _ = await begin(live_api, link)
        assert (again.packages, again.lock_file) == ((), b"")
        assert await offer(link, again, package) == PackageWanted(package.sha256, False)
        assert (await finish(link, again)).error == ""

        path = f"/templateversions/{made['version']['id']}/dry-run"
        assert (await made["client"].post(path, json={"workspace_name": "x"})).status_code == 201
        dry = await link.take()
        assert (dry.packages, dry.lock_file) == ((package,), b"locked")
        assert await fetch(link, package.sha256) == DATA
    assert await count(live_api, "packages") == 1


@pytest.mark.parametrize(
    ("data", "changes", "error"),
    [
        (DATA[:-1] + bytes([DATA[-1] ^ 1]), {}, "damaged"),
        (DATA[:-1], {}, "another size"),
        (DATA + b"x", {}, "another size"),
    ],
    ids=["other bytes", "short", "long"],
)
async def test_what_is_not_what_was_announced_is_not_kept(
    live_api: Api, data: bytes, changes: dict, error: str
) -> None:
    package = describe(DATA)
    async with provisioner(live_api) as link:
        await link.register()
        job, _ = await begin(live_api, link)
        answer = await upload(link, job, data, package)
        assert error in answer.error
        assert (await finish(link, job, packages=(package,))).error == ""
        select = "SELECT error FROM provisioner_jobs WHERE id = $1"
        failed = await live_api.services.pool.fetchval(select, job.job_id)
        assert "import the template again" in failed
    assert (await count(live_api, "packages"), await count(live_api, "package_parts")) == (0, 0)


async def test_bounds_names_and_leases_are_checked(live_api: Api) -> None:
    settings = live_api.services.settings
    async with provisioner(live_api) as link:
        await link.register()
        job, _ = await begin(live_api, link)
        large = Package(kind="modules", sha256="0" * 64, size_bytes=settings.max_package_bytes + 1)
        assert "are allowed" in (await offer(link, job, large)).error
        assert "SHA-256" in (await offer(link, job, Package(kind="modules", sha256="../x", size_bytes=1))).error
        for number in range(4):
            full = Package(kind="modules", sha256=f"{number}" * 64, size_bytes=settings.max_package_bytes)
            assert (await offer(link, job, full)).is_wanted
        assert "are allowed" in (await offer(link, job, describe(DATA))).error
        await link.send(PackageOffer(job.job_id, uuid4(), describe(DATA)))
        assert "lease" in (await link.expect(PackageWanted)).error


async def test_a_lease_that_ended_meanwhile_keeps_nothing(live_api: Api) -> None:
    package = describe(DATA)
    async with provisioner(live_api) as link:
        await link.register()
        job, _ = await begin(live_api, link)
        assert (await offer(link, job, package)).is_wanted
        await live_api.services.pool.execute("UPDATE provisioner_jobs SET lease_id = $1", uuid4())
        await link.send(PackageChunk(package.sha256, 0, DATA[:CHUNK_BYTES], False))
        await link.send(PackageChunk(package.sha256, CHUNK_BYTES, DATA[CHUNK_BYTES:], True))
        assert "lease" in (await link.expect(PackageWanted)).error
    assert await count(live_api, "packages") == 0


async def test_unused_packages_go_after_a_day_and_used_ones_stay(live_api: Api) -> None:
    kept, unused = describe(DATA), describe(DATA[1:])
    pool = live_api.services.pool
    async with provisioner(live_api) as link:
        await link.register()
        job, made = await begin(live_api, link)
        await upload(link, job, DATA, kept)
        await upload(link, job, DATA[1:], unused)
        assert (await finish(link, job, packages=(kept,))).error == ""
    await purge(live_api)
    assert await count(live_api, "packages") == 2
    await pool.execute("UPDATE packages SET last_used_at = now() - $1::interval", timedelta(days=2))
    await purge(live_api)
    assert await pool.fetch("SELECT sha256 FROM packages") == [(kept.sha256,)]

    body = {"name": "gone", "template_version_id": made["version"]["id"]}
    template = (await made["client"].post("/organizations/default/templates", json=body)).json()
    await pool.execute(
        "UPDATE templates SET deleted_at = now() - $1::interval WHERE id = $2", timedelta(days=2), template["id"]
    )
    await purge(live_api)
    assert (await count(live_api, "packages"), await count(live_api, "package_parts")) == (0, 0)
