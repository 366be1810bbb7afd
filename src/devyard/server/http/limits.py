"""Limits on how often something may be tried. In memory and bounded: each replica counts for itself."""

from collections import OrderedDict, deque

from devyard.wire.errors import RateLimited

MAX_KEYS = 10_000


class AttemptLimit:
    """At most `allowed` attempts a minute for each key; the least recently used keys are forgotten first."""

    def __init__(self, allowed: int = 60, window_s: float = 60.0) -> None:
        self._allowed = allowed
        self._window_s = window_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, key: str, now: float) -> None:
        """Count one attempt of `key`; `now` in seconds of a monotonic clock.

        Raises:
            RateLimited: there were too many.
        """
        tokens, seen = self._buckets.pop(key, (float(self._allowed), now))
        tokens = min(self._allowed, tokens + (now - seen) * self._allowed / self._window_s)
        self._buckets[key] = (max(tokens - 1, 0.0), now) if tokens >= 1 else (tokens, now)
        while len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        if tokens < 1:
            raise RateLimited("There were too many attempts. Wait a minute, then try again.")


class WindowCount:
    """At most `allowed` of a key within any `window_s` seconds; the least recently used are forgotten first."""

    def __init__(self, allowed: int, window_s: float = 60.0) -> None:
        self._allowed = allowed
        self._window_s = window_s
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Whether there is room for one more of `key` at `now` (monotonic, in seconds); it is counted then."""
        taken = self._taken.pop(key, None) or deque(maxlen=self._allowed)
        self._taken[key] = taken
        while len(self._taken) > MAX_KEYS:
            self._taken.popitem(last=False)
        if len(taken) == self._allowed and now - taken[0] < self._window_s:
            return False
        taken.append(now)
        return True
