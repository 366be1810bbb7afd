"""SQL of packages: their content in parts of at most CHUNK_BYTES, and which versions name them."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor
from devyard.wire.provisionerpackages import Package, PackageKind


class PackageRow(msgspec.Struct, frozen=True):
    """A package whose content is all there."""

    id: UUID
    sha256: str
    size_bytes: int


async def touch_packages(executor: Executor, digests: Sequence[str]) -> list[PackageRow]:
    """Those of the packages that are there; they count as used now, so that the retention spares them."""
    records = await executor.fetch(
        """-- packages.touch_packages
        UPDATE packages SET last_used_at = now() WHERE sha256 = ANY ($1) AND is_complete
        RETURNING id, sha256, size_bytes
        """,
        list(digests),
    )
    return [PackageRow(**record) for record in records]


async def get_package(executor: Executor, sha256: str) -> PackageRow | None:
    """A package whose content is all there."""
    record = await executor.fetchrow(
        """-- packages.get_package
        SELECT id, sha256, size_bytes FROM packages WHERE sha256 = $1 AND is_complete
        """,
        sha256,
    )
    return PackageRow(**record) if record else None


async def insert_upload(executor: Executor, upload_id: UUID, sha256: str, size_bytes: int) -> None:
    """An upload that begins."""
    await executor.execute(
        """-- packages.insert_upload
        INSERT INTO packages (id, sha256, size_bytes) VALUES ($1, $2, $3)
        """,
        upload_id,
        sha256,
        size_bytes,
    )


async def insert_part(executor: Executor, upload_id: UUID, number: int, data: bytes) -> None:
    """The next part of an upload."""
    await executor.execute(
        """-- packages.insert_part
        INSERT INTO package_parts (package_id, number, data) VALUES ($1, $2, $3)
        """,
        upload_id,
        number,
        data,
    )


async def complete_upload(connection: Connection, upload_id: UUID) -> bool:
    """The upload is a package from now on; False where there is one with the same content already."""
    return bool(
        await connection.fetchval(
            """-- packages.complete_upload
            UPDATE packages p SET is_complete = true, last_used_at = now()
            WHERE p.id = $1
                AND NOT EXISTS (SELECT FROM packages o WHERE o.sha256 = p.sha256 AND o.is_complete)
            RETURNING true
            """,
            upload_id,
        )
    )


async def delete_upload(executor: Executor, upload_id: UUID) -> None:
    """An upload that came to nothing, with its parts."""
    await executor.execute(
        """-- packages.delete_upload
        DELETE FROM packages WHERE id = $1 AND NOT is_complete
        """,
        upload_id,
    )


async def get_part(executor: Executor, package_id: UUID, number: int) -> bytes | None:
    """A part of a package."""
    data: bytes | None = await executor.fetchval(
        """-- packages.get_part
        SELECT data FROM package_parts WHERE package_id = $1 AND number = $2
        """,
        package_id,
        number,
    )
    return data


async def insert_references(
    connection: Connection, version_id: UUID, packages: Sequence[tuple[UUID, Package]]
) -> None:
    """What a version is packed with."""
    await connection.execute(
        """-- packages.insert_references
        INSERT INTO template_version_packages
            (template_version_id, position, package_id, kind, name, version, platform)
        SELECT $1, position, package_id, kind, name, version, platform
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
            AS given (package_id, kind, name, version, platform, position)
        """,
        version_id,
        [package_id for package_id, _ in packages],
        [package.kind for _, package in packages],
        [package.name for _, package in packages],
        [package.version for _, package in packages],
        [package.platform for _, package in packages],
    )


async def update_lock_file(connection: Connection, version_id: UUID, lock_file: bytes) -> None:
    """Terraform's lock file as the import left it."""
    await connection.execute(
        """-- packages.update_lock_file
        UPDATE template_versions SET lock_file = $2 WHERE id = $1
        """,
        version_id,
        lock_file,
    )


async def get_version_packages(executor: Executor, version_id: UUID) -> tuple[tuple[Package, ...], bytes]:
    """What a version is packed with, and its lock file."""
    records = await executor.fetch(
        """-- packages.get_version_packages
        SELECT v.lock_file, r.kind, p.sha256, p.size_bytes, r.name, r.version, r.platform
        FROM template_versions v
        LEFT JOIN template_version_packages r ON r.template_version_id = v.id
        LEFT JOIN packages p ON p.id = r.package_id
        WHERE v.id = $1 ORDER BY r.position
        """,
        version_id,
    )
    packages = tuple(
        Package(
            kind=_kind(record["kind"]),
            sha256=record["sha256"],
            size_bytes=record["size_bytes"],
            name=record["name"],
            version=record["version"],
            platform=record["platform"],
        )
        for record in records
        if record["kind"]
    )
    return packages, records[0]["lock_file"] if records else b""


def _kind(text: str) -> PackageKind:
    return "modules" if text == "modules" else "provider"
