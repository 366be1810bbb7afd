"""The `q` parameter, paging, ids, limits and CSRF: pure rules of the HTTP edge."""

from uuid import UUID, uuid4

import pytest

from devyard.server.http.csrf import check_csrf, check_origin, make_csrf_token
from devyard.server.http.filters import escape_like, parse_filter, read_choices, read_flag, read_time
from devyard.server.http.ids import parse_id, present_id
from devyard.server.http.limits import MAX_KEYS, AttemptLimit
from devyard.server.http.paging import MAX_LIMIT, read_page
from devyard.server.jobs.rules import can_run, normalize_tags
from devyard.server.tokens import rules as tokens
from devyard.wire.errors import Forbidden, Invalid, RateLimited, UnknownFilter

KEYS = frozenset({"name", "owner", "status"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("dev", {"name": "dev"}),
        ("two words", {"name": "two words"}),
        ("owner:me dev", {"owner": "me", "name": "dev"}),
        ('name:"a b" owner:me', {"name": "a b", "owner": "me"}),
        ('owner:"a:b"', {"owner": "a:b"}),
        ("OWNER:me", {"owner": "me"}),
        ("owner:", {"owner": ""}),
        ('"quoted words"', {"name": "quoted words"}),
    ],
)
def test_filters(text: str, found: dict[str, str]) -> None:
    assert parse_filter(text, keys=KEYS, default="name") == found


@pytest.mark.parametrize(
    "text", ["colour:red", "owner:a:b", 'name:"open', "owner:a owner:b", "name:a b", "x" * 3000]
)
def test_bad_filters_name_q(text: str) -> None:
    with pytest.raises(UnknownFilter) as refused:
        parse_filter(text, keys=KEYS, default="name")
    assert [item.field for item in refused.value.validations] == ["q"]


def test_filter_values() -> None:
    assert read_flag("x", "True") is True
    assert read_choices("x", "a, B", frozenset({"a", "b"})) == ["a", "b"]
    assert read_time("x", "2026-01-31").isoformat() == "2026-01-31T00:00:00+00:00"
    assert escape_like(r"50%_\ ") == r"50\%\_\\ "
    for call in (lambda: read_flag("x", "maybe"), lambda: read_time("x", "soon")):
        with pytest.raises(UnknownFilter):
            call()


def test_paging() -> None:
    assert read_page().limit == MAX_LIMIT
    assert read_page(limit=5000).limit == MAX_LIMIT
    assert read_page(limit=10, offset=20).offset == 20
    assert read_page(after_id=str(UUID(int=0))).after_id is None
    for wrong in ({"limit": -1}, {"offset": -1}, {"offset": 10**9}, {"after_id": "x"}):
        with pytest.raises(Invalid):
            read_page(**wrong)  # type: ignore[arg-type]


def test_ids() -> None:
    some = uuid4()
    assert present_id(UUID(int=0)) is None
    assert present_id(some) == some
    assert parse_id("x", some.hex) == some
    with pytest.raises(Invalid):
        parse_id("x", "me")


def test_attempts_are_limited_and_memory_is_bounded() -> None:
    limit = AttemptLimit(allowed=3)
    for _ in range(3):
        limit.check("a", 0.0)
    with pytest.raises(RateLimited):
        limit.check("a", 1.0)
    limit.check("b", 1.0)
    limit.check("a", 61.0)
    for number in range(MAX_KEYS + 50):
        limit.check(str(number), 100.0)
    assert len(limit._buckets) == MAX_KEYS


def test_csrf() -> None:
    check_csrf("token", make_csrf_token("token"))
    for proof in ("", make_csrf_token("other"), "é"):
        with pytest.raises(Forbidden):
            check_csrf("token", proof)
    check_origin(None, "dev.example", "https://dev.example")
    check_origin("https://dev.example", "dev.example", "https://dev.example")
    for origin in ("https://evil.example", "null", "https://dev.example.evil"):
        with pytest.raises(Forbidden):
            check_origin(origin, "dev.example", "https://dev.example")


@pytest.mark.parametrize(
    ("job", "daemon", "fits"),
    [
        ({}, {}, True),
        ({}, {"zone": "eu"}, False),
        ({"zone": "eu"}, {}, False),
        ({"zone": "eu"}, {"zone": "eu", "gpu": "1"}, True),
        ({"zone": "eu"}, {"zone": "us"}, False),
    ],
)
def test_tags(job: dict[str, str], daemon: dict[str, str], fits: bool) -> None:
    assert can_run(job, daemon) is fits
    assert normalize_tags({**job, "scope": "organization", "owner": ""}) == job


def test_tokens() -> None:
    made = tokens.make_token()
    assert tokens.parse_token(str(made)) == made
    assert tokens.is_secret(made.secret, tokens.hash_secret(made.secret))
    for wrong in ("", "short-x", f"{made}x", str(made).replace("-", "_")):
        assert tokens.parse_token(wrong) is None
