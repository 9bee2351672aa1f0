"""The audit log's signatures. The vectors were made by openssl 3.0 (genpkey, pkey, pkeyutl)."""

from __future__ import annotations

import hashlib

import pytest

from jarvis_secretsd.daemon.keys import (
    AuditSigner,
    key_id,
    public_from_pem,
    public_to_pem,
    verify_signature,
)
from jarvis_secretsd.errors import KeyRefused

MESSAGE = b"jarvis-audit-v1\n"
PRIVATE_PEM = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHrKdvoGAfQodsKLOvVqtt3DJkj9mN50hHsmGDVVrlbz
-----END PRIVATE KEY-----
"""
PUBLIC_PEM = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAT3TTlxhnVc+GvfDqqleVRVMG6vvDi5Ei1l0daqJVEG0=
-----END PUBLIC KEY-----
"""
SIGNATURE = bytes.fromhex(
    "1793558882d954276f87112b02e9dc5f06574ed42f708c68a8d71b3b0e834717"
    "7ac7e8ed8c5e3a409f905f17b973494c20e6a0a15c71c73c8fab3fa01386d90d"
)
ED448_PEM = b"""-----BEGIN PRIVATE KEY-----
MEcCAQAwBQYDK2VxBDsEOfk6DSMEPdugqZB4OP+8JMWGjDxy3K7+jhB7ZwJ0a0jX
ShWm4rKgWcZlEH+mWUOstF8ni2OL/yQWkw==
-----END PRIVATE KEY-----
"""
ENCRYPTED_PEM = b"""-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgZwtLgVVebGgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEO7xcWgb55A6lgg/B5r57UkEQNpR
WJiEP0gc6QzpNXHpUu2CLIFrEH8n0TJuXrv8NZNFJ35cpa9fc+KDC1mR+C42vF4W
ZnN2oGTILAWF5fF11UY=
-----END ENCRYPTED PRIVATE KEY-----
"""


def test_a_key_of_openssl_signs_as_openssl_does() -> None:
    """Ed25519 is deterministic, so both give the same signature for the same key and message."""
    assert AuditSigner.from_pem(PRIVATE_PEM, "key").sign(MESSAGE) == SIGNATURE


def test_pem_is_spelled_as_openssl_spells_it() -> None:
    """Private and public PEM are byte for byte what openssl writes, so it reads them too."""
    signer = AuditSigner.from_pem(PRIVATE_PEM, "key")
    assert signer.to_pem() == PRIVATE_PEM
    assert public_to_pem(signer.public_key) == PUBLIC_PEM
    assert public_from_pem(PUBLIC_PEM, "key") == signer.public_key


def test_a_generated_key_survives_its_pem() -> None:
    """A signer that is stored and loaded again is the same one."""
    signer = AuditSigner.generate()
    again = AuditSigner.from_pem(signer.to_pem(), "key")
    assert again.public_key == signer.public_key
    assert verify_signature(signer.public_key, MESSAGE, again.sign(MESSAGE))


def test_the_key_id_names_the_public_key() -> None:
    """It is the first 16 hex digits of the SHA-256 of the raw key, which anyone can compute."""
    signer = AuditSigner.from_pem(PRIVATE_PEM, "key")
    expected = hashlib.sha256(signer.public_key).hexdigest()[:16]
    assert signer.key_id == key_id(signer.public_key) == expected


@pytest.mark.parametrize(
    ("message", "signature"),
    [
        (MESSAGE + b"\n", SIGNATURE),
        (b"", SIGNATURE),
        (MESSAGE, SIGNATURE[:-1]),
        (MESSAGE, SIGNATURE + b"\0"),
        (MESSAGE, b""),
        (MESSAGE, bytes(64)),
        (MESSAGE, SIGNATURE[32:] + SIGNATURE[:32]),
    ],
)
def test_a_signature_holds_for_its_message_only(message: bytes, signature: bytes) -> None:
    """Another message, or a signature that was changed, cut or made up, doesn't verify."""
    assert not verify_signature(public_from_pem(PUBLIC_PEM, "key"), message, signature)


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(32), bytes(33), b"\1" + bytes(31)])
def test_no_public_key_that_is_none_verifies_anything(public_key: bytes) -> None:
    """Keys of a wrong size, and points of small order that allow forgery, say no."""
    assert not verify_signature(public_key, MESSAGE, SIGNATURE)
    assert not verify_signature(public_key, MESSAGE, b"\1" + bytes(63))


@pytest.mark.parametrize(
    "pem", [b"", b"junk", PUBLIC_PEM, ED448_PEM, ENCRYPTED_PEM, PRIVATE_PEM[:70]]
)
def test_what_is_no_signing_key_is_refused_by_its_path(pem: bytes) -> None:
    """The refusal says which file is wrong, and nothing of what it holds."""
    with pytest.raises(KeyRefused, match=r"^/audit/sign\.key is no unencrypted Ed25519") as caught:
        AuditSigner.from_pem(pem, "/audit/sign.key")
    assert "MC4CAQ" not in str(caught.value)


@pytest.mark.parametrize("pem", [b"", b"junk", PRIVATE_PEM, PUBLIC_PEM.replace(b"K2Vw", b"K2Vx")])
def test_what_is_no_public_key_is_refused_by_its_path(pem: bytes) -> None:
    """A verifier that was given another file doesn't go on with it."""
    with pytest.raises(KeyRefused, match=r"^pinned\.pub is not an Ed25519 public key"):
        public_from_pem(pem, "pinned.pub")
