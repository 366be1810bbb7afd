"""How long to wait before the next attempt: exponential with full jitter, reset by success. Pure."""

import random
from collections.abc import Callable


class Backoff:
    """Waits of 0.1 s growing to `cap_s`; each is drawn between half and the whole of its step."""

    def __init__(
        self,
        *,
        first_s: float = 0.1,
        cap_s: float = 15.0,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._rand = rand
        self._failures = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        step = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return step * (0.5 + self._rand() / 2)

    def reset(self) -> None:
        """The last attempt worked."""
        self._failures = 0
