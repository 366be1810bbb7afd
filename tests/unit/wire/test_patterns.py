"""Patterns: RE2's meaning, refusals with a reason, and no pattern that takes for ever."""

import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.wire.patterns import MAX_PATTERNS, Pattern, PatternError, _compile

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
    (r"^\p{Greek}+$", "αβγ", True),
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
        ("(", "missing )"),
        ("a)", "unexpected )"),
        ("[a", "missing ]"),
        ("*a", "no argument for repetition operator: *"),
        ("a**", "bad repetition operator: **"),
        ("a{2,1}", "invalid repetition size: {2,1}"),
        ("a{1001}", "invalid repetition size: {1001}"),
        ("(?=a)", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        (r"\Z", r"invalid escape sequence: \Z"),
        (r"\p{Klingon}", "invalid character class range"),
        ("[[:foo:]]", "invalid character class range: [:foo:]"),
        ("((a{1000}){1000})", "invalid repetition size"),
        (r"\PL{1000}", "too large"),
        ("a\\", "trailing \\"),
        ("[z-a]", "invalid character class range: z-a"),
        (r"\xZZ", r"invalid escape sequence: \xZZ"),
    ],
)
def test_refusals_say_why(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=re.escape(reason)):
        Pattern(pattern)


def test_a_refusal_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PatternError):
        Pattern("(unclosed")
    assert capfd.readouterr() == ("", "")


def test_half_a_surrogate_pair_is_matched_too() -> None:
    assert Pattern("^a.$").search("a\ud800")
    assert not Pattern("^\ud800$").search("a")


def test_patterns_that_templates_have_are_small_enough() -> None:
    assert Pattern(r"^[\p{L}\p{N} _-]{1,64}$").search("é" * 64)
    assert Pattern("^.{0,1000}$").search("é" * 1000)
    assert not Pattern("^.{0,1000}$").search("e" * 1001)


def test_no_pattern_takes_for_ever() -> None:
    begun = time.perf_counter()
    assert not Pattern("^(a+)+$").search("a" * 100_000 + "b")
    with pytest.raises(PatternError, match="too long"):
        Pattern("[ab]*a[ab]{999}a[ab]{999}c").search("ab" * 50_000)
    assert time.perf_counter() - begun < 5


def test_kept_patterns_are_bounded() -> None:
    import re2

    for number in range(3 * MAX_PATTERNS):
        Pattern(f"kept{number}")
    assert _compile.cache_info().currsize <= MAX_PATTERNS
    assert re2._Regexp._make.cache_info().currsize == 0


def test_loaded_with_the_first_pattern_only() -> None:
    code = "import sys, devyard.wire.parameters as p; assert p.number_value('1.5'); print('re2' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


PIECES = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "(?:a|b)", "(a|)", "^", "$", r"\b", "1"])
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,2}", "{2,}"])
PATTERNS = st.lists(
    st.tuples(PIECES, REPEATS).map(lambda pair: pair[0] + (pair[1] if pair[0] not in "^$\\b" else "")), max_size=5
).map("".join)


@given(st.lists(PATTERNS, min_size=1, max_size=3).map("|".join), st.text("ab1 ", max_size=8))
def test_agrees_with_re_where_both_mean_the_same(pattern: str, text: str) -> None:
    assert Pattern(pattern).search(text) is (re.search(pattern, text, re.ASCII) is not None)
