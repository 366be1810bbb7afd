"""Tickets: what was signed comes back, anything else opens nothing."""

import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from devyard.net.tickets import MAX_TICKET_CHARS, TicketError, load_public_keys, sign_ticket, verify_ticket
from devyard.wire.streams import TicketClaims

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = load_public_keys({"k1": KEY.public_key().public_bytes_raw()})
NOW = 1_800_000_000


def claims(**changes):
    values = {"kind": "client", "agent_id": uuid.UUID(int=1), "workspace_id": uuid.UUID(int=2)}
    return TicketClaims(**{**values, "expires_at": NOW + 60, "key_id": "k1", **changes})


@given(st.uuids(), st.uuids(), st.none() | st.uuids(), st.sampled_from(["agent", "client"]))
def test_a_ticket_comes_back_as_signed(agent_id, workspace_id, user_id, kind):
    signed = claims(agent_id=agent_id, workspace_id=workspace_id, user_id=user_id, kind=kind)
    text = sign_ticket(signed, KEY)
    assert verify_ticket(text, KEYS, NOW) == signed
    assert len(text) < MAX_TICKET_CHARS
    assert "=" not in text


@given(st.data())
def test_no_changed_character_passes(data):
    text = sign_ticket(claims(), KEY)
    position = data.draw(st.integers(0, len(text) - 1))
    replacement = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[position]))
    with pytest.raises(TicketError):
        verify_ticket(text[:position] + replacement + text[position + 1 :], KEYS, NOW)


@given(st.text(max_size=400))
def test_no_text_passes(text):
    with pytest.raises(TicketError):
        verify_ticket(text, KEYS, NOW)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (sign_ticket(claims(expires_at=NOW), KEY), "expired"),
        (sign_ticket(claims(key_id="k2"), KEY), "does not know"),
        (sign_ticket(claims(), Ed25519PrivateKey.from_private_bytes(bytes(32))), "wrong"),
        (sign_ticket(claims(), KEY) + "=", "malformed"),
        ("x" * (MAX_TICKET_CHARS + 1), "too long"),
    ],
)
def test_why_a_ticket_is_refused(text, reason):
    with pytest.raises(TicketError) as caught:
        verify_ticket(text, KEYS, NOW)
    assert reason in caught.value.reason
    assert text not in caught.value.reason


def test_a_signature_for_another_purpose_is_no_ticket():
    payload = sign_ticket(claims(), KEY).split(".")[0]
    import base64

    signature = base64.urlsafe_b64encode(KEY.sign(payload.encode())).rstrip(b"=").decode()
    with pytest.raises(TicketError, match="wrong"):
        verify_ticket(f"{payload}.{signature}", KEYS, NOW)
