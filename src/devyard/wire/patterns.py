"""Regular expressions of templates, matched as Terraform's authors expect them.

Called by the parameter rules. Invariant: a pattern that can't be read raises `PatternError` when it is made.
"""

import re


class PatternError(ValueError):
    """The pattern can't be read; the message says why."""


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: str) -> None:
        try:
            self._compiled = re.compile(text.replace(r"\z", r"\Z"), re.ASCII)
        except re.error as error:
            raise PatternError(str(error)) from None

    def search(self, value: str) -> bool:
        """Whether the pattern matches anywhere in `value`."""
        return self._compiled.search(value) is not None
