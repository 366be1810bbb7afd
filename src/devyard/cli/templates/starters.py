"""The starter templates that come with Devyard: where they are and what they are called.

Called by `templates init` and `quickstart`. In an installed wheel they lie in the package (`devyard/starters`),
in a checkout in `templates/`.
"""

from pathlib import Path

import devyard


def find_starters() -> dict[str, Path]:
    """Directories by id; empty where this installation has none."""
    package = Path(devyard.__file__).parent
    for root in (package / "starters", package.parent.parent / "templates"):
        found = {path.name: path for path in _directories(root) if any(path.glob("*.tf"))}
        if found:
            return found
    return {}


def _directories(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
