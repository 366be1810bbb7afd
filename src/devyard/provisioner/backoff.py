"""Waiting times between attempts to connect: growing, random, bounded, so that many don't come at once."""

import random


class Backoff:
    """Full jitter: a random time up to a bound that doubles from `first_s` to `most_s`."""

    def __init__(self, first_s: float = 0.5, most_s: float = 15.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._bound_s = first_s

    def next_s(self) -> float:
        """How long to wait before the next attempt."""
        wait_s = random.uniform(0.1, self._bound_s)  # noqa: S311  # no secret
        self._bound_s = min(self._most_s, self._bound_s * 2)
        return wait_s

    def reset(self) -> None:
        """The last attempt succeeded."""
        self._bound_s = self._first_s
