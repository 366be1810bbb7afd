"""Stream tickets: claims signed by the server (Ed25519), checked by a relay without a call to the server.

A ticket is `base64url(json claims) "." base64url(signature)`, without padding. The signature covers a fixed
prefix and the first part as it stands, so that a key used here can never sign for another purpose. The server
signs, relays verify; agents and clients only carry the text. docs/design/tunnels.md
"""

import base64
import binascii
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from devyard.wire.streams import TicketClaims

MAX_TICKET_CHARS = 2048
_SIGNED_PREFIX = b"devyard stream ticket 1\n"
_decode_claims = msgspec.json.Decoder(TicketClaims).decode


class TicketError(Exception):
    """A ticket does not open anything; `reason` is fit for the holder's eyes and never contains the ticket."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sign_ticket(claims: TicketClaims, private_key: Ed25519PrivateKey) -> str:
    """The ticket's text for these claims; `claims.key_id` must name the public half that relays were given."""
    payload = _encode(msgspec.json.encode(claims))
    signature = private_key.sign(_SIGNED_PREFIX + payload)
    return (payload + b"." + _encode(signature)).decode("ascii")


def verify_ticket(text: str, keys: Mapping[str, Ed25519PublicKey], now: float) -> TicketClaims:
    """The claims of a genuine, unexpired ticket; `now` in Unix seconds. Raises TicketError."""
    if len(text) > MAX_TICKET_CHARS:
        raise TicketError("The stream ticket is too long.")
    payload, dot, signature = text.encode("utf-8", "replace").partition(b".")
    if not dot:
        raise TicketError("The stream ticket is malformed.")
    try:
        claims = _decode_claims(_decode(payload))
        raw_signature = _decode(signature)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise TicketError("The stream ticket is malformed.") from None
    key = keys.get(claims.key_id)
    if key is None:
        raise TicketError("The stream ticket was signed with a key that this relay does not know.")
    try:
        key.verify(raw_signature, _SIGNED_PREFIX + payload)
    except InvalidSignature:
        raise TicketError("The stream ticket's signature is wrong.") from None
    if claims.expires_at <= now:
        raise TicketError("The stream ticket has expired.")
    return claims


def load_public_keys(raw_keys: Mapping[str, bytes]) -> dict[str, Ed25519PublicKey]:
    """Key objects of raw 32-byte Ed25519 public keys by id. Raises ValueError for a key of another length."""
    return {key_id: Ed25519PublicKey.from_public_bytes(raw) for key_id, raw in raw_keys.items()}


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    """Strict base64url: only the one canonical text of some bytes is accepted."""
    raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(raw) != text:
        raise ValueError("not canonical")
    return raw
