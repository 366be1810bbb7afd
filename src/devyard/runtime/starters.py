"""The starter templates that come with Devyard: where they are, what they are called, and their archives.

Called by `templates init`, `quickstart` and the server's examples. In an installed wheel they lie in the package
(`devyard/starters`), in a checkout in `templates/`.
"""

import io
import tarfile
from pathlib import Path

import msgspec

import devyard

MARK = "---\n"


class Starter(msgspec.Struct, frozen=True):
    """A starter template as its README's front matter describes it; `markdown` is the README without it."""

    id: str
    directory: Path
    display_name: str
    description: str
    icon: str
    tags: tuple[str, ...]
    url: str
    markdown: str


def find_starters() -> dict[str, Path]:
    """Directories by id; empty where this installation has none."""
    package = Path(devyard.__file__).parent
    for root in (package / "starters", package.parent.parent / "templates"):
        found = {path.name: path for path in _directories(root) if any(path.glob("*.tf"))}
        if found:
            return found
    return {}


def read_starter(starter_id: str, directory: Path) -> Starter:
    """What a starter's README says of it."""
    readme = directory / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    fields: dict[str, str] = {}
    if text.startswith(MARK) and (end := text.find(f"\n{MARK}", len(MARK) - 1)) >= 0:
        for line in text[len(MARK) : end].splitlines():
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
        text = text[end + 1 + len(MARK) :].lstrip("\n")
    return Starter(
        id=starter_id,
        directory=directory,
        display_name=fields.get("display_name", starter_id),
        description=fields.get("description", ""),
        icon=fields.get("icon", ""),
        tags=tuple(tag.strip() for tag in fields.get("tags", "").split(",") if tag.strip()),
        url=fields.get("url", ""),
        markdown=text,
    )


def pack_starter(directory: Path) -> bytes:
    """The starter's files as a tar; the same files give the same bytes."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(directory.rglob("*")):
            if not path.is_file() or any(part.startswith(".") for part in path.relative_to(directory).parts):
                continue
            data = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(directory).as_posix())
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def _directories(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
