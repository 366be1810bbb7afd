"""Where a relay is: a base URL taken apart, without urllib, which costs a CLI start more than the dial
itself.
"""

from typing import NamedTuple


class RelayAddress(NamedTuple):
    """Parts of a relay's base URL. `host` is without brackets, `prefix` is the path before `/relay`."""

    is_tls: bool
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def parse_relay_url(url: str) -> RelayAddress:
    """The parts of an http(s) base URL. Raises ValueError that names the URL and what is wrong with it."""
    scheme, separator, rest = url.partition("://")
    is_tls = scheme.lower() == "https"
    if not separator or scheme.lower() not in ("http", "https"):
        raise ValueError(f"{url!r} is no http:// or https:// address")
    authority, slash, path = rest.partition("/")
    if not authority or "@" in authority or not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError(f"{url!r} is no address of a server")
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError(f"{url!r} has a malformed IPv6 address")
        port_text = tail[1:]
    else:
        host, _, port_text = authority.partition(":")
    port = int(port_text) if port_text.isdigit() else (443 if is_tls else 80)
    if (port_text and not port_text.isdigit()) or not 0 < port < 65536 or not host:
        raise ValueError(f"{url!r} has a malformed host or port")
    return RelayAddress(is_tls, host, port, (slash + path.partition("?")[0]).rstrip("/"))
