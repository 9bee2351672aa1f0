"""Tokens as others read them: PyJWT and joserfc over real HTTP, while keys rotate and end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt as jose
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from jwt import PyJWKClient

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import InvalidToken, SecretsClient, SecretsClientError
from jarvis_secretsd.values import Kid, SecretName, State
from tests.daemon_process import DaemonProcess
from tests.e2e.tools import FAKETIME, needs
from tests.fences import fenced
from tests.waiting import wait_until

# joserfc takes EdDSA, and says at each use that RFC 9864 has another name for it
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

ROOT = Path(__file__).parents[2]

MakeDaemon = Callable[..., DaemonProcess]

KEY = SecretName("jwt_signing_key")
JWKS = "/.well-known/jwks.json"
FAR = 4_000_000_000
"""Seconds since 1970: a century from now."""


@pytest.fixture
def admin(daemon: DaemonProcess) -> Iterator[SecretsClient]:
    """The client `admin` of a running daemon that has a signing key."""
    with client_of(daemon) as client:
        client.put(KEY, new_seed())
        yield client


def client_of(daemon: DaemonProcess) -> SecretsClient:
    """Asks as `admin`."""
    return SecretsClient(str(daemon.socket_path), client_id="admin")


def new_seed() -> str:
    """A private key as the plan's script makes one: `openssl rand -base64 32`."""
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()


def fetched(daemon: DaemonProcess) -> dict[str, Any]:
    """The key set, over TCP, as nobody in particular."""
    with urllib.request.urlopen(daemon.url + JWKS, timeout=20) as response:
        assert response.headers["Content-Type"] == "application/json"
        key_set: dict[str, Any] = json.load(response)
    return key_set


def kids(daemon: DaemonProcess) -> list[str]:
    """The keys that are published."""
    return [key["kid"] for key in fetched(daemon)["keys"]]


def by_pyjwt(
    daemon: DaemonProcess, token: str, keys: PyJWKClient | None = None, **options: Any
) -> Mapping[str, Any]:
    """What PyJWT makes of a token, with the keys that it fetches."""
    keys = keys or PyJWKClient(daemon.url + JWKS)
    key = keys.get_signing_key_from_jwt(token)
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], **options)
    return claims


def by_joserfc(daemon: DaemonProcess, token: str) -> Mapping[str, Any]:
    """What joserfc makes of it."""
    keys = KeySet.import_key_set(fetched(daemon))  # type: ignore[arg-type]  # a dict of JSON
    claims = jose.decode(token, keys, algorithms=["EdDSA"]).claims
    jose.JWTClaimsRegistry(exp={"essential": True}).validate(claims)
    return claims


def rotate(client: SecretsClient) -> None:
    """A person asks for a new key."""
    assert client.ask(m.Rotate((KEY,)), m.Rotated).rotated == (KEY,)


def kid_of(token: str) -> str:
    """The key that a token names."""
    return str(jwt.get_unverified_header(token)["kid"])


def signed_elsewhere(client: SecretsClient, **claims: Any) -> str:
    """A token that a program made itself, with the private key that it may read."""
    found = client.fetch(KEY)
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(found.value.reveal()))
    whole = {"iss": "backend", "exp": FAR, **claims}
    return jwt.encode(whole, key, algorithm="EdDSA", headers={"kid": found.kid})


def test_both_libraries_read_our_tokens_and_our_set(
    daemon: DaemonProcess, admin: SecretsClient
) -> None:
    """The same claims as our own verification finds; frames give the set that HTTP gives."""
    token = admin.sign_jwt({"sub": "user-17", "aud": "api", "big": 2**70, "half": 0.5}, ttl=60)
    claims = admin.verify_jwt(token, audience="api")
    assert claims["big"] == 2**70
    checked = by_pyjwt(daemon, token, audience="api", issuer="jarvis-secretsd")
    assert checked == by_joserfc(daemon, token) == claims
    assert fetched(daemon) == admin.jwks()
    (key,) = fetched(daemon)["keys"]
    assert key.keys() == {"kty", "crv", "x", "kid", "use", "alg"}
    assert "=" not in key["x"]


def test_tokens_of_three_keys_verify_within_one_minute(
    daemon: DaemonProcess, admin: SecretsClient
) -> None:
    """Two rotations: whoever fetches a set that lacks a key has it with the next fetch."""
    keys = PyJWKClient(daemon.url + JWKS, cooldown_duration=0)
    tokens = []
    for turn in range(3):
        if turn:
            rotate(admin)
        tokens.append(admin.sign_jwt({"turn": turn}))
        assert by_pyjwt(daemon, tokens[turn], keys)["turn"] == turn
    assert len(set(map(kid_of, tokens))) == 3
    for turn, token in enumerate(tokens):
        assert by_pyjwt(daemon, token, keys) == by_joserfc(daemon, token)
        assert admin.verify_jwt(token)["turn"] == turn


def test_a_token_outlives_a_crash(daemon: DaemonProcess, admin: SecretsClient) -> None:
    """Keys are on the disk before they sign, so no token is lost with the process."""
    rotate(admin)
    token = admin.sign_jwt({"sub": "user-17"})
    daemon.kill()
    daemon.start()
    assert by_pyjwt(daemon, token) == admin.verify_jwt(token)


def test_a_revoked_key_is_unknown_with_the_next_fetch(
    daemon: DaemonProcess, admin: SecretsClient
) -> None:
    """To the libraries and to us; the tokens of the key that took its place go on."""
    stolen = admin.sign_jwt({"sub": "thief"})
    rotate(admin)
    token = admin.sign_jwt({"sub": "user-17"})
    by_pyjwt(daemon, stolen)
    admin.ask(m.Revoke(KEY, Kid(kid_of(stolen))), m.Revoked)
    with pytest.raises(jwt.PyJWKClientError, match="Unable to find a signing key"):
        by_pyjwt(daemon, stolen)
    with pytest.raises(JoseError):
        by_joserfc(daemon, stolen)
    with pytest.raises(InvalidToken, match="kid"):
        admin.verify_jwt(stolen)
    assert by_pyjwt(daemon, token)["sub"] == "user-17"


def test_the_program_on_the_page_works(
    daemon: DaemonProcess, admin: SecretsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/rotation.md shows how a token is signed and verified; only the address is ours."""
    section = (ROOT / "docs/rotation.md").read_text().partition("## JWT signing keys")[2]
    (program,) = fenced(section.partition("\n## ")[0], "python")
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(daemon.socket_path))
    found: dict[str, Any] = {}
    exec(
        program.replace("http://127.0.0.1:8081", daemon.url).replace('"backend"', '"admin"'), found
    )
    assert found["claims"]["sub"] == "user-17"


def test_the_plans_secrets_give_one_key(daemon: DaemonProcess) -> None:
    """Its script puts two values of the same form; only the signing key is published, as new."""
    assert fetched(daemon) == {"keys": []}
    with client_of(daemon) as client:
        assert client.ask(m.Health(), m.HealthStatus).secrets_count == 0
        stored = client.put(KEY, new_seed())
        client.put("jarvis_encryption_key", new_seed())
        assert stored.version == 1
        assert kids(daemon) == [stored.kid]


def test_a_program_that_signs_with_the_key_it_reads_is_understood(
    daemon: DaemonProcess, admin: SecretsClient
) -> None:
    """The plan's backend does so: its tokens verify by our set, and here when it is named."""
    token = signed_elsewhere(admin, sub="user-17")
    assert by_pyjwt(daemon, token, issuer="backend") == by_joserfc(daemon, token)
    assert admin.verify_jwt(token, issuer="backend")["sub"] == "user-17"
    with pytest.raises(InvalidToken, match="iss"):
        admin.verify_jwt(token)


def test_neither_the_private_key_nor_a_claim_is_left_behind(
    daemon: DaemonProcess, admin: SecretsClient
) -> None:
    """Not in replies, log lines or audit entries; those name the key and the token's id."""
    seed = admin.get(KEY)
    token = admin.sign_jwt({"sub": "hunter2-canary"})
    claims = admin.verify_jwt(token)
    with pytest.raises(InvalidToken):
        admin.verify_jwt(token + "x")
    assert seed.rstrip("=") not in json.dumps([token, fetched(daemon), dict(claims)])
    told = daemon.stderr + daemon.audit_path.read_text()
    assert not any(secret in told for secret in (seed, "hunter2", token))
    entries = [json.loads(line) for line in daemon.audit_path.read_text().splitlines()]
    of_jwt = [each for each in entries if "jw" in each.get("op", "")]
    assert [(each["op"], each["outcome"]) for each in of_jwt] == [
        ("sign_jwt", "allowed"),
        ("verify_jwt", "allowed"),
        ("verify_jwt", "failed"),
    ]
    assert (of_jwt[0]["kid"], of_jwt[0]["note"]) == (kid_of(token), f"jti {claims['jti']}")


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hmac(header: Mapping[str, Any], claims: Mapping[str, Any], secret: bytes) -> str:
    """A token whose signature is an HMAC, as HS256 has it."""
    body = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{body}.{b64url(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def forgeries(admin: SecretsClient) -> Iterator[tuple[str, str]]:
    """Tokens that must not hold, each with a word of the reason."""
    token, (key,) = admin.sign_jwt({"sub": "user-17"}), admin.jwks()["keys"]
    claims, kid = {"iss": "jarvis-secretsd", "exp": FAR, "sub": "root"}, key["kid"]
    public = base64.urlsafe_b64decode(key["x"] + "=")
    yield jwt.encode(claims, "", algorithm="none", headers={"kid": kid}), "alg"
    for secret in (public, key["x"].encode(), b""):
        yield by_hmac({"alg": "HS256", "kid": kid}, claims, secret), "alg"
        yield by_hmac({"alg": "EdDSA", "kid": kid}, claims, secret), "signature"
    stranger = Ed25519PrivateKey.generate()
    yield jwt.encode(claims, stranger, "EdDSA", headers={"kid": kid}), "signature"
    yield jwt.encode(claims, stranger, "EdDSA", headers={"kid": "0" * 16}), "kid"
    yield jwt.encode(claims, stranger, "EdDSA", headers={"kid": KEY}), "kid"
    yield jwt.encode(claims, stranger, "EdDSA"), "kid"
    header, _, signature = token.split(".")
    yield f"{header}.{b64url(json.dumps(claims).encode())}.{signature}", "signature"
    ours = {"iss": "jarvis-secretsd"}
    yield signed_elsewhere(admin, **{**ours, "exp": 1}), "expired"
    yield signed_elsewhere(admin, **{**ours, "nbf": FAR - 1}), "yet"
    yield signed_elsewhere(admin, **{**ours, "aud": "somebody"}), "aud"
    yield signed_elsewhere(admin), "iss"
    yield signed_elsewhere(admin, **{**ours, "pad": "x" * 9000}), "long"
    for garbage in ("", "a.b", "a.b.c", "..", "x" * 500_000, "." * 900, "\0.\0.\0", "🔑.🔑.🔑"):
        yield garbage, "three parts|base64url|JSON|long"


def test_forged_tokens_hold_nowhere(daemon: DaemonProcess, admin: SecretsClient) -> None:
    """Each is refused with its reason, over frames and HTTP alike, and the daemon goes on."""
    for token, reason in forgeries(admin):
        with pytest.raises(InvalidToken, match=reason):
            admin.verify_jwt(token)
        request = urllib.request.Request(
            daemon.url + "/jwt/verify",
            json.dumps({"token": token}).encode(),
            {"Content-Type": "application/json", "X-Jarvis-Client": "admin"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        with refused.value as error:
            assert error.code == 400
            assert json.load(error)["error"] == "invalid_token"
    admin.verify_jwt(admin.sign_jwt({}))


def test_claims_of_ours_and_hostile_ones_are_refused(admin: SecretsClient) -> None:
    """Nested without end, or too long for any header: an error, and the daemon goes on."""
    deep: Any = []
    for _ in range(800):
        deep = [deep]
    for claims in ({"exp": FAR}, {"jti": "mine"}, {"a": deep}, {"a": "x" * 100_000}):
        with pytest.raises(SecretsClientError) as refused:
            admin.sign_jwt(claims)
        assert refused.value.code in ("invalid_request", "too_large")
    admin.verify_jwt(admin.sign_jwt({}))


@pytest.fixture
def timely(make_daemon: MakeDaemon) -> tuple[DaemonProcess, Path]:
    """A daemon whose wall clock is what this file says, and which soon believes a jump."""
    settings = {"rotation": {"confirm_clock_secs": 1, "publish_secs": 2}}
    daemon = make_daemon(settings=settings, environment=FAKETIME)
    clock = daemon.directory / "faketime"
    clock.write_text("+0")
    daemon.start()
    return daemon, clock


@needs("faketime")
def test_a_key_ends_with_its_grace_and_stays_ended(timely: tuple[DaemonProcess, Path]) -> None:
    """Not while the clock's jump is unsure, then for every verifier, also when it is set back."""
    daemon, clock = timely
    with client_of(daemon) as client:
        client.put(KEY, new_seed(), grace_days=1)
        old = signed_elsewhere(client)
        rotate(client)
        new = signed_elsewhere(client)
        clock.write_text("+86500")
        assert kids(daemon) == [kid_of(old), kid_of(new)]
        assert by_pyjwt(daemon, old) == by_joserfc(daemon, old)
        wait_until(lambda: kid_of(old) not in kids(daemon))
        clock.write_text("+0")
        assert kids(daemon) == [kid_of(new)]
        with pytest.raises(jwt.PyJWKClientError, match="Unable to find a signing key"):
            by_pyjwt(daemon, old)
        with pytest.raises(JoseError):
            by_joserfc(daemon, old)
        with pytest.raises(InvalidToken, match="kid"):
            client.verify_jwt(old, issuer="backend")
        assert by_pyjwt(daemon, new) == by_joserfc(daemon, new)
        daemon.restart()
        assert kids(daemon) == [kid_of(new)]


@needs("faketime")
def test_a_key_that_the_clock_makes_is_published_before_it_signs(
    timely: tuple[DaemonProcess, Path],
) -> None:
    """In between the old one signs; who fetches the set then knows the key that is next."""
    daemon, clock = timely
    no_date = {"options": {"verify_iat": False}}
    with client_of(daemon) as client:
        first = client.put(KEY, new_seed(), rotation_days=1).kid
        before = client.sign_jwt({})
        clock.write_text("+86500")
        wait_until(lambda: len(kids(daemon)) == 2)
        keys = PyJWKClient(daemon.url + JWKS)
        assert by_pyjwt(daemon, client.sign_jwt({}), keys, **no_date)
        _, second = kids(daemon)
        told = client.ask(m.Versions(KEY), m.VersionListing)
        assert [(each.kid, each.state) for each in told.versions] == [
            (first, State.CURRENT),
            (second, State.PENDING),
        ]
        assert kid_of(client.sign_jwt({})) == first
        wait_until(lambda: kid_of(client.sign_jwt({})) == second)
        by_pyjwt(daemon, client.sign_jwt({}), keys, **no_date)  # asks nobody: the set is cached
        assert kids(daemon) == [first, second]
        assert kid_of(before) == first
