"""A version's `.terraform` and lock file as its import left them, put together from packages.

Called by the template cache instead of `terraform init`. Invariant: nothing is asked of the network; what is
there afterwards has the names and the content that Terraform itself would have installed, whose hashes it compares
with the lock file in every run.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from devyard.provisioner.provider.server import ADDRESSES
from devyard.provisioner.templates.hcl import Block, HclError, read_blocks
from devyard.provisioner.templates.packages import FetchPackage, PackageStore, place_in_data
from devyard.wire.provisionerlink import Archive
from devyard.wire.provisionerpackages import Package

DATA = ".terraform"
LOCK_FILE = ".terraform.lock.hcl"
MODULES = "modules/modules.json"


class Packs(msgspec.Struct, frozen=True):
    """What a version was packed with. `fetch` downloads a package, `say` tells people.

    `platform`: this machine's, as Terraform names it.
    """

    packages: tuple[Package, ...]
    lock_file: bytes
    platform: str
    fetch: FetchPackage
    say: Callable[[str], None]


def name_version(archive: Archive, packages: Iterable[Package], lock_file: bytes) -> str:
    """The name under which the cache keeps it: the same files may have been imported with other packages."""
    digests = sorted(f"{package.sha256} {place_in_data(package)}" for package in packages)
    if not digests and not lock_file:
        return archive.sha256
    text = "\n".join([archive.sha256, hashlib.sha256(lock_file).hexdigest(), *digests])
    return hashlib.sha256(text.encode()).hexdigest()


async def restore_version(files: Path, blocks: Iterable[Block], packs: Packs, store: PackageStore) -> bool:
    """Puts in place what was packed for this platform. False: `terraform init` has to fetch the rest.

    Raises ArchiveError, OSError, and what `packs.fetch` raises.
    """
    if not packs.packages and not packs.lock_file:
        return False  # nothing was packed: an import, or a version whose packages were too large
    data = files / DATA
    shutil.rmtree(data, ignore_errors=True)
    for package in packs.packages:
        if package.kind == "modules" or package.platform == packs.platform:
            await store.put(package, data / place_in_data(package), packs.fetch)
    if packs.lock_file:
        (files / LOCK_FILE).unlink(missing_ok=True)
        (files / LOCK_FILE).write_bytes(packs.lock_file)
    missing = [
        name
        for name, version in list_locked(packs.lock_file)
        if not (data / "providers" / name / version / packs.platform).is_dir()
    ]
    if missing:
        packs.say(_explain_missing(missing, packs))
    has_modules = any(block.type == "module" for block in blocks)
    return not missing and (not has_modules or (data / MODULES).is_file())


def list_locked(lock_file: bytes) -> list[tuple[str, str]]:
    """(source address, version) of the providers that a lock file names, ours left out: they are attached."""
    try:
        blocks = read_blocks(lock_file.decode("utf-8", "replace"))
        return [
            (block.labels[0], str(block.attributes["version"].literal()))
            for block in blocks
            if block.type == "provider" and block.labels[0] not in ADDRESSES
        ]
    except (HclError, ValueError, KeyError, IndexError):
        return [("a provider of a lock file that can't be read", "")]


def _explain_missing(missing: list[str], packs: Packs) -> str:
    packed = sorted({package.platform for package in packs.packages if package.name in missing})
    why = (
        f"packed for {', '.join(packed)} only, and this provisioner runs on {packs.platform}"
        if packed
        else "not packed with the version"
    )
    return f"Fetching with terraform init what is {why}: {', '.join(missing)}."
