"""Templates' forms made ready in directories of their own: once per template version, a bounded number of them.

Opened by the desk. Invariant: a directory is complete before it is used, and is removed only when nobody uses it;
Terraform writes nothing there, so that several workers may read it at once.
"""

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import structlog

from devyard.provisioner.forms.pruning import Pruned, PrunedModule, list_targets, prune_template
from devyard.provisioner.forms.source import Unprunable
from devyard.provisioner.templates.cache import Template
from devyard.provisioner.templates.variables import render_values
from devyard.provisioner.templates.workdir import VALUES_FILE, make_work_directory, remove_work_directory
from devyard.wire.provisionerlink import Variable

log = structlog.get_logger()

MAX_PREPARED = 16
_PREFIX = "devyard-form-"
_MODULES = "devyard-modules"
_HIDDEN = (".terraform", ".terraform.lock.hcl")


class Prepared(msgspec.Struct, frozen=True):
    """A form's directory, None where the template asks for nothing. `arguments`: for `terraform plan`.

    `lane_key` as for lanes: empty where only our own provider is used.
    """

    directory: Path | None
    arguments: tuple[str, ...]
    lane_key: str


class PreparedForms:
    """Those made ready under `parent`, by template version and the values of its variables."""

    def __init__(self, parent: Path, max_count: int = MAX_PREPARED) -> None:
        self._parent = parent
        self._max_count = max_count
        self._known: dict[str, asyncio.Task[Prepared]] = {}
        self._uses: dict[str, int] = {}

    @asynccontextmanager
    async def use(
        self, version: str, template: Template, variables: Sequence[Variable]
    ) -> AsyncIterator[Prepared]:
        """The form of `template`, whose archive is `version`. Raises OSError."""
        values = render_values(template.variables, variables)
        key = hashlib.sha256(f"{version}\n{values}".encode()).hexdigest()
        task = self._known.pop(key, None)
        if task is None:
            preparing = asyncio.to_thread(_prepare, self._parent, template, variables)
            task = asyncio.create_task(preparing, name="prepare form")
        self._known[key] = task  # the last one is the one used most lately
        self._uses[key] = self._uses.get(key, 0) + 1
        try:
            yield await asyncio.shield(task)
        finally:
            self._uses[key] -= 1
            if task.done() and task.exception() and self._known.get(key) is task:
                del self._known[key]
            if key not in self._known and not self._uses[key]:
                del self._uses[key]
            await self._remove_oldest()

    async def close(self) -> None:
        """Removes all."""
        self._max_count = 0
        await self._remove_oldest()

    async def _remove_oldest(self) -> None:
        for key in list(self._known):
            if len(self._known) <= self._max_count:
                return
            if not self._uses.get(key) and self._known[key].done():
                task = self._known.pop(key)
                self._uses.pop(key, None)
                if not task.exception() and (directory := task.result().directory):
                    await asyncio.to_thread(remove_work_directory, directory)


def _prepare(parent: Path, template: Template, variables: Sequence[Variable]) -> Prepared:
    try:
        pruned = prune_template(template.files)
    except Unprunable as reason:
        log.info("form_not_cut", why=str(reason))
        return _prepare_whole(parent, template, variables)
    if not pruned.modules:
        return Prepared(None, (), "")
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        _write(directory, pruned)
        kept = [variable for variable in template.variables if variable.name in pruned.variables]
        values = directory / VALUES_FILE
        values.write_text(render_values(kept, variables))
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Prepared(directory, (f"-var-file={values.name}",) if kept else (), "")


def _prepare_whole(parent: Path, template: Template, variables: Sequence[Variable]) -> Prepared:
    """The whole template, of which Terraform plans only what the form needs."""
    values = render_values(template.variables, variables)
    directory = make_work_directory(parent, template, b"", values)
    targets = [f"-target={target}" for target in list_targets(template.files)]
    if template.variables:
        targets.append(f"-var-file={VALUES_FILE}")
    return Prepared(directory, tuple(targets), template.lane_key)


def _write(directory: Path, pruned: Pruned) -> None:
    entries = []
    for number, module in enumerate(pruned.modules):
        is_root = not module.entry.key
        place = directory if is_root else directory / _MODULES / str(number)
        place.mkdir(parents=True, exist_ok=True)
        _write_module(place, module)
        relative = "." if is_root else f"{_MODULES}/{number}"
        entries.append(msgspec.structs.replace(module.entry, dir=relative))
    if len(entries) > 1:
        (directory / ".terraform" / "modules").mkdir(parents=True)
        manifest = {"Modules": entries}
        (directory / ".terraform" / "modules" / "modules.json").write_bytes(msgspec.json.encode(manifest))


def _write_module(place: Path, module: PrunedModule) -> None:
    for name, text in module.files.items():
        if text.strip():
            (place / name).write_text(text)
    for path in _list_other_files(module.directory, module.files):
        (place / path.name).symlink_to(path)


def _list_other_files(directory: Path, files: Iterable[str]) -> list[Path]:
    """What expressions may read with `file` and the like."""
    left_out = {*files, *_HIDDEN, VALUES_FILE, _MODULES}
    return [
        path
        for path in directory.iterdir()
        if path.name not in left_out and not path.name.endswith((".tf", ".tofu", ".tfvars", ".tfvars.json"))
    ]
