"""Regular expressions of templates, in RE2's syntax, as Terraform's authors know them.

Called by the parameter rules, on the server's event loop among others: Python's own `re` differs in syntax and can
be made to run for hours by a pattern like `(a+)+$`. The matching is google-re2's; it is loaded with the first
pattern, so that a command line without one does not wait for it. Invariant: a pattern that can't be read raises
`PatternError` when it is made, and neither memory nor the time of a search grows beyond the limits below.
"""

from functools import lru_cache
from typing import Any

MAX_PROGRAM_BYTES = 2 << 20
"""Memory of one compiled pattern; enough for `[\\p{L}\\p{N}]{1,64}`."""

MAX_PATTERNS = 32
"""Compiled patterns that are kept."""

MAX_STEPS = 1 << 25
"""Program size times bytes of text: the worst patterns take half a second for so much, usual ones far less."""


class PatternError(ValueError):
    """The pattern can't be read, or not be run on such a long text; the message says why."""


class Pattern:
    """A compiled pattern. Raises `PatternError` with the reason where the text can't be read."""

    def __init__(self, text: str) -> None:
        self._regexp = _compile(text)

    def search(self, value: str) -> bool:
        """Whether the pattern matches anywhere in `value`. Raises `PatternError` for over `MAX_STEPS`."""
        data = _utf8(value)
        if len(data) * self._regexp.programsize > MAX_STEPS:
            raise PatternError("the value is too long to be checked against the pattern")
        return self._regexp.search(data) is not None


@lru_cache(maxsize=MAX_PATTERNS)
def _compile(text: str) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = MAX_PROGRAM_BYTES
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(_utf8(text), options)
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    finally:
        re2.purge()  # its own cache would keep four times as many


def _utf8(text: str) -> bytes:
    """Half of a surrogate pair, as a terminal may give it, is passed on: RE2 takes it for a character."""
    return text.encode(errors="surrogatepass")
