"""Reads the text of a regular expression (RE2's syntax) and makes the program that patterns.py runs.

Pure. What RE2 leaves out on purpose (look-around, back-references) is refused with the reason; of Unicode classes
the general categories (`\\p{Lu}`) are known, scripts are not. Greedy and lazy repetition are the same here: the
only question is whether there is a match.
"""

from typing import NamedTuple

from devyard.wire.pattern_program import (
    Assertion,
    CharacterSet,
    Match,
    Node,
    PatternError,
    Program,
    any_of,
    emit,
    repeat,
    sequence,
)

MAX_REPEAT = 1000
MAX_DEPTH = 60

_LAST = 0x10FFFF
_DIGIT = ((48, 57),)
_SPACE = ((9, 10), (12, 13), (32, 32))
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))
_PERL = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_POSIX = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": _DIGIT,
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": _WORD,
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
_CONTROL = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_CATEGORIES = frozenset(
    family + kind
    for family, kinds in {
        "C": "cfos",
        "L": "lmotu",
        "M": "cen",
        "N": "dlo",
        "P": "cdefios",
        "S": "ckmo",
        "Z": "lps",
    }.items()
    for kind in ("", *kinds)
)
_HEX = frozenset("0123456789abcdefABCDEF")


class Flags(NamedTuple):
    """What `(?ims)` switches."""

    ignores_case: bool = False
    is_multiline: bool = False
    dot_takes_newline: bool = False


def compile_program(text: str) -> Program:
    """The program of a pattern. Raises PatternError with the reason."""
    reader = _Reader(text)
    node = reader.alternatives(Flags(), 0)
    if not reader.is_done():
        raise PatternError("a ) without its (")
    program: Program = []
    node(program)
    program.append(Match())
    return program


class _Reader:
    """A recursive-descent reader; `_at` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def is_done(self) -> bool:
        return self._at >= len(self._text)

    def alternatives(self, flags: Flags, depth: int) -> Node:
        """Everything up to the end or the closing parenthesis."""
        if depth > MAX_DEPTH:
            raise PatternError(f"more than {MAX_DEPTH} groups inside each other")
        branches: list[list[Node]] = [[]]
        while not self.is_done() and self._peek() != ")":
            if self._take("|"):
                branches.append([])
                continue
            if (switched := self._flag_group(flags)) is not None:
                flags = switched
                continue
            branches[-1] += self._repeated(flags, depth)
        return any_of([sequence(branch) for branch in branches])

    def _repeated(self, flags: Flags, depth: int) -> list[Node]:
        """One piece with its repetition; a quoted string gives several."""
        if self._take("\\Q"):
            end = self._text.find("\\E", self._at)
            end = len(self._text) if end < 0 else end
            quoted, self._at = self._text[self._at : end], min(end + 2, len(self._text))
            pieces = [emit(_literal(ord(each), flags)) for each in quoted]
            return [*pieces[:-1], self._with_repetition(pieces[-1])] if pieces else []
        return [self._with_repetition(self._piece(flags, depth))]

    def _with_repetition(self, node: Node) -> Node:
        bounds = self._repetition()
        if bounds is None:
            return node
        self._take("?")
        if self._repetition() is not None:
            raise PatternError("two repetitions of the same piece; put a group around the first")
        return repeat(node, *bounds)

    def _repetition(self) -> tuple[int, int | None] | None:
        """`(least, most)`, most None for no limit; None when no repetition stands here."""
        for sign, least, most in (("*", 0, None), ("+", 1, None), ("?", 0, 1)):
            if self._take(sign):
                return least, most
        end = self._text.find("}", self._at)
        if self._peek() != "{" or end < 0:
            return None
        first, has_comma, last = self._text[self._at + 1 : end].partition(",")
        if not _is_count(first) or (last and not _is_count(last)):
            return None
        self._at = end + 1
        least = int(first)
        most = least if not has_comma else (int(last) if last else None)
        if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise PatternError(f"a repetition that is out of order or above {MAX_REPEAT}")
        return least, most

    def _piece(self, flags: Flags, depth: int) -> Node:
        sign = self._next()
        if sign == "(":
            return self._group(flags, depth)
        if sign == "[":
            return emit(self._class(flags))
        if sign == ".":
            return emit(CharacterSet(() if flags.dot_takes_newline else ((10, 10),), is_negated=True))
        if sign == "^":
            return emit(Assertion("line start" if flags.is_multiline else "text start"))
        if sign == "$":
            return emit(Assertion("line end" if flags.is_multiline else "text end"))
        if sign in "*+?":
            raise PatternError(f"{sign} has nothing to repeat")
        if sign == "\\":
            return self._escape(flags)
        return emit(_literal(ord(sign), flags))

    def _group(self, flags: Flags, depth: int) -> Node:
        if self._take("?"):
            flags = self._group_head(flags)
        node = self.alternatives(flags, depth + 1)
        if not self._take(")"):
            raise PatternError("a ( without its )")
        return node

    def _group_head(self, flags: Flags) -> Flags:
        if any(self._take(sign) for sign in ("=", "!", "<=", "<!")):
            raise PatternError("look-ahead and look-behind are not available")
        if self._take("P<") or self._take("<"):
            name, closed, _ = self._text[self._at :].partition(">")
            if not closed or not name.replace("_", "a").isalnum():
                raise PatternError("a group with an unreadable name")
            self._at += len(name) + 1
            return flags
        letters, closed, _ = self._text[self._at :].partition(":")
        if not closed:
            raise PatternError("a group that begins with an unknown (?")
        self._at += len(letters) + 1
        return _switch(flags, letters)

    def _flag_group(self, flags: Flags) -> Flags | None:
        """The flags after `(?i)`; None when no such group stands here."""
        if not self._text.startswith("(?", self._at):
            return None
        letters, closed, _ = self._text[self._at + 2 :].partition(")")
        if not closed or not letters or not set(letters) <= set("imsU-"):
            return None
        self._at += len(letters) + 3
        return _switch(flags, letters)

    def _escape(self, flags: Flags) -> Node:
        sign = self._peek()
        assertions = {"A": "text start", "z": "text end", "b": "word boundary", "B": "no word boundary"}
        if sign in assertions:
            self._at += 1
            return emit(Assertion(assertions[sign]))  # type: ignore[arg-type]
        if (shorthand := self._shorthand()) is not None:
            return emit(shorthand)
        return emit(_literal(self._escaped_code(), flags))

    def _shorthand(self) -> CharacterSet | None:
        """`\\d`, `\\W`, `\\pL`, `\\P{Lu}`, after the backslash; None when none stands here."""
        sign = self._peek()
        if sign.lower() in _PERL and sign:
            self._at += 1
            return CharacterSet(_PERL[sign.lower()], is_negated=sign.isupper())
        if sign not in ("p", "P"):
            return None
        self._at += 1
        name = self._next()
        if name == "{":
            name, closed, _ = self._text[self._at :].partition("}")
            self._at += len(name) + len(closed)
        is_negated = (sign == "P") != name.startswith("^")
        name = name.removeprefix("^")
        if name not in _CATEGORIES:
            raise PatternError(f"\\p{{{name}}}: only general categories such as \\p{{L}} and \\p{{Nd}} are known")
        return CharacterSet(category=name, is_negated=is_negated)

    def _escaped_code(self) -> int:
        sign = self._next()
        if sign in _CONTROL:
            return _CONTROL[sign]
        if sign == "x":
            return self._hexadecimal()
        if sign == "0" or (sign in "1234567" and self._peek() in tuple("01234567")):
            digits = sign
            while len(digits) < 3 and self._peek() in tuple("01234567"):
                digits += self._next()
            return int(digits, 8)
        if sign.isdecimal():
            raise PatternError("back-references are not available")
        if sign.isalnum() and sign.isascii():
            raise PatternError(f"\\{sign} means nothing")
        return ord(sign)

    def _hexadecimal(self) -> int:
        if self._take("{"):
            digits, closed, _ = self._text[self._at :].partition("}")
            self._at += len(digits) + len(closed)
        else:
            digits = self._next() + self._next()
        if not digits or not set(digits) <= _HEX or int(digits, 16) > _LAST:
            raise PatternError(f"\\x{digits} is no character")
        return int(digits, 16)

    def _class(self, flags: Flags) -> CharacterSet:
        is_negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        parts: list[CharacterSet] = []
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            if self._text.startswith("[:", self._at) and (posix := self._posix()) is not None:
                parts.append(posix)
                continue
            low = self._class_item(parts)
            if low is None:
                continue
            high: int | None = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_item(parts)
            if high is None or high < low:
                raise PatternError("a range in [ ] that ends before it begins")
            ranges.append((low, high))
        self._at += 1
        return CharacterSet(tuple(ranges), tuple(parts), "", is_negated, flags.ignores_case)

    def _class_item(self, parts: list[CharacterSet]) -> int | None:
        """A code point; None when a shorthand stood here, which is then among the parts."""
        if self.is_done():
            raise PatternError("a [ without its ]")
        if not self._take("\\"):
            return ord(self._next())
        if (shorthand := self._shorthand()) is None:
            return self._escaped_code()
        parts.append(shorthand)
        return None

    def _posix(self) -> CharacterSet | None:
        name, closed, _ = self._text[self._at + 2 :].partition(":]")
        if not closed:
            return None
        if name.removeprefix("^") not in _POSIX:
            raise PatternError(f"[:{name}:] is no class")
        self._at += len(name) + 4
        return CharacterSet(_POSIX[name.removeprefix("^")], is_negated=name.startswith("^"))

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        if self.is_done():
            raise PatternError("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, word: str) -> bool:
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        return True


def _is_count(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 5


def _switch(flags: Flags, letters: str) -> Flags:
    names = {"i": "ignores_case", "m": "is_multiline", "s": "dot_takes_newline"}
    on, _, off = letters.partition("-")
    for letter in on + off:
        if letter not in "imsU":
            raise PatternError(f"(?{letters} is unknown")
    changes = {names[letter]: True for letter in on if letter in names}
    changes |= {names[letter]: False for letter in off if letter in names}
    return flags._replace(**changes)


def _literal(code: int, flags: Flags) -> CharacterSet:
    return CharacterSet(((code, code),), ignores_case=flags.ignores_case)
