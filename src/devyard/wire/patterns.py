"""Regular expressions of templates, matched in time linear in the text, as Terraform's authors know them (RE2).

Called by the parameter rules, on the server's event loop among others: Python's own `re` differs in syntax and can
be made to run for hours by a pattern like `(a+)+$`. A pattern becomes a small program (pattern_syntax.py), and
all its threads advance together, one character at a time (Thompson 1968; Cox, "Regular Expression Matching: the
Virtual Machine Approach"). Invariant: a pattern that can't be read raises `PatternError` when it is made, and a
search takes at most `MAX_STEPS` steps.
"""

from functools import lru_cache

from devyard.wire.pattern_program import Assertion, CharacterSet, Jump, Match, PatternError, Program, Split
from devyard.wire.pattern_syntax import compile_program

__all__ = ["MAX_STEPS", "Pattern", "PatternError"]

MAX_STEPS = 100_000
"""About a quarter of a second: beyond it the text counts as too long for the pattern."""

_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class Pattern:
    """A compiled pattern. Raises `PatternError` with the reason where the text can't be read."""

    def __init__(self, text: str) -> None:
        self._program = _compile(text)

    def search(self, value: str) -> bool:
        """Whether the pattern matches anywhere in `value`. Raises `PatternError` after `MAX_STEPS` steps."""
        threads: list[int] = []
        steps = 0
        for index in range(len(value) + 1):
            before = value[index - 1] if index else None
            after = value[index] if index < len(value) else None
            active = self._follow([*threads, 0], before, after)
            if active is None:
                return True
            steps += len(active) + 1
            if steps > MAX_STEPS:
                raise PatternError("the value is too long to be checked against the pattern")
            threads = [] if after is None else self._advance(active, after)
        return False

    def _follow(self, starts: list[int], before: str | None, after: str | None) -> list[int] | None:
        """The sets that threads wait at, between two characters; None when one of them has matched."""
        waiting: list[int] = []
        seen: set[int] = set()
        stack = starts
        while stack:
            at = stack.pop()
            if at in seen:
                continue
            seen.add(at)
            step = self._program[at]
            if isinstance(step, CharacterSet):
                waiting.append(at)
            elif isinstance(step, Split):
                stack += (step.first, step.second)
            elif isinstance(step, Jump):
                stack.append(step.to)
            elif isinstance(step, Match):
                return None
            elif _holds(step, before, after):
                stack.append(at + 1)
        return waiting

    def _advance(self, waiting: list[int], character: str) -> list[int]:
        program = self._program
        return [at + 1 for at in waiting if program[at].accepts(character)]  # type: ignore[union-attr]


@lru_cache(maxsize=256)
def _compile(text: str) -> Program:
    return compile_program(text)


def _holds(assertion: Assertion, before: str | None, after: str | None) -> bool:
    match assertion.kind:
        case "text start":
            return before is None
        case "text end":
            return after is None
        case "line start":
            return before is None or before == "\n"
        case "line end":
            return after is None or after == "\n"
    is_boundary = (before in _WORD) != (after in _WORD)
    return is_boundary == (assertion.kind == "word boundary")
