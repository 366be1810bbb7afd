import pytest

from devyard.net.address import RelayAddress, parse_relay_url


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://127.0.0.1:7080", RelayAddress(False, "127.0.0.1", 7080, ""), "127.0.0.1:7080"),
        ("https://dev.example.com", RelayAddress(True, "dev.example.com", 443, ""), "dev.example.com"),
        ("https://dev.example.com/base/", RelayAddress(True, "dev.example.com", 443, "/base"), "dev.example.com"),
        ("http://[::1]:80", RelayAddress(False, "::1", 80, ""), "[::1]"),
        ("HTTP://[::1]:81/a?b", RelayAddress(False, "::1", 81, "/a"), "[::1]:81"),
    ],
)
def test_addresses(url, address, authority):
    assert parse_relay_url(url) == address
    assert address.authority == authority


@pytest.mark.parametrize(
    "url",
    ["", "dev", "ftp://x", "http://", "http://a:b", "http://a:0", "http://a:70000", "http://u@a", "http://[::1",
     "http://[::1]x", "http://a b", "http://a\r\nX: y", "http://:80", "http://a:"],
)  # fmt: skip
def test_what_is_no_address(url):
    if url == "http://a:":
        assert parse_relay_url(url).port == 80
        return
    with pytest.raises(ValueError, match=r"is no|has a"):
        parse_relay_url(url)
