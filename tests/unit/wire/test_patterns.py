"""Patterns: RE2's meaning, refusals with a reason, and no pattern that takes for ever."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.wire.patterns import Pattern, PatternError

CASES = [
    (r"^[a-z]+$", "abc", True),
    (r"^[a-z]+$", "abc\n", False),
    (r"b", "abc", True),
    (r"", "", True),
    (r"^$", "", True),
    (r"a|bc|", "x", True),
    (r"^(a|bc)$", "bc", True),
    (r"^(a|bc)$", "ab", False),
    (r"^\d{3}-\d{2,}$", "123-4567", True),
    (r"^\d{3}$", "12", False),
    (r"^a{0,2}$", "aaa", False),
    (r"a{,2}", "a{,2}", True),
    (r"^[[:alpha:]_][[:alnum:]_]*$", "_x9", True),
    (r"^[[:^digit:]]$", "9", False),
    (r"^\w+$", "é", False),
    (r"^\pL+$", "é", True),
    (r"^\p{Lu}$", "É", True),
    (r"^\P{L}$", "é", False),
    (r"^(?i)abc$", "ABC", True),
    (r"^(?i:a)b$", "AB", False),
    (r"(?m)^b$", "a\nb\nc", True),
    (r"a.c", "a\nc", False),
    (r"(?s)a.c", "a\nc", True),
    (r"\bfoo\b", "a foo b", True),
    (r"\bfoo\b", "afoo", False),
    (r"^\Qa.b\E+$", "a.bb", True),
    (r"^\Qa.b\E$", "axb", False),
    (r"\x41\x{42}\103", "ABC", True),
    (r"^[^\s/]+$", "a/b", False),
    (r"^[]a]+$", "]a", True),
    (r"^[a\-z]+$", "-", True),
    (r"^[a-]+$", "-a", True),
    (r"^(?P<name>x)(?<other>y)$", "xy", True),
    (r"\Aab\z", "ab", True),
    (r"^(a*)*$", "aaab", False),
    (r"^(?:(?:a?){3}){2}$", "aaaaaa", True),
    (r"^https?://[^ ]+$", "https://x.example", True),
    (r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", "a.b-c", True),
]


@pytest.mark.parametrize(("pattern", "text", "is_match"), CASES)
def test_meaning(pattern: str, text: str, is_match: bool) -> None:
    assert Pattern(pattern).search(text) is is_match


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "a ( without its )"),
        ("a)", "a ) without its ("),
        ("[a", "a [ without its ]"),
        ("*a", "nothing to repeat"),
        ("a**", "two repetitions"),
        ("a{2,1}", "out of order"),
        ("a{1001}", "above 1000"),
        ("(?=a)", "look-ahead"),
        (r"(a)\1", "back-references"),
        (r"\Z", "means nothing"),
        (r"\p{Greek}", "general categories"),
        ("[[:foo:]]", "is no class"),
        ("((a{1000}){1000})", "too large"),
        ("(" * 100 + ")" * 100, "groups inside each other"),
        ("a\\", "ends too early"),
        ("[z-a]", "ends before it begins"),
        (r"\xZZ", "is no character"),
    ],
)
def test_refusals_say_why(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=re.escape(reason)):
        Pattern(pattern)


def test_no_pattern_takes_for_ever() -> None:
    begun = time.perf_counter()
    assert Pattern("(((){1000}){1000}){1000}").search("")
    assert not Pattern("^(a+)+$").search("a" * 5000 + "b")
    assert time.perf_counter() - begun < 5
    with pytest.raises(PatternError, match="too long"):
        Pattern("(.{900}b){2}").search("a" * 100_000)


PIECES = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "(?:a|b)", "(a|)", "^", "$", r"\b", "1"])
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,2}", "{2,}"])
PATTERNS = st.lists(
    st.tuples(PIECES, REPEATS).map(lambda pair: pair[0] + (pair[1] if pair[0] not in "^$\\b" else "")), max_size=5
).map("".join)


@given(st.lists(PATTERNS, min_size=1, max_size=3).map("|".join), st.text("ab1 ", max_size=8))
def test_agrees_with_re_where_both_mean_the_same(pattern: str, text: str) -> None:
    assert Pattern(pattern).search(text) is (re.search(pattern, text, re.ASCII) is not None)
