"""What a template version needs beside its own files, packed once at import so that builds need no network.

Two kinds: the external modules of a version (one archive of `.terraform/modules`) and provider packages (one per
provider, version and platform, shared by all versions that lock them). Named by the SHA-256 of the package.
"""

from typing import Literal
from uuid import UUID

import msgspec

PackageKind = Literal["modules", "provider"]


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One package. `name`: the provider's source address (`registry.terraform.io/hashicorp/random`).

    `version` and `platform` (`linux_amd64`) are empty for modules.
    """

    kind: PackageKind
    sha256: str
    size_bytes: int
    name: str = ""
    version: str = ""
    platform: str = ""


class TerraformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator has set for every run of Terraform, and what may be packed with a version.

    `cli_config`: the text of Terraform's CLI configuration; it may hold credentials, so it is never logged.
    A package over `max_package_bytes`, or over what is left of `max_version_bytes`, is not packed.
    """

    cli_config: str = ""
    max_package_bytes: int = 512 << 20
    max_version_bytes: int = 2 << 30

    def __repr__(self) -> str:
        return "TerraformSettings(…)"


class PackageOffer(msgspec.Struct, frozen=True, tag="package_offer"):
    """Provisioner → server, under its lease: this package belongs to the version; is it known?"""

    job_id: UUID
    lease_id: UUID
    package: Package


class PackageWanted(msgspec.Struct, frozen=True, tag="package_wanted"):
    """Server → provisioner: `is_wanted` true: send it; false: it is there, also once the last part has come.

    `error`: it is not taken, and why.
    """

    sha256: str
    is_wanted: bool
    error: str = ""


class PackageRequest(msgspec.Struct, frozen=True, tag="package_request"):
    """Provisioner → server: send a package that a job or form names."""

    sha256: str


class PackageChunk(msgspec.Struct, frozen=True, tag="package_chunk"):
    """A part of a package, either way; `last` ends it."""

    sha256: str
    offset: int
    data: bytes
    last: bool
