"""What an expression of Terraform's language refers to, without evaluating it.

Used to find what a template's form depends on. Invariant: nothing that Terraform would look up is missing; names
of an expression's own loops, which are no references, may be among what is found.
"""

import re
from collections.abc import Iterator, Sequence

from devyard.provisioner.templates.hcl import (
    MAX_DEPTH,
    Expression,
    HclError,
    Token,
    find_template_end,
    read_tokens,
)

Reference = tuple[str, ...]

_INTERPOLATION = re.compile(r"(\$\$?|%%?)\{")


def list_references(expression: Expression) -> set[Reference]:
    """Its names with dots (`local.a`, `data.b.c.d`), those in interpolations too. Raises HclError."""
    found: set[Reference] = set()
    _collect(expression.tokens, found, 0)
    return found


def _collect(tokens: Sequence[Token], found: set[Reference], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise HclError("interpolations nested too deeply")
    path = _Path(found)
    outer: list[_Path] = []
    for token in tokens:
        if path.take(token):
            continue
        if token.kind == "[":  # what comes behind the index belongs to what stands before it
            outer.append(path)
            path = _Path(found)
        elif token.kind == "]" and outer:
            path.end()
            path = outer.pop()
        else:
            path.end()
            path.take(token)
        if token.kind in ("string", "heredoc"):
            for inner in _interpolations(token.text):
                _collect(list(read_tokens(inner)), found, depth + 1)
    for each in (path, *outer):
        each.end()


class _Path:
    """Names that are joined by dots, as far as they have come."""

    def __init__(self, found: set[Reference]) -> None:
        self._found = found
        self._names: list[str] = []
        self._is_open = False  # a dot came last

    def take(self, token: Token) -> bool:
        """Whether the token goes on with this path."""
        if token.kind == "name" and (self._is_open or not self._names):
            self._names.append(token.text)
            self._is_open = False
        elif token.kind == "." and self._names and not self._is_open:
            self._is_open = True
        elif token.kind in ("*", "number") and self._is_open:  # a.*.b, a.0.b
            self._is_open = False
        else:
            return False
        return True

    def end(self) -> None:
        if self._names:
            self._found.add(tuple(self._names))
        self._names, self._is_open = [], False


def _interpolations(text: str) -> Iterator[str]:
    """What stands inside `${…}` and `%{…}`."""
    at = 0
    while match := _INTERPOLATION.search(text, at):
        if len(match[1]) == 2:  # `$${` stands for itself
            at = match.end()
            continue
        at = find_template_end(text, match.end())
        yield text[match.end() : at - 1].strip("~")
