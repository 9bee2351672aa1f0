"""JSON Web Tokens by the keys of the vault: signed, verified, and their public keys published.

A private key stays here: what leaves are signatures and public keys (RFC 8037).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct

from jarvis_secretsd.domain.claims import check_hold, check_wished
from jarvis_secretsd.domain.generation import KEY_BYTES
from jarvis_secretsd.domain.jws import MAX_TOKEN, read_object, take_apart, to_sign, token_of
from jarvis_secretsd.domain.operations import Done, Setting, live
from jarvis_secretsd.domain.rotation import is_over
from jarvis_secretsd.domain.secret import Secret, Version
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.errors import Conflict, InvalidRequest, InvalidToken, TooLarge
from jarvis_secretsd.messages import Jwk, JwtSigned, JwtVerified, KeySet, SignJwt, VerifyJwt
from jarvis_secretsd.values import (
    NEVER,
    BearerToken,
    Kid,
    Kind,
    SecretName,
    SecretValue,
    State,
)

DEFAULT_KEY = SecretName("jwt_signing_key")
"""Signs where a request names no key, if the client may sign with it."""

JTI_BYTES = 16
"""Random, so that no two tokens are called the same."""

REMEMBERED = 1024
"""Public keys that aren't derived anew: more than one host has, in 100 kB."""


class Ed25519(Protocol):
    """Signatures with a key of 32 bytes (RFC 8032); whoever runs the service brings them."""

    def public_key(self, seed: bytes) -> bytes: ...
    def sign(self, seed: bytes, message: bytes) -> bytes: ...
    def verifies(self, public_key: bytes, message: bytes, signature: bytes) -> bool: ...


class JwtRules(Struct, frozen=True):
    """Who tokens say has issued them, and how many seconds they live: by default, and at most."""

    issuer: str = "jarvis-secretsd"
    ttl_secs: int = 3600
    max_ttl_secs: int = 24 * 3600


class JwtIssuer:
    """Makes and checks tokens with the keys that a vault holds. It keeps public keys only."""

    def __init__(self, rules: JwtRules, ed25519: Ed25519) -> None:
        self._rules = rules
        self._ed25519 = ed25519
        self._publics: dict[Kid, bytes | None] = {}

    def default_key(
        self, vault: Vault, now: datetime, may_sign: Callable[[SecretName], bool]
    ) -> SecretName:
        """What signs where no key is named: `jwt_signing_key`, or else the only one there may be.

        Raises InvalidRequest where there are several.
        """
        names = [
            secret.name
            for secret, version, _ in self._verifying(vault, now)
            if version.state is State.CURRENT and may_sign(secret.name)
        ]
        if DEFAULT_KEY in names or not names:
            return DEFAULT_KEY
        if len(names) > 1:
            raise InvalidRequest(f"say which key signs: {names[0]}, {names[1]} or another")
        return names[0]

    def sign(self, name: SecretName, operation: SignJwt, setting: Setting) -> Done:
        """A token with these claims and our own, by the current version of this key.

        It ends before its key could, were that rotated now. Raises NotFound, InvalidRequest,
        TooLarge, Conflict for what isn't a key to sign with, and Unavailable while the vault is
        locked.
        """
        setting.vault.insist_on_release()
        check_wished(operation.claims)
        secret = live(setting.vault, name)
        kid, seed = secret.current.kid, _seed_to_sign(secret)
        issued_at = int(setting.now.timestamp())  # the clock that others verify by
        ends_at = issued_at + self._lifetime(secret, operation.ttl, setting)
        if operation.claims.get("nbf", 0) >= ends_at:
            raise InvalidRequest("nbf is past the token's end, so it would never be valid")
        jti = setting.fresh(JTI_BYTES).hex()
        ours = {"iss": self._rules.issuer, "iat": issued_at, "exp": ends_at, "jti": jti}
        signed = to_sign(kid, {**ours, **operation.claims})
        token = token_of(signed, self._ed25519.sign(seed, signed))
        if len(token) > MAX_TOKEN:
            raise TooLarge(f"the token would be longer than {MAX_TOKEN:,} characters")
        expires_at = datetime.fromtimestamp(ends_at, UTC)
        return Done(JwtSigned(BearerToken(token), kid, expires_at), kid=kid, note=f"jti {jti}")

    def verify(self, operation: VerifyJwt, setting: Setting) -> Done:
        """What a token claims, if a key of ours signed it and it holds. Raises InvalidToken."""
        jws, now = take_apart(operation.jwt), setting.settled
        public_key = next(
            (
                key
                for _, version, key in self._verifying(setting.vault, now)
                if version.kid == jws.kid
            ),
            None,
        )
        if public_key is None:
            raise InvalidToken("the key that it names (kid) is unknown, or has ended")
        if not self._ed25519.verifies(public_key, jws.signed, jws.signature):
            raise InvalidToken("its signature is wrong")
        claims = read_object(jws.payload, "payload")
        check_hold(
            claims,
            issuer=operation.issuer or self._rules.issuer,
            audience=operation.audience,
            now=now.timestamp(),
            latest=setting.now.timestamp(),
        )
        return Done(JwtVerified(claims, jws.kid), kid=jws.kid)

    def published(self, vault: Vault, now: datetime) -> KeySet:
        """The public keys by which tokens verify, also those that are yet to sign (RFC 7517)."""
        return KeySet(
            tuple(
                Jwk(base64.urlsafe_b64encode(key).rstrip(b"=").decode(), version.kid)
                for _, version, key in self._verifying(vault, now)
            )
        )

    def _verifying(self, vault: Vault, now: datetime) -> Iterator[tuple[Secret, Version, bytes]]:
        """Every version by which a token may verify, with its public key."""
        for secret in vault.signing_keys():
            for version in secret.versions:
                if is_over(secret, version, now):
                    continue
                if (key := self._public_key(version)) is not None:
                    yield secret, version, key

    def _public_key(self, version: Version) -> bytes | None:
        """The version's public key; None where its value is no key."""
        if version.kid not in self._publics:
            if len(self._publics) >= REMEMBERED:
                self._publics.clear()
            seed = seed_of(version.value)
            self._publics[version.kid] = self._ed25519.public_key(seed) if seed else None
        return self._publics[version.kid]

    def _lifetime(self, secret: Secret, wished: int | None, setting: Setting) -> int:
        """Seconds for which the token is good. Raises InvalidRequest, Conflict."""
        key_ends = setting.rules.grace_ends(secret.care, setting.now, secret.care) or NEVER
        grace = int((key_ends - setting.now).total_seconds())
        if grace < 1:
            raise Conflict(
                f"{secret.name} has no grace, so a token would end with the key's next rotation; "
                "put it with grace_days of at least 1"
            )
        longest = min(self._rules.max_ttl_secs, grace)
        ttl = min(self._rules.ttl_secs, longest) if wished is None else wished
        if not 1 <= ttl <= longest:
            raise InvalidRequest(
                f"ttl is {ttl}; by the configuration and the grace of {secret.name} "
                f"it can be 1 to {longest} seconds"
            )
        return ttl


def seed_of(value: SecretValue) -> bytes | None:
    """The 32 bytes of an Ed25519 key: put as bytes, or as text in base64; None if it isn't one."""
    data = value.reveal()
    if value.is_text:
        try:
            data = base64.b64decode(data, validate=True)
        except ValueError:
            return None
    return data if len(data) == KEY_BYTES else None


def _seed_to_sign(secret: Secret) -> bytes:
    is_signing_key = secret.care.kind is Kind.JWT_SIGNING_KEY
    seed = seed_of(secret.current.value) if is_signing_key else None
    if seed is None:
        raise Conflict(
            f"{secret.name} is no key to sign with: it must be of kind {Kind.JWT_SIGNING_KEY}, "
            f"and its value base64 of {KEY_BYTES} bytes"
        )
    return seed
