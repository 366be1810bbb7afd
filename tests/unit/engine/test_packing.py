import fcntl
import os
from pathlib import Path

import pytest

from devyard.provisioner.templates.archive import ArchiveError
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.packages import PackageStore, place_in_data
from devyard.provisioner.templates.packing import (
    PackageError,
    PackageTooLarge,
    fingerprint_directory,
    pack_directory,
)
from devyard.provisioner.templates.restoring import Packs, list_locked
from devyard.wire.provisionerpackages import Package

from .test_cache import Source

LOCK = b"""
provider "registry.example.com/acme/example" {
  version     = "1.0.0"
  constraints = "~> 1.0"
  hashes = ["h1:abc="]
}
provider "registry.terraform.io/coder/coder" {
  version = "2.1.0"
}
"""
TEMPLATE = {"main.tf": 'module "m" {\n  source = "registry.example.com/a/b/c"\n}\nresource "example_a" "x" {}\n'}


def make_provider(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "terraform-provider-example").write_bytes(b"#!/bin/sh\n" * 1000)
    (directory / "terraform-provider-example").chmod(0o755)
    (directory / "LICENSE").write_text("free")
    return directory


def make_modules(directory: Path) -> Path:
    (directory / "m" / ".git").mkdir(parents=True)
    (directory / "m" / ".git" / "config").write_text("x")
    (directory / "m" / "main.tf").write_text("")
    (directory / "m" / "link.tf").symlink_to("main.tf")
    (directory / "modules.json").write_text("{}")
    return directory


class Packages:
    """Packages of a version, and how often each was downloaded."""

    def __init__(self, root: Path, *, platform: str = "linux_amd64") -> None:
        root.mkdir()
        self.files: dict[str, Path] = {}
        self.fetched: list[str] = []
        self.said: list[str] = []
        modules = self._pack(root, make_modules(root / "modules"), kind="modules")
        name = "registry.example.com/acme/example"
        provider = self._pack(
            root, make_provider(root / "p"), kind="provider", name=name, version="1.0.0", platform=platform
        )
        self.packages = (modules, provider)
        self.packs = Packs(self.packages, LOCK, "linux_amd64", self.fetch, self.said.append)

    def _pack(self, root: Path, directory: Path, **fields: str) -> Package:
        file = root / f"{fields['kind']}.package"
        sha256, size = pack_directory(directory, file, 1 << 20)
        self.files[sha256] = file
        return Package(sha256=sha256, size_bytes=size, **fields)  # type: ignore[arg-type]

    async def fetch(self, package: Package, target: Path) -> None:
        self.fetched.append(package.kind)
        target.write_bytes(self.files[package.sha256].read_bytes())


def test_the_same_content_gives_the_same_package(tmp_path: Path) -> None:
    one, two = make_provider(tmp_path / "one"), tmp_path / "elsewhere" / "two"
    two.mkdir(parents=True)
    (two / "LICENSE").write_text("free")
    (two / "terraform-provider-example").write_bytes(b"#!/bin/sh\n" * 1000)
    (two / "terraform-provider-example").chmod(0o700)
    os.utime(two / "LICENSE", (1, 1))
    packed = [pack_directory(path, tmp_path / f"{path.name}.tar.gz", 1 << 20) for path in (one, two)]
    assert packed[0] == packed[1]
    assert fingerprint_directory(one) == fingerprint_directory(two)
    (two / "LICENSE").chmod(0o755)
    assert fingerprint_directory(one) != fingerprint_directory(two)
    assert pack_directory(two, tmp_path / "three.tar.gz", 1 << 20) != packed[0]


def test_what_is_too_large_or_leads_outside_leaves_no_file(tmp_path: Path) -> None:
    directory = make_provider(tmp_path / "p")
    with pytest.raises(PackageTooLarge):
        pack_directory(directory, tmp_path / "package", 50)
    (directory / "passwd").symlink_to("../../etc/passwd")
    with pytest.raises(PackageError, match="passwd"):
        pack_directory(directory, tmp_path / "package", 1 << 20)
    assert not (tmp_path / "package").exists()


async def test_restored_without_init_and_shared_by_versions(tmp_path: Path) -> None:
    packages, cache = Packages(tmp_path / "made"), TemplateCache(tmp_path / "cache")
    versions = [Source(TEMPLATE), Source({**TEMPLATE, "README.md": "other"})]
    inodes = set()
    for source in versions:
        async with cache.use(source.archive, source.fetch, source.init, packages.packs) as template:
            assert source.initialized == 0
            assert (template.files / ".terraform.lock.hcl").read_bytes() == LOCK
            place = template.files / ".terraform" / "providers/registry.example.com/acme/example/1.0.0/linux_amd64"
            assert os.access(place / "terraform-provider-example", os.X_OK)
            assert (template.files / ".terraform/modules/m/link.tf").readlink() == Path("main.tf")
            assert not (template.files / ".terraform/modules/m/.git").exists()
            assert template.lane_key
            inodes.add((place / "LICENSE").stat().st_ino)
    assert packages.fetched == ["modules", "provider"]
    assert len(inodes) == 1
    assert packages.said == []


async def test_another_platform_and_missing_packages_need_init(tmp_path: Path) -> None:
    other = Packages(tmp_path / "made", platform="darwin_arm64")
    source = Source(TEMPLATE)
    async with TemplateCache(tmp_path / "cache").use(source.archive, source.fetch, source.init, other.packs):
        assert source.initialized == 1
    assert other.fetched == ["modules"]
    assert "packed for darwin_arm64 only, and this provisioner runs on linux_amd64" in other.said[0]


async def test_the_same_files_with_other_packages_are_another_version(tmp_path: Path) -> None:
    packages, cache, source = Packages(tmp_path / "made"), TemplateCache(tmp_path / "cache"), Source(TEMPLATE)
    later = Packs(packages.packages, LOCK.replace(b"~> 1.0", b"1.0.0"), "linux_amd64", packages.fetch, print)
    keys = []
    for packs in (packages.packs, later):
        async with cache.use(source.archive, source.fetch, source.init, packs) as template:
            keys.append(template.lane_key)
    assert keys[0] != keys[1]


async def test_a_damaged_or_broken_download_leaves_nothing(tmp_path: Path) -> None:
    packages, source = Packages(tmp_path / "made"), Source(TEMPLATE)
    cache = TemplateCache(tmp_path / "cache")

    async def damage(package: Package, target: Path) -> None:
        target.write_bytes(b"x" * package.size_bytes)

    async def fill_disk(package: Package, target: Path) -> None:
        target.write_bytes(b"x")
        raise OSError(28, "No space left on device")

    for fetch, words in ((damage, "damaged"), (fill_disk, "disk is full")):
        packs = Packs(packages.packages, LOCK, "linux_amd64", fetch, print)
        with pytest.raises(ArchiveError, match=words):
            async with cache.use(source.archive, source.fetch, source.init, packs):
                pass
        assert [path for path in cache.packages.directory.iterdir() if path.suffix != ".lock"] == []
    async with cache.use(source.archive, source.fetch, source.init, packages.packs):
        assert source.initialized == 0


async def test_an_import_leaves_what_its_builds_need(tmp_path: Path) -> None:
    packages, cache, source = Packages(tmp_path / "made"), TemplateCache(tmp_path / "cache"), Source(TEMPLATE)
    sources = {
        packages.packages[0].sha256: tmp_path / "made" / "modules",
        packages.packages[1].sha256: tmp_path / "made" / "p",
    }
    async with cache.use(source.archive, source.fetch, source.init) as template:
        await cache.keep_packed(template, source.archive, packages.packs, sources)
    await cache.forget(source.archive)
    async with cache.use(source.archive, source.fetch, source.init, packages.packs) as template:
        assert (template.files / ".terraform.lock.hcl").read_bytes() == LOCK
    assert (packages.fetched, source.fetched, source.initialized) == ([], 1, 1)
    async with cache.use(source.archive, source.fetch, source.init):
        assert source.initialized == 2  # the next import resolves anew


async def test_packages_count_and_go_with_the_last_version_that_uses_them(tmp_path: Path) -> None:
    packages = Packages(tmp_path / "made")
    cache = TemplateCache(tmp_path / "cache", max_bytes=8000)
    small, large = Source(TEMPLATE), Source({"main.tf": "# " + "x" * 9000})
    async with cache.use(small.archive, small.fetch, small.init, packages.packs) as template:
        pass
    stored = [path.name for path in cache.packages.directory.iterdir() if path.is_dir()]
    assert sorted(stored) == sorted(packages.files)
    async with cache.use(large.archive, large.fetch, large.init):
        pass
    assert not template.files.exists()
    assert [path for path in cache.packages.directory.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("name", ["../a/b", "a/b", "a/b/c/d", "/a/b", "a/../c", "a/b/.."])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ArchiveError):
        place_in_data(
            Package(kind="provider", sha256="0" * 64, size_bytes=1, name=name, version="1", platform="linux_amd64")
        )


async def test_a_digest_becomes_no_path(tmp_path: Path) -> None:
    package = Package(kind="modules", sha256="../../x", size_bytes=1)
    with pytest.raises(ArchiveError, match="SHA-256"):
        await PackageStore(tmp_path).put(package, tmp_path / "t", Packages(tmp_path / "made").fetch)


def test_locked_providers_without_our_own() -> None:
    assert list_locked(LOCK) == [("registry.example.com/acme/example", "1.0.0")]
    assert list_locked(b"") == []
    assert len(list_locked(b'provider "x" {')) == 1


async def test_what_a_killed_provisioner_left_half_made_goes(tmp_path: Path) -> None:
    cache = TemplateCache(tmp_path / "cache")
    store = cache.packages.directory
    store.mkdir(parents=True)
    half, busy, packing = store / f"{'0' * 64}.part", store / f"{'1' * 64}.part", store / "pack-x.new"
    for path in (half, busy):
        path.write_text("x")
        path.with_suffix(".lock").touch()
    packing.mkdir()
    with busy.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache.sweep()
        assert (half.exists(), busy.exists(), packing.exists()) == (False, True, True)
    os.utime(packing, (1, 1))
    cache.sweep()
    assert (busy.exists(), packing.exists()) == (False, False)
