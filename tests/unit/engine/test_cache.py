import asyncio
import hashlib
from pathlib import Path
from uuid import uuid4

import pytest

from devyard.provisioner.templates.archive import ArchiveError
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.workdir import VALUES_FILE, make_work_directory, remove_work_directory
from devyard.wire.provisionerlink import Archive
from tests.e2e.engine.linkserver import pack

PLAIN = 'resource "coder_agent" "a" {}\n'
MODULE = 'module "m" { source = "./m" }\n'


class Source:
    """Where archives come from, and what `init` does."""

    def __init__(self, files: dict[str, str]) -> None:
        self.data = pack(files)
        self.archive = Archive(uuid4(), hashlib.sha256(self.data).hexdigest(), len(self.data))
        self.fetched = 0
        self.initialized = 0
        self.fails = False

    async def fetch(self, archive: Archive, target: Path) -> None:
        self.fetched += 1
        await asyncio.sleep(0)
        target.write_bytes(self.data)

    async def init(self, directory: Path) -> None:
        self.initialized += 1
        (directory / ".terraform").mkdir(exist_ok=True)
        if self.fails:
            raise RuntimeError("no network")
        (directory / ".terraform.lock.hcl").write_text("lock")


async def test_fetched_once_and_not_initialised_without_need(tmp_path: Path) -> None:
    source, cache = Source({"main.tf": PLAIN, "README.md": "hi"}), TemplateCache(tmp_path)
    for _ in range(2):
        async with cache.use(source.archive, source.fetch, source.init) as template:
            assert (template.files / "main.tf").read_text() == PLAIN
            assert (template.data, template.lane_key, template.read_readme()) == (None, "", "hi")
    assert (source.fetched, source.initialized) == (1, 0)


async def test_initialised_once_also_for_another_process(tmp_path: Path) -> None:
    source = Source({"main.tf": MODULE})
    caches = [TemplateCache(tmp_path), TemplateCache(tmp_path)]

    async def use(cache: TemplateCache) -> str:
        async with cache.use(source.archive, source.fetch, source.init) as template:
            assert template.data == template.files / ".terraform"
            return template.lane_key

    keys = await asyncio.gather(*(use(cache) for cache in caches))
    assert keys[0] == keys[1] == hashlib.sha256(b"lock").hexdigest()
    assert (source.fetched, source.initialized) == (1, 1)


async def test_failed_init_is_tried_again(tmp_path: Path) -> None:
    source, cache = Source({"main.tf": MODULE}), TemplateCache(tmp_path)
    source.fails = True
    with pytest.raises(RuntimeError):
        async with cache.use(source.archive, source.fetch, source.init):
            pass
    source.fails = False
    async with cache.use(source.archive, source.fetch, source.init) as template:
        assert template.data
    assert (source.fetched, source.initialized) == (1, 2)


async def test_oldest_are_removed_but_none_in_use(tmp_path: Path) -> None:
    sources = [Source({"main.tf": PLAIN, "n": str(number)}) for number in range(4)]
    cache = TemplateCache(tmp_path, max_versions=2)
    first, *others = sources
    async with cache.use(first.archive, first.fetch, first.init) as template:
        for source in others:
            async with cache.use(source.archive, source.fetch, source.init):
                pass
        assert template.files.exists()
    kept = {path.name for path in (tmp_path / "templates").iterdir() if path.is_dir()}
    assert kept == {first.archive.sha256, others[-1].archive.sha256}


async def test_backend_of_the_template_is_overridden(tmp_path: Path) -> None:
    source, cache = Source({"main.tf": 'terraform {\n  backend "s3" {}\n}\n'}), TemplateCache(tmp_path)
    async with cache.use(source.archive, source.fetch, source.init) as template:
        assert 'backend "local"' in (template.files / "devyard_override.tf").read_text()
    assert source.initialized == 1


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc", "", "G" * 64])
async def test_wrong_digests(tmp_path: Path, digest: str) -> None:
    source, cache = Source({"main.tf": PLAIN}), TemplateCache(tmp_path)
    with pytest.raises(ArchiveError):
        async with cache.use(Archive(uuid4(), digest, len(source.data)), source.fetch, source.init):
            pass
    assert [path for path in (tmp_path / "templates").glob("*") if path.suffix != ".lock"] == []


async def test_job_has_its_own_private_copy(tmp_path: Path) -> None:
    source, cache = Source({"main.tf": MODULE, "sub/x": "1"}), TemplateCache(tmp_path)
    async with cache.use(source.archive, source.fetch, source.init) as template:
        directory = make_work_directory(tmp_path, template, b"state", "a = 1\n")
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "terraform.tfstate").read_bytes() == b"state"
        assert (directory / VALUES_FILE).read_text() == "a = 1\n"
        (directory / "sub/x").write_text("2")
        assert (template.files / "sub/x").read_text() == "1"
        assert (directory / ".terraform").resolve() == template.data
        remove_work_directory(directory)
        assert not directory.exists()
        assert template.data
        assert template.data.exists()
