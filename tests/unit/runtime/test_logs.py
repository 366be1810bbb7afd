"""Logs: secrets never leave the process, whatever way they come in."""

import json
import logging

import pytest
import structlog

from devyard.runtime.logs import REDACTED, redact, set_up_logs


@pytest.mark.parametrize(
    "name", ["token", "session_token", "password", "first_user_password", "ticket", "Authorization",
             "client_secret", "postgres_url", "Coder-Session-Token", "internal_key", "private_key", "cookie"],
)  # fmt: skip
def test_fields_named_like_secrets_are_blank(name):
    event = redact(None, "", {"event": "x", name: "hunter2", "nested": {"list": [{name: "hunter2"}]}})
    assert "hunter2" not in json.dumps(event)
    assert event[name] == REDACTED


@pytest.mark.parametrize(
    "text",
    ["Authorization: Bearer hunter2.x-y", "postgresql://u:hunter2@h/d", "/x?token=hunter2&y=1", "bearer hunter2"],
)
def test_secrets_inside_texts_are_blank(text):
    event = redact(None, "", {"event": text, "where": [text]})
    assert "hunter2" not in json.dumps(event)


def test_what_is_no_secret_stays():
    event = {"event": "stream", "token_id": "abc", "token_name": "laptop", "bytes": 5, "key_id": "k1"}
    assert redact(None, "", dict(event)) == event


@pytest.fixture
def _restored_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("_restored_logging")
def test_json_lines_of_both_kinds(capsys):
    set_up_logs("json", "info", process="relay")
    structlog.get_logger("relay").info("stream", bytes=5, ticket="hunter2")
    structlog.get_logger("relay").debug("not shown")
    logging.getLogger("library").warning("plain %s", "words", extra={"password": "hunter2"})
    first, second = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (first["message"], first["bytes"], first["process"], first["level"]) == ("stream", 5, "relay", "info")
    assert first["ticket"] == REDACTED
    assert (second["message"], second["process"], second["password"]) == ("plain words", "relay", REDACTED)
    assert first["time"].endswith("Z")


@pytest.mark.usefixtures("_restored_logging")
def test_a_stall_can_be_read_by_people(capsys):
    """The console renderer has fields of its own meaning; the watchdog's report must not collide with one."""
    from devyard.proxy.relay import _report_stall
    from devyard.runtime.watchdog import Stall

    set_up_logs("human", "info", process="relay")
    _report_stall(Stall(0.25, "x.py:3 block", ["a.py:1 outer", "x.py:3 block"]))
    text = capsys.readouterr().err
    assert "x.py:3 block" in text
    assert "Logging error" not in text
