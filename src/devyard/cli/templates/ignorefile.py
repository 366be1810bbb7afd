"""`.terraformignore`: which paths of a template stay at home. Pure but for reading the file.

Called by archive.py. The syntax is that of .gitignore as Terraform reads it: `#` comments, `!` takes back, a
slash anchors, `**` crosses directories, the last match decides.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ALWAYS = (
    ".git/",
    ".terraform/",
    "*.tfstate",
    "*.tfstate.*",
    "terraform.tfstate.d/",
    ".DS_Store",
    ".terraformignore",
)
"""Terraform's own leavings; state can hold secrets."""


class _Rule(NamedTuple):
    pattern: re.Pattern[str]
    only_directories: bool
    takes_back: bool


class IgnoreRules:
    """Rules in order."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._rules = [rule for line in lines if (rule := _parse(line)) is not None]
        self._always = [rule for line in ALWAYS if (rule := _parse(line)) is not None]

    @classmethod
    def read(cls, path: Path) -> "IgnoreRules":
        """From a file; none when there is none."""
        try:
            return cls(path.read_text(encoding="utf-8").splitlines())
        except FileNotFoundError:
            return cls([])

    def ignores(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path, relative and with slashes, stays out."""
        if any(_matches(rule, path, is_directory) for rule in self._always):
            return True
        is_out = False
        for rule in self._rules:
            if _matches(rule, path, is_directory):
                is_out = not rule.takes_back
        return is_out


def _matches(rule: _Rule, path: str, is_directory: bool) -> bool:
    return (is_directory or not rule.only_directories) and rule.pattern.fullmatch(path) is not None


def _parse(line: str) -> _Rule | None:
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    takes_back = text.startswith("!")
    text = text.removeprefix("!")
    only_directories = text.endswith("/")
    text = text.rstrip("/")
    is_anchored = "/" in text
    text = text.lstrip("/")
    if not text:
        return None
    prefix = "" if is_anchored else "(?:.*/)?"
    return _Rule(re.compile(prefix + _translate(text), re.DOTALL), only_directories, takes_back)


def _translate(glob: str) -> str:
    parts = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|/\*\*$|\*\*|\*|\?|[^*?]", glob, re.DOTALL)
    return "".join(parts.get(token) or re.escape(token) for token in tokens)
