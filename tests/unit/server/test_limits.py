"""Counting how often something happened."""

from devyard.server.http import limits
from devyard.server.http.limits import WindowCount


def test_never_more_than_allowed_within_any_window() -> None:
    count = WindowCount(3, window_s=60)
    taken = [second for second in range(0, 200, 10) if count.take("a", float(second))]
    assert taken == [0, 10, 20, 60, 70, 80, 120, 130, 140, 180, 190]
    assert count.take("b", 199.0)


def test_keys_are_bounded(monkeypatch: object) -> None:
    count = WindowCount(1)
    for index in range(limits.MAX_KEYS + 5):
        assert count.take(str(index), 0.0)
    assert len(count._taken) == limits.MAX_KEYS
    assert not count.take(str(limits.MAX_KEYS), 1.0)
    assert count.take("0", 1.0)
