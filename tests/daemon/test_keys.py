"""Sealing, derived keys and the self-test."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.daemon import keys
from jarvis_secretsd.daemon.keys import (
    Aead,
    AuditSigner,
    DataKey,
    Opener,
    Purpose,
    SealBroken,
    self_test,
    selftest,
)
from jarvis_secretsd.errors import StartRefused

KEY = bytes(range(1, 33))
SALT = bytes(16)

both_aeads = pytest.mark.parametrize("aead", Aead)


@both_aeads
@given(plain=st.binary(max_size=300), aad=st.binary(max_size=100))
def test_what_was_sealed_opens_again(aead: Aead, plain: bytes, aad: bytes) -> None:
    """Any payload comes back to the byte with the associated data that it was sealed with."""
    sealer = DataKey(KEY).sealer(aead, SALT)
    nonce, box = sealer.seal(plain, aad)
    assert sealer.open(nonce, box, aad) == plain


@both_aeads
def test_a_box_opens_only_as_it_was_sealed(aead: Aead) -> None:
    """One bit elsewhere in box, nonce, associated data, key or salt, and the box stays shut."""
    key = DataKey(KEY)
    sealer = key.sealer(aead, SALT)
    nonce, box = sealer.seal(b"hunter2", b"place 1")
    wrong = [(sealer, nonce, flipped, b"place 1") for flipped in _each_bit_flipped(box)]
    wrong += [(sealer, flipped, box, b"place 1") for flipped in _each_bit_flipped(nonce)]
    wrong += [
        (sealer, nonce, box, b"place 2"),
        (sealer, nonce, box[:-1], b"place 1"),
        (sealer, nonce, b"", b"place 1"),
        (sealer, nonce[:-1], box, b"place 1"),
        (sealer, nonce + b"\0", box, b"place 1"),
        (key.sealer(aead, bytes(15) + b"\1"), nonce, box, b"place 1"),
        (DataKey(KEY[::-1]).sealer(aead, SALT), nonce, box, b"place 1"),
    ]
    for some_sealer, some_nonce, some_box, aad in wrong:
        with pytest.raises(SealBroken):
            some_sealer.open(some_nonce, some_box, aad)


@both_aeads
def test_no_nonce_comes_twice(aead: Aead) -> None:
    """Sealing the same payload again and again takes a fresh nonce each time."""
    sealer = DataKey(KEY).sealer(aead, SALT)
    nonces = {sealer.seal(b"same", b"")[0] for _ in range(5000)}
    assert len(nonces) == 5000


@pytest.mark.parametrize("key", [bytes(32), b"", bytes(31) + b"\1\1", KEY[:31]])
def test_a_data_key_is_32_bytes_that_are_not_zero(key: bytes) -> None:
    """A key of zeros, which a failed generator gives, seals nothing."""
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(key)


def test_generated_data_keys_differ() -> None:
    """Each generated key is another."""
    assert len({DataKey.generate().reveal() for _ in range(100)}) == 100


def test_a_mac_holds_for_its_purpose_and_message_only() -> None:
    """What vouches for a header vouches for no heads file and no other header."""
    key = DataKey(KEY)
    mac = key.mac(Purpose.HEADER, b"message")
    assert key.vouches(Purpose.HEADER, b"message", mac)
    assert not key.vouches(Purpose.HEADS, b"message", mac)
    assert not key.vouches(Purpose.HEADER, b"massage", mac)
    assert not key.vouches(Purpose.HEADER, b"message", mac[:-1])
    assert not key.vouches(Purpose.HEADER, b"message", "é")
    assert not DataKey(KEY[::-1]).vouches(Purpose.HEADER, b"message", mac)


def test_a_mac_is_keyed_blake2b_of_rfc_7693() -> None:
    """Another implementation can compute it from the data key and the purpose's name alone."""
    subkey = hashlib.blake2b(digest_size=32, key=KEY, person=b"jarvis-heads").digest()
    expected = hashlib.blake2b(b"message", digest_size=32, key=subkey).hexdigest()
    assert DataKey(KEY).mac(Purpose.HEADS, b"message") == expected


def test_a_wiped_key_is_gone() -> None:
    """After `wipe` the bytes are zero, and the key refuses to work as a key of zeros."""
    key = DataKey(KEY)
    key.wipe()
    assert key.reveal() == bytes(32)
    with pytest.raises(ValueError, match="wiped"):
        key.mac(Purpose.HEADS, b"")


def test_keys_print_as_stars() -> None:
    """No way of printing an object that holds a key shows a byte of it."""
    key, opener, signer = DataKey(KEY), Opener.from_key(KEY, "here"), AuditSigner(KEY)
    for holder in (key, opener, signer, key.sealer(Aead.AES_256_GCM, SALT)):
        for text in (repr(holder), str(holder), f"{holder}", repr([holder])):
            assert "***" in text
            assert KEY.hex()[:8] not in text and repr(KEY)[2:10] not in text


def test_the_libraries_know_the_answers() -> None:
    """The self-test passes with sound libraries."""
    self_test()


@pytest.mark.parametrize(
    ("name", "liar"),
    [
        ("blake2b", lambda *_: hashlib.blake2b(b"abd")),
        ("crypto_pwhash_alg", lambda *_: bytes(32)),
        ("verify_signature", lambda *_: True),
        ("Sealer", lambda aead, key: DataKey(KEY).sealer(aead, SALT)),
    ],
)
def test_a_library_that_lies_stops_the_start(
    name: str, liar: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong answer, a verifier that says yes to everything, or another cipher is noticed."""
    monkeypatch.setattr(selftest, name, liar)
    with pytest.raises(StartRefused, match="self-test"):
        self_test()


def test_the_room_shows_what_it_exports() -> None:
    """Every name that the package announces is there."""
    assert all(hasattr(keys, name) for name in keys.__all__)


def _each_bit_flipped(data: bytes) -> list[bytes]:
    number = int.from_bytes(data)
    return [(number ^ 1 << bit).to_bytes(len(data)) for bit in range(len(data) * 8)]
