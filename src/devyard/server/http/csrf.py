"""Cross-site request forgery: writes that a browser signs in by cookie must prove that a script of ours sent them.

The token is derived from the session's secret, so nothing is stored, it ends with the session, and a cookie
planted by a neighbouring subdomain proves nothing. Callers with a token in a header are exempt: no foreign page
can make a browser send one.
"""

import hashlib
import hmac
from urllib.parse import urlsplit

from devyard.wire.errors import Forbidden

COOKIE = "csrf_token"
HEADER = "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def make_csrf_token(session_token: str) -> str:
    """The proof that goes with a session."""
    return hmac.new(session_token.encode(), b"devyard csrf 1", hashlib.sha256).hexdigest()


def check_csrf(session_token: str, proof: str) -> None:
    """Refuse a cookie-authenticated write without the proof.

    Raises:
        Forbidden: the header is missing or belongs to another session.
    """
    if not hmac.compare_digest(make_csrf_token(session_token).encode(), proof.encode("utf-8", "replace")):
        raise Forbidden(
            "The request lacks the header X-CSRF-TOKEN of this session. Reload the page and try again.",
            detail="Programs send the session token in the header Coder-Session-Token instead of a cookie.",
        )


def check_origin(origin: str | None, host: str, access_url: str) -> None:
    """Refuse a cookie-authenticated websocket that a page of another site opened.

    Raises:
        Forbidden: `Origin` is neither the host that was asked nor the access URL's.
    """
    if not origin:
        return
    asking = urlsplit(origin).netloc.lower()
    if asking not in (host.lower(), urlsplit(access_url).netloc.lower()) or not asking:
        raise Forbidden("Pages of another site may not open this websocket.")
