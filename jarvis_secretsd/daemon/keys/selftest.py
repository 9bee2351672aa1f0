"""Known answers, asked of the libraries at each start: a broken build must not seal anything."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13

from jarvis_secretsd.daemon.keys.sealing import Aead, SealBroken, Sealer
from jarvis_secretsd.daemon.keys.signing import AuditSigner, verify_signature
from jarvis_secretsd.errors import StartRefused


def self_test() -> None:
    """Raises StartRefused if a primitive gives another answer than its specification.

    Takes a few milliseconds.
    """
    for name, right in _CHECKS.items():
        if not right():
            raise StartRefused(
                f"the self-test of {name} failed: the cryptographic libraries of this installation "
                "can't be trusted; reinstall PyNaCl and cryptography"
            )


def _xchacha20_poly1305() -> bool:
    """draft-irtf-cfrg-xchacha-03, A.3.1."""
    return _opens(
        Aead.XCHACHA20_POLY1305,
        key=bytes(range(0x80, 0xA0)),
        nonce=bytes(range(0x40, 0x58)),
        aad=bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
        plain=b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip "
        b"for the future, sunscreen would be it.",
        box=bytes.fromhex(
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa644"
            "0bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e"
            "3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e"
            "c0875924c1c7987947deafd8780acf49"
        ),
    )


def _aes_256_gcm() -> bool:
    """The Galois/Counter Mode of Operation (McGrew, Viega), test case 16."""
    return _opens(
        Aead.AES_256_GCM,
        key=bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2),
        nonce=bytes.fromhex("cafebabefacedbaddecaf888"),
        aad=bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
        plain=bytes.fromhex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        box=bytes.fromhex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
            "76fc6ece0f4e1768cddf8853bb2d551b"
        ),
    )


def _opens(aead: Aead, *, key: bytes, nonce: bytes, aad: bytes, plain: bytes, box: bytes) -> bool:
    """The known box opens, what is sealed now opens too, and an altered box doesn't."""
    sealer = Sealer(aead, key)
    altered = box[:-1] + bytes([box[-1] ^ 1])
    return (
        _opened(sealer, nonce, box, aad) == plain
        and _opened(sealer, *sealer.seal(plain, aad), aad) == plain
        and _opened(sealer, nonce, altered, aad) is None
    )


def _opened(sealer: Sealer, nonce: bytes, box: bytes, aad: bytes) -> bytes | None:
    try:
        return sealer.open(nonce, box, aad)
    except SealBroken:
        return None


def _argon2id() -> bool:
    """Two passes over 256 KiB; OpenSSL 3 and the reference implementation agree on the answer."""
    key = crypto_pwhash_alg(
        32, b"password", b"somesaltsomesalt", 2, 256 << 10, crypto_pwhash_ALG_ARGON2ID13
    )
    return key.hex() == "cab746b4621993fdc91ec50787980b414a90a692f0bc68dfe19f9c25b3cba9ec"


def _ed25519() -> bool:
    """RFC 8032, 7.1, test 2."""
    signer = AuditSigner(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    known = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    return (
        signer.sign(b"\x72") == known
        and verify_signature(signer.public_key, b"\x72", known)
        and not verify_signature(signer.public_key, b"\x73", known)
    )


def _blake2b() -> bool:
    """RFC 7693, appendix A."""
    return blake2b(b"abc").hexdigest() == (
        "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
        "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
    )


_CHECKS: dict[str, Callable[[], bool]] = {
    "XChaCha20-Poly1305": _xchacha20_poly1305,
    "AES-256-GCM": _aes_256_gcm,
    "argon2id": _argon2id,
    "Ed25519": _ed25519,
    "BLAKE2b": _blake2b,
}
