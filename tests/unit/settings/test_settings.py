"""One definition of every option: three sources, their order, and errors that say what to do."""

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.server.options import OptionError, format_duration, list_option_fields, parse_duration, split_address
from devyard.server.processes.serverapp import Start, decode_start, encode_start
from devyard.server.settings import ServerSettings, document_options, load_settings, with_access_url

ROOT = Path(__file__).parents[3]


def test_flag_before_variable_before_file_before_default(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("provisioners: 1\napi_processes: 2\nlog_level: debug\nterraform: binary\n")
    environ = {"DEVYARD_CONFIG": str(config), "DEVYARD_PROVISIONERS": "4", "CODER_PROVISIONERS": "5",
               "CODER_API_PROCESSES": "6", "DEVYARD_LOG_FORMAT": ""}  # fmt: skip
    loaded = load_settings({"provisioners": "7", "log_format": None}, environ)
    settings = loaded.settings
    assert (settings.provisioners, loaded.sources["provisioners"]) == (7, "--provisioners")
    assert (settings.api_processes, loaded.sources["api_processes"]) == (6, "CODER_API_PROCESSES")
    assert (settings.log_level, loaded.sources["log_level"]) == ("debug", f"{config}:log_level")
    assert (settings.log_format, loaded.sources["log_format"]) == ("human", "default")
    assert load_settings({}, environ).settings.provisioners == 4


@pytest.mark.parametrize(
    ("flags", "environ", "parts"),
    [
        ({"provisioners": "many"}, {}, ["--provisioners", "'many'", "0 to 64"]),
        ({"provisioners": "65"}, {}, ["--provisioners", "0 to 64"]),
        ({}, {"DEVYARD_HTTP_ADDRESS": "7080"}, ["DEVYARD_HTTP_ADDRESS", "host:port"]),
        ({}, {"CODER_LOG_FORMAT": "xml"}, ["CODER_LOG_FORMAT", "human or json"]),
        ({"session_duration": "1 day"}, {}, ["--session-duration", "24h"]),
        ({"session_duration": "0s"}, {}, ["--session-duration"]),
        ({"access_url": "dev.example.com"}, {}, ["--access-url", "https://"]),
        ({"terraform": "tofu"}, {}, ["--terraform", "auto, library or binary"]),
        ({"first_user_email": "root"}, {}, ["--first-user-email", "e-mail"]),
        ({"data_dir": ""}, {}, ["--data-dir", "empty"]),
        ({"config": "/does/not/exist"}, {}, ["/does/not/exist", "No such file"]),
    ],
)
def test_a_wrong_value_names_option_source_and_what_is_allowed(flags, environ, parts):
    with pytest.raises(OptionError) as caught:
        load_settings(flags, environ)
    for part in parts:
        assert part in str(caught.value)


def test_secrets_do_not_stand_in_messages():
    with pytest.raises(OptionError) as caught:
        load_settings({}, {"DEVYARD_POSTGRES_URL": "mysql://u:hunter2@h/d"})
    assert "DEVYARD_POSTGRES_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("provisionres: 1", ["provisionres", "did you mean provisioners?"]),
        ("api-processes: 1", ["did you mean api_processes?"]),
        ("zzz: 1", ["zzz", "known are data_dir"]),
        ("- a", ["name: value"]),
        ("a: [", ["not YAML"]),
        ("provisioners: true", ["whole number"]),
        ("http_address: [1]", ["http_address", "text"]),
    ],
)
def test_a_wrong_file(tmp_path, text, parts):
    config = tmp_path / "c.yaml"
    config.write_text(text)
    with pytest.raises(OptionError) as caught:
        load_settings({"config": str(config)}, {})
    for part in (str(config), *parts):
        assert part in str(caught.value)


def test_defaults(tmp_path):
    settings = load_settings({}, {"XDG_DATA_HOME": str(tmp_path)}).settings
    assert settings.data_dir == tmp_path / "devyard"
    assert settings.access_url == "http://127.0.0.1:7080"
    assert settings.session_duration == dt.timedelta(hours=24)
    assert settings.postgres_url is None


@pytest.mark.parametrize(
    ("address", "port", "url"),
    [
        ("0.0.0.0:80", None, "http://127.0.0.1:80"),
        (":8080", None, "http://127.0.0.1:8080"),
        ("[::1]:0", 4000, "http://[::1]:4000"),
        ("[::]:7", None, "http://[::1]:7"),
        ("host:0", None, ""),
    ],
)
def test_the_access_url_follows_the_address(address, port, url):
    assert with_access_url(ServerSettings(http_address=address), port).access_url == url


def test_an_access_url_that_was_set_stays():
    assert with_access_url(ServerSettings(access_url="https://x/"), 5).access_url == "https://x"


@given(st.integers(0, 10**10))
def test_durations_survive_their_text(milliseconds):
    value = dt.timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1s ", "1x", "1h30", "∞s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="30s"):
        parse_duration(text)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error(text):
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert host
    assert 0 <= port < 65536


def test_settings_reach_the_api_process_whole(tmp_path):
    settings = load_settings({"data_dir": str(tmp_path), "session_duration": "90m"}, {}).settings
    start = Start(settings, "key", "/x")
    line = encode_start(start)
    assert line.count(b"\n") == 1
    assert decode_start(line) == start


def test_every_option_is_documented():
    assert document_options() in (ROOT / "docs" / "configuration.md").read_text()
    for field in list_option_fields(ServerSettings):
        assert field.option.help.endswith(".")
        if any(word in field.name for word in ("password", "token", "postgres_url", "secret")):
            assert field.option.is_secret or field.name == "max_token_lifetime"
