"""Rules of the layout that a linter does not know."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "devyard"
VAGUE = {"utils", "util", "helpers", "common", "misc", "manager", "base"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [p for p in SOURCE.rglob("*.py") if p.stem in VAGUE] == []


def test_no_checker_is_silenced_as_a_whole() -> None:
    blanket = re.compile(r"type: ignore(?!\[)|noqa(?!:)|pyright: ignore(?!\[)")
    found = [p for p in SOURCE.rglob("*.py") if "protocol" not in p.parts and blanket.search(p.read_text())]
    assert found == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        p
        for p in SOURCE.rglob("*.py")
        if "protocol" not in p.parts and not p.read_text().lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == [SOURCE / "__main__.py"]
