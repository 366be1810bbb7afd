"""HTTP/1.1 heads as pure functions: what a relay peeks at, and what a dialing agent or client gets back.

Called with the bytes seen so far; answers None while the head is incomplete. Deliberately narrow: it serves
routing and the upgrade of our own two paths, every other request is parsed again by the API's HTTP parser.
Standard library only, cheap to import. RFC 9112.
"""

from typing import NamedTuple

MAX_HEAD_BYTES = 16 * 1024
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class HeadError(Exception):
    """The peer's head breaks the rules; `status` is the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestHead(NamedTuple):
    """A request head; `headers` have lower-case names (the last one wins), `size_bytes` ends at the body."""

    method: str
    target: str
    headers: dict[str, str]
    size_bytes: int

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


class ResponseHead(NamedTuple):
    """A response head; fields as in RequestHead."""

    status: int
    headers: dict[str, str]
    size_bytes: int


def parse_request_head(data: bytes) -> RequestHead | None:
    """The head at the start of `data`, None while incomplete. Raises HeadError (400, 431)."""
    size = find_head_end(data)
    if size is None:
        return None
    first, _, rest = data[:size].partition(b"\n")
    parts = first.rstrip(b"\r").split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1.") or not _is_token(parts[0]) or not parts[1]:
        raise HeadError(400, "The request line is malformed.")
    return RequestHead(parts[0].decode("ascii"), parts[1].decode("latin-1"), _parse_fields(rest), size)


def parse_response_head(data: bytes) -> ResponseHead | None:
    """The head at the start of `data`, None while incomplete. Raises HeadError (502)."""
    size = find_head_end(data)
    if size is None:
        return None
    first, _, rest = data[:size].partition(b"\n")
    parts = first.rstrip(b"\r").split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not (parts[1].isdigit() and len(parts[1]) == 3):
        raise HeadError(502, "The answer is not HTTP/1.1.")
    return ResponseHead(int(parts[1]), _parse_fields(rest), size)


def is_for_relay(data: bytes, prefix: bytes) -> bool | None:
    """Whether the request target begins with `prefix`; None while too few bytes are there to tell."""
    method_end = data.find(b" ", 0, 32)
    if method_end < 0:
        return False if len(data) >= 32 or b"\n" in data else None
    target = data[method_end + 1 : method_end + 1 + len(prefix)]
    if len(target) == len(prefix):
        return target == prefix
    return None if prefix.startswith(target) else False


def find_head_end(data: bytes) -> int | None:
    """Where the body begins, None while the head is incomplete. Raises HeadError (431)."""
    crlf, bare = data.find(b"\r\n\r\n"), data.find(b"\n\n")
    if crlf >= 0 and (bare < 0 or crlf < bare):
        end = crlf + 4
    elif bare >= 0:
        end = bare + 2
    else:
        end = -1
    if end > MAX_HEAD_BYTES or (end < 0 and len(data) >= MAX_HEAD_BYTES):
        raise HeadError(431, f"The request head is larger than {MAX_HEAD_BYTES} bytes.")
    return end if end >= 0 else None


def _parse_fields(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.split(b"\n"):
        line = line.rstrip(b"\r")
        if not line:
            continue
        name, colon, value = line.partition(b":")
        if not colon or not _is_token(name):
            raise HeadError(400, "A header line is malformed.")
        headers[name.decode("ascii").lower()] = value.strip(b" \t").decode("latin-1")
    return headers


def _is_token(text: bytes) -> bool:
    return bool(text) and _TOKEN.issuperset(text)
