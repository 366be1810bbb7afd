"""Sealing: what goes in comes out, and only there."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.server.encryption.keyring import Keyring, Place, SealError

OLD, NEW = os.urandom(32), os.urandom(32)
PLACE = Place("users", "git_private_key")


@given(st.binary(), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_again(data: bytes, text: str) -> None:
    ring = Keyring([NEW])
    assert ring.open_bytes(PLACE, 1, ring.seal_bytes(PLACE, 1, data)) == data
    assert ring.open_text(PLACE, 1, ring.seal_text(PLACE, 1, text)) == text
    assert ring.open_json(PLACE, 1, ring.seal_json(PLACE, 1, [text, {"a": text}])) == [text, {"a": text}]


def test_nothing_stays_nothing_and_plain_text_is_given_back() -> None:
    ring = Keyring([NEW])
    assert (ring.seal_bytes(PLACE, 1, b""), ring.seal_text(PLACE, 1, "")) == (b"", "")
    assert [ring.seal_json(PLACE, 1, value) for value in ({}, [], None)] == [{}, [], None]
    assert ring.open_bytes(PLACE, 1, b'{"version": 4}') == b'{"version": 4}'
    assert (ring.open_text(PLACE, 1, "plain"), ring.open_json(PLACE, 1, [1])) == ("plain", [1])


def test_the_same_value_never_looks_the_same() -> None:
    ring = Keyring([NEW])
    assert len({ring.seal_text(PLACE, 1, "secret") for _ in range(50)}) == 50
    assert "secret" not in ring.seal_text(PLACE, 1, "secret")


@pytest.mark.parametrize(
    "other", [(PLACE, 2), (Place("users", "name"), 1), (Place("deployment", PLACE.column), 1)]
)
def test_a_value_opens_only_at_its_own_place(other: tuple[Place, int]) -> None:
    ring = Keyring([NEW])
    sealed_bytes, sealed_text = ring.seal_bytes(PLACE, 1, b"secret"), ring.seal_text(PLACE, 1, "secret")
    with pytest.raises(SealError, match="changed or moved"):
        ring.open_bytes(*other, sealed_bytes)
    with pytest.raises(SealError, match="changed or moved"):
        ring.open_text(*other, sealed_text)


def test_a_changed_value_is_refused_wherever_it_was_changed() -> None:
    ring = Keyring([NEW])
    sealed = ring.seal_bytes(PLACE, 1, b"secret")
    for index in range(5, len(sealed)):
        damaged = bytearray(sealed)
        damaged[index] ^= 1
        with pytest.raises(SealError):
            ring.open_bytes(PLACE, 1, bytes(damaged))
    for text in ("dys1:", "dys1:zz:AAAA", f"dys1:{ring.writer_id}:AA", f"dys1:{ring.writer_id}:%%"):
        with pytest.raises(SealError):
            ring.open_text(PLACE, 1, text)


def test_the_first_key_seals_and_all_open() -> None:
    before, both = Keyring([OLD]), Keyring([NEW, OLD])
    sealed = before.seal_text(PLACE, 1, "secret")
    assert both.open_text(PLACE, 1, sealed) == "secret"
    assert both.ids == (both.writer_id, before.writer_id)
    with pytest.raises(SealError) as caught:
        before.open_text(PLACE, 1, both.seal_text(PLACE, 1, "secret"))
    assert both.writer_id in str(caught.value)
    assert "users.git_private_key" in str(caught.value)


def test_a_key_that_was_added_meanwhile_is_found_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, reads = [OLD], []

    def read() -> list[bytes]:
        reads.append(1)
        return keys

    ring = Keyring([OLD], read)
    sealed = Keyring([NEW, OLD]).seal_text(PLACE, 1, "secret")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2)
    with pytest.raises(SealError):
        ring.open_text(PLACE, 1, sealed)
    with pytest.raises(SealError):
        ring.open_text(PLACE, 1, sealed)  # the file is not read for each value
    assert len(reads) == 1
    keys.insert(0, NEW)
    monkeypatch.setattr(time, "monotonic", lambda: now + 4)
    assert ring.open_text(PLACE, 1, sealed) == "secret"
    assert ring.writer_id == Keyring([NEW]).writer_id


def test_no_key_is_shown() -> None:
    ring = Keyring([NEW])
    assert NEW.hex() not in f"{ring!r}{vars(ring)!r}"
    assert ring.writer_id not in NEW.hex()
