"""What a regular expression becomes: character sets, assertions, jumps; and how its parts put them together.

Pure; pattern_syntax.py builds programs of these, patterns.py runs them. Invariant: a program has at most
`MAX_PROGRAM` steps, and building one takes time in proportion to that.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

MAX_PROGRAM = 4000

Ranges = tuple[tuple[int, int], ...]


class PatternError(ValueError):
    """The pattern can't be read or run; the message says why."""


class CharacterSet(NamedTuple):
    """Takes one character: by code point ranges, by Unicode categories, or by what it is not."""

    ranges: Ranges = ()
    parts: tuple["CharacterSet", ...] = ()
    category: str = ""
    is_negated: bool = False
    ignores_case: bool = False

    def accepts(self, character: str) -> bool:
        """Whether the character is in the set."""
        forms = (character, character.lower(), character.upper()) if self.ignores_case else (character,)
        return any(self._has(form) for form in forms if len(form) == 1) != self.is_negated

    def _has(self, character: str) -> bool:
        code = ord(character)
        if any(low <= code <= high for low, high in self.ranges):
            return True
        if self.category and unicodedata.category(character).startswith(self.category):
            return True
        return any(part.accepts(character) for part in self.parts)


class Assertion(NamedTuple):
    """Holds or not between two characters."""

    kind: Literal["text start", "text end", "line start", "line end", "word boundary", "no word boundary"]


class Split(NamedTuple):
    """Go on at both places."""

    first: int
    second: int


class Jump(NamedTuple):
    """Go on elsewhere."""

    to: int


class Match(NamedTuple):
    """The pattern has matched."""


Program = list[CharacterSet | Assertion | Split | Jump | Match]

Node = Callable[[Program], None]
"""A part of the pattern: adds its steps to the program."""


def emit(step: CharacterSet | Assertion) -> Node:
    """A part of one step."""
    return lambda program: _add(program, step)


def _add(program: Program, step: CharacterSet | Assertion | Split | Jump) -> None:
    if len(program) >= MAX_PROGRAM:
        raise PatternError("it is too large: write fewer or smaller repetitions")
    program.append(step)


def sequence(nodes: Sequence[Node]) -> Node:
    """The parts one after the other."""

    def build(program: Program) -> None:
        for node in nodes:
            node(program)

    return build


def any_of(nodes: Sequence[Node]) -> Node:
    """One part or another."""
    if len(nodes) == 1:
        return nodes[0]

    def build(program: Program) -> None:
        ends = []
        for node in nodes[:-1]:
            at = len(program)
            _add(program, Split(at + 1, at))
            node(program)
            ends.append(len(program))
            _add(program, Jump(0))
            program[at] = Split(at + 1, len(program))
        nodes[-1](program)
        for end in ends:
            program[end] = Jump(len(program))

    return build


def repeat(node: Node, least: int, most: int | None) -> Node:
    """The part `least` to `most` times; most None: without limit."""

    def build(program: Program) -> None:
        for _ in range(least):
            length = len(program)
            node(program)
            if len(program) == length:
                break
        if most is None:
            _optional(program, node, goes_back=True)
        for _ in range((most or 0) - least if most is not None else 0):
            _optional(program, node, goes_back=False)

    return build


def _optional(program: Program, node: Node, *, goes_back: bool) -> None:
    at = len(program)
    _add(program, Split(at + 1, at))
    node(program)
    if goes_back:
        _add(program, Jump(at))
    program[at] = Split(at + 1, len(program))
