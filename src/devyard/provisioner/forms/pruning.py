"""Cuts a template down to what its form depends on, so that Terraform works it out in a fraction of the time.

Kept are parameters, tags and presets, all that they refer to, and the modules that hold such blocks; called once
per template version. Invariants: nothing is evaluated or rewritten here; a template whose form depends on a
resource or a data source of another provider is not cut at all (`Unprunable`). docs/design/forms.md.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from devyard.provisioner.forms.source import IGNORED_ARGUMENTS, Item, Key, Source, Unprunable
from devyard.provisioner.templates.hcl import HclError
from devyard.provisioner.templates.references import Reference, list_references

_PREFIXES = ("coder", "devyard")
PARAMETER_TYPES = tuple(f"{prefix}_parameter" for prefix in _PREFIXES)
_DECIDING_TYPES = (*PARAMETER_TYPES, *(f"{prefix}_workspace_tags" for prefix in _PREFIXES))
"""What decides over a build: its values, and which provisioners may run it."""
ROOT_TYPES = (*_DECIDING_TYPES, *(f"{prefix}_workspace_preset" for prefix in _PREFIXES))
_EVALUATED = (*_PREFIXES, "terraform")
_META_ARGUMENTS = ("count", "for_each", "source", "version")
_REQUIREMENTS_FILE = "devyard_form_providers.tf"
MAX_MODULES = 300


class ModuleEntry(msgspec.Struct, rename="pascal", omit_defaults=True):
    """A line of Terraform's list of installed modules."""

    key: str
    source: str
    dir: str
    version: str = ""


class _Manifest(msgspec.Struct, rename="pascal"):
    modules: list[ModuleEntry] = []


class PrunedModule(NamedTuple):
    """A module as it is to be written. `directory`: where its other files are."""

    entry: ModuleEntry
    directory: Path
    files: dict[str, str]


class Pruned(NamedTuple):
    """A template cut down. `modules`: the root first, whose entry's key is empty; none where there is no form."""

    modules: list[PrunedModule]
    variables: frozenset[str]
    is_dynamic: bool


def prune_template(files: Path) -> Pruned:
    """The template under `files`, ready to be planned, cut down to its form. Raises Unprunable, OSError."""
    try:
        if not _Closure(files).seed(ROOT_TYPES):
            return Pruned([], frozenset(), is_dynamic=False)
        deciding = _Closure(files)
        deciding.seed(_DECIDING_TYPES)
        everything = _Closure(files)
        everything.seed(ROOT_TYPES)
        everything.keep_own_providers()
        return everything.finish(is_dynamic=deciding.uses_data)
    except (HclError, UnicodeDecodeError, RecursionError) as error:
        raise Unprunable(f"a file can't be read: {error}") from error


def is_dynamic(files: Path) -> bool:
    """Whether parameters or tags may be others for another user or for other values; in doubt they may."""
    try:
        return prune_template(files).is_dynamic
    except (Unprunable, OSError):
        return True


def list_targets(files: Path) -> list[str]:
    """What Terraform has to plan for the form of a template that can't be cut; empty: everything.

    Raises OSError.
    """
    try:
        root = Source(files)
        modules = [f"module.{key[1]}" for key in root.items if key[0] == "module"]
        return [*(".".join(key) for key in root.keys(ROOT_TYPES)), *modules]
    except (Unprunable, HclError, UnicodeDecodeError, RecursionError):
        return []


class _Use:
    """A module where it is called: what of it is kept."""

    def __init__(self, entry: ModuleEntry, source: Source, parent: "_Use | None", name: str) -> None:
        self.entry = entry
        self.source = source
        self.parent = parent
        self.name = name
        self.kept: set[Key] = set()
        self.children: dict[str, _Use] = {}


class _Closure:
    def __init__(self, files: Path) -> None:
        self.uses_data = False
        self._files = files
        self._entries = {entry.key: entry for entry in _read_manifest(files)}
        self._waiting: list[tuple[_Use, Key]] = []
        self._sources: dict[str, Source] = {}
        self._root = _Use(ModuleEntry("", "", "."), self._read_source("."), None, "")

    def seed(self, types: tuple[str, ...]) -> bool:
        """Keeps all data sources of these types and what they depend on; False where there are none."""
        is_any = self._seed(self._root, types)
        while self._waiting:
            self._keep(*self._waiting.pop())
        return is_any

    def keep_own_providers(self) -> None:
        """Keeps the root's settings of our own provider."""
        for prefix in _PREFIXES:
            self._wait(self._root, ("provider", prefix))
        while self._waiting:
            self._keep(*self._waiting.pop())

    def finish(self, *, is_dynamic: bool) -> Pruned:
        """What was kept, as files."""
        variables = frozenset(key[1] for key in self._root.kept if key[0] == "var")
        return Pruned([self._finish(use) for use in _list_uses(self._root)], variables, is_dynamic)

    def _finish(self, use: _Use) -> PrunedModule:
        dropped = [
            (item.file, (expression.start, expression.end))
            for name, child in use.children.items()
            for item in use.source.items.get(("module", name), ())
            for argument, expression in item.arguments().items()
            if argument not in (*_META_ARGUMENTS, *IGNORED_ARGUMENTS) and ("var", argument) not in child.kept
        ]
        files = use.source.render(use.kept, dropped)
        files[_REQUIREMENTS_FILE] = _render_requirements(use.source.requirements)
        return PrunedModule(use.entry, use.source.directory, files)

    def _seed(self, use: _Use, types: tuple[str, ...]) -> bool:
        keys = use.source.keys(types)
        for key in keys:
            self._wait(use, key)
        is_any = bool(keys)
        for name in [key[1] for key in use.source.items if key[0] == "module"]:
            if self._holds(f"{use.entry.key}.{name}".lstrip("."), types):
                self._seed(self._child(use, name), types)
                is_any = True
        return is_any

    def _holds(self, key: str, types: tuple[str, ...]) -> bool:
        """Whether a module, or one that it calls, has a data source of these types."""
        keys = [each for each in self._entries if each == key or each.startswith(f"{key}.")]
        if not keys:
            raise Unprunable(f'the module "{key}" is not installed')
        return any(self._read_source(self._entries[each].dir).keys(types) for each in keys)

    def _child(self, use: _Use, name: str) -> _Use:
        if name not in use.children:
            key = f"{use.entry.key}.{name}".lstrip(".")
            entry = self._entries.get(key)
            if entry is None:
                raise Unprunable(f'the module "{key}" is not installed')
            use.children[name] = _Use(entry, self._read_source(entry.dir), use, name)
            self._wait(use, ("module", name))
        return use.children[name]

    def _keep(self, use: _Use, key: Key) -> None:
        if key in use.kept:
            return
        use.kept.add(key)
        items = use.source.items.get(key, [])
        if items and key[0] in ("data", "resource"):
            _check_evaluated(use, key, items)
        for item in items:
            if key[0] == "module":
                self._child(use, key[1])
                self._follow_arguments(use, item, _META_ARGUMENTS)
            else:
                for reference in item.references():
                    self._follow(use, reference)
        if key[0] == "var" and use.parent:
            for item in use.parent.source.items.get(("module", use.name), ()):
                self._follow_arguments(use.parent, item, (key[1],))

    def _follow_arguments(self, use: _Use, item: Item, names: tuple[str, ...]) -> None:
        for name in names:
            if expression := item.arguments().get(name):
                for reference in list_references(expression):
                    self._follow(use, reference)

    def _follow(self, use: _Use, reference: Reference) -> None:
        head = reference[0]
        if head in ("var", "local") and len(reference) > 1:
            self._wait(use, (head, reference[1]))
        elif head == "data" and len(reference) > 2:
            self.uses_data = True
            self._wait(use, ("data", *reference[1:3]))
        elif head == "module" and len(reference) > 1 and ("module", reference[1]) in use.source.items:
            self._follow_output(use, reference)
        elif head in ("provider", "ephemeral"):
            raise Unprunable(f'"{".".join(reference)}" is used')
        elif len(reference) > 1 and ("resource", *reference[:2]) in use.source.items:
            self.uses_data = True
            self._wait(use, ("resource", *reference[:2]))

    def _follow_output(self, use: _Use, reference: Reference) -> None:
        child = self._child(use, reference[1])
        names = [key[1] for key in child.source.items if key[0] == "output"]
        for name in reference[2:3] if reference[2:3] and reference[2] in names else names:
            self._wait(child, ("output", name))

    def _wait(self, use: _Use, key: Key) -> None:
        if key not in use.kept and key in use.source.items:
            self._waiting.append((use, key))

    def _read_source(self, directory: str) -> Source:
        if directory not in self._sources:
            path = self._files / directory
            if not path.resolve().is_relative_to(self._files.resolve()):
                raise Unprunable(f'the module directory "{directory}" lies elsewhere')
            self._sources[directory] = Source(path)
        return self._sources[directory]


def _list_uses(use: _Use) -> list[_Use]:
    return [use, *(each for child in use.children.values() for each in _list_uses(child))]


def _render_requirements(requirements: dict[str, str]) -> str:
    """What is left of `required_providers`: our own."""
    lines = "".join(f'    {name} = {{ source = "{source}" }}\n' for name, source in requirements.items())
    return f"terraform {{\n  required_providers {{\n{lines}  }}\n}}\n" if lines else ""


def _check_evaluated(use: _Use, key: Key, items: list[Item]) -> None:
    """Raises Unprunable for what only another provider could answer."""
    kind, type_, name = key
    is_own = type_.split("_", 1)[0] in (_PREFIXES if kind == "data" else _EVALUATED)
    if not is_own:
        raise Unprunable(f"the form depends on {kind} {type_}.{name}")
    for item in items:
        provider = item.arguments().get("provider")
        if provider and (use.parent or len(max(list_references(provider), key=len)) > 1):
            raise Unprunable(f"{type_}.{name} names a provider configuration")


def _read_manifest(files: Path) -> list[ModuleEntry]:
    path = files / ".terraform" / "modules" / "modules.json"
    if not path.is_file():
        return []
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=_Manifest).modules
    except msgspec.MsgspecError as error:
        raise Unprunable(f"the list of modules can't be read: {error}") from error
    if len(entries) > MAX_MODULES:
        raise Unprunable(f"there are more than {MAX_MODULES} modules")
    return [entry for entry in entries if entry.key]
