"""Homes: the directories that outlive a sandbox, and the range of host ids that each one owns.

runtime.py calls this under the home's lock. On disk: `homes/ID/home.json` and `homes/ID/files` (what the
workspace sees), `ranges/N` for each range taken. Invariant: a home appears complete by one rename and
disappears by one; no two homes share a range.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
from pathlib import Path

import msgspec

from devyard.provisioner.provider.sandboxes import SandboxError

from .layout import INNER_ID

# Host ids given to sandboxes: above what systemd-nspawn (to 1879048191) and sssd's mapping of Active
# Directory (to 2000200000) use, below 2^31. Inside they are 0 to 4095.
FIRST_ID = 0x77390000
IDS_PER_HOME = 4096
RANGES = (0x7FFF0000 - FIRST_ID) // IDS_PER_HOME


class Home(msgspec.Struct, frozen=True):
    """A home's record; `uid_base` is None where the sandbox runs as the provisioner's own user."""

    id: str
    name: str
    uid_base: int | None


class Homes:
    """The homes below one root directory."""

    def __init__(self, root: Path, *, has_own_ids: bool) -> None:
        self._homes = root / "homes"
        self._ranges = root / "ranges"
        self._trash = root / "trash"
        self._has_own_ids = has_own_ids

    def make_directories(self) -> None:
        """Make what this needs on disk."""
        for path in (self._homes, self._ranges, self._trash):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, home_id: str) -> Path:
        """Return where a home's files lie, whether or not it exists."""
        return self._homes / home_id / "files"

    def load(self, home_id: str) -> Home | None:
        """Read a home's record; None where there is no such home."""
        try:
            return msgspec.json.decode((self._homes / home_id / "home.json").read_bytes(), type=Home)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise SandboxError(f"The record of home {home_id} is damaged: {error}.") from error

    def create(self, home_id: str, name: str) -> Home:
        """Make a home with the system's skeleton files; returns the existing one if it is there."""
        existing = self.load(home_id)
        if existing is not None:
            return existing
        home = Home(id=home_id, name=name, uid_base=self.take_range(home_id) if self._has_own_ids else None)
        fresh = self._homes / f".new-{secrets.token_hex(8)}"
        fresh.mkdir(mode=0o700)
        files = fresh / "files"
        files.mkdir(mode=0o700)
        _copy_skeleton(files)
        if home.uid_base is not None:
            owner = home.uid_base + INNER_ID
            for path in (files, *files.iterdir()):
                os.chown(path, owner, owner, follow_symlinks=False)
        (fresh / "home.json").write_bytes(msgspec.json.encode(home))
        fresh.rename(self._homes / home_id)
        return home

    async def adopt(self, home: Home) -> Home:
        """Give a home made by an unprivileged server a range of its own, now that the server is root."""
        base = self.take_range(home.id)
        owner = base + INNER_ID
        await _run("chown", "-hR", f"{owner}:{owner}", "--", str(self.path(home.id)))
        adopted = msgspec.structs.replace(home, uid_base=base)
        (self._homes / home.id / "home.json").write_bytes(msgspec.json.encode(adopted))
        return adopted

    async def delete(self, home_id: str) -> None:
        """Remove a home and free its range; nothing happens where there is none."""
        home = self.load(home_id) if (self._homes / home_id).exists() else None
        grave = self._trash / secrets.token_hex(8)
        with contextlib.suppress(FileNotFoundError):
            (self._homes / home_id).rename(grave)
        if home is not None and home.uid_base is not None:
            self.free_range(home.uid_base)
        for leftover in self._trash.iterdir():
            await remove_tree(leftover)

    def take_range(self, owner: str) -> int:
        """Reserve a range of host ids and return its first."""
        start = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "big")
        for step in range(RANGES):
            number = (start + step) % RANGES
            try:
                with (self._ranges / str(number)).open("x", encoding="utf-8") as file:
                    file.write(owner)
            except FileExistsError:
                continue
            return FIRST_ID + number * IDS_PER_HOME
        raise SandboxError(f"All {RANGES} ranges of user ids are taken: delete workspaces of this machine.")

    def free_range(self, base: int) -> None:
        """Give a range back."""
        (self._ranges / str((base - FIRST_ID) // IDS_PER_HOME)).unlink(missing_ok=True)


async def remove_tree(path: Path) -> None:
    """Remove a tree of any depth, unreadable directories included, without following links.

    By rm and chmod, which walk by file descriptor: Python's rmtree recurses and ends at some 1000 levels, and
    a hostile workspace can make them deeper.
    """
    try:
        await _run("rm", "-rf", "--", str(path))
    except SandboxError:
        # Read-only directories (a Go module cache, for one) stop everybody but root.
        await _run("chmod", "-R", "u+rwX", "--", str(path))
        await _run("rm", "-rf", "--", str(path))


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
    )
    _out, errors = await process.communicate()
    if process.returncode != 0:
        raise SandboxError(f"{command[0]} failed: {errors.decode(errors='replace').strip()[-500:]}")


def _copy_skeleton(target: Path) -> None:
    """Copy the regular files of /etc/skel (.bashrc, .profile), as useradd does."""
    skeleton = Path("/etc/skel")
    if not skeleton.is_dir():
        return
    for source in skeleton.iterdir():
        if source.is_file() and not source.is_symlink() and os.access(source, os.R_OK):
            shutil.copyfile(source, target / source.name)
            (target / source.name).chmod(0o644)
