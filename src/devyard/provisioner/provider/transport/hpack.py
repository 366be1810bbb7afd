"""Reads the compressed headers of HTTP/2 (HPACK, RFC 7541).

Called by http2.py for each block of headers, in the order they come in: the table is state shared with the peer.
Invariant: an error leaves the table unusable, and the connection has to end.
"""

from collections import deque
from functools import cache

Header = tuple[bytes, bytes]

TABLE_BYTES = 4096
"""What peers may use without asking, and all that we ever allow."""

_STATIC_TABLE = """
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""
"""RFC 7541, appendix A: name, and after a space the value."""

_CODE_LENGTHS = """
13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 6 10
10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7 7 7 7 7 7 7 7 7 7 7 7
7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11
14 13 28 20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23
23 24 22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22
23 26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26 30
"""
"""RFC 7541, appendix B: bits of each byte's Huffman code, and of the end mark. The code is canonical."""

_ENTRY_OVERHEAD = 32


class HeaderError(Exception):
    """The peer sent headers that can't be read."""


class HeaderDecoder:
    """The decoder of one connection."""

    def __init__(self) -> None:
        self._recent: deque[Header] = deque()
        self._size = 0
        self._limit = TABLE_BYTES

    def decode(self, block: bytes) -> list[Header]:
        """The headers of a block. Raises HeaderError."""
        headers: list[Header] = []
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _read_integer(block, at, 7)
                headers.append(self._entry(index))
            elif first & 0x40:
                header, at = self._read_literal(block, at, 6)
                self._add(header)
                headers.append(header)
            elif first & 0x20:
                limit, at = _read_integer(block, at, 5)
                if limit > TABLE_BYTES:
                    raise HeaderError("a table larger than allowed")
                self._limit = limit
                self._evict()
            else:
                header, at = self._read_literal(block, at, 4)
                headers.append(header)
        return headers

    def _read_literal(self, block: bytes, at: int, prefix: int) -> tuple[Header, int]:
        index, at = _read_integer(block, at, prefix)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _read_text(block, at)
        value, at = _read_text(block, at)
        return (name, value), at

    def _entry(self, index: int) -> Header:
        fixed = _static_table()
        if 0 < index <= len(fixed):
            return fixed[index - 1]
        if index == 0 or index - len(fixed) > len(self._recent):
            raise HeaderError("a header that is not in the table")
        return self._recent[index - len(fixed) - 1]

    def _add(self, header: Header) -> None:
        self._recent.appendleft(header)
        self._size += _entry_size(header)
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            self._size -= _entry_size(self._recent.pop())


def _entry_size(header: Header) -> int:
    return len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD


def _read_integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    mask = (1 << prefix) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 28, 7):
        if at >= len(block):
            break
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HeaderError("a number that does not end")


def _read_text(block: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(block):
        raise HeaderError("headers that end too early")
    is_huffman = bool(block[at] & 0x80)
    length, at = _read_integer(block, at, 7)
    if at + length > len(block):
        raise HeaderError("headers that end too early")
    text = bytes(block[at : at + length])
    return (decode_huffman(text) if is_huffman else text), at + length


def decode_huffman(data: bytes) -> bytes:
    """The text of a Huffman-coded string. Raises HeaderError."""
    codes = _huffman_codes()
    text = bytearray()
    code = length = 0
    for byte in data:
        for bit in range(7, -1, -1):
            code = code << 1 | byte >> bit & 1
            length += 1
            symbol = codes.get((length, code))
            if symbol is None:
                continue
            if symbol == 256:
                raise HeaderError("an end mark inside a text")
            text.append(symbol)
            code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise HeaderError("a text with wrong padding")
    return bytes(text)


@cache
def _static_table() -> tuple[Header, ...]:
    rows = (line.partition(" ") for line in _STATIC_TABLE.split("\n")[1:-1])
    return tuple((name.encode(), value.encode()) for name, _, value in rows)


@cache
def _huffman_codes() -> dict[tuple[int, int], int]:
    """(bits, code) → byte: codes of one length count up, and go on from the ones before with zeros added."""
    codes = {}
    code = previous = 0
    for length, symbol in sorted((int(text), index) for index, text in enumerate(_CODE_LENGTHS.split())):
        code <<= length - previous
        codes[length, code] = symbol
        code, previous = code + 1, length
    return codes
