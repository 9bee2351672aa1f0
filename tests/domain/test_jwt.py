"""Tokens: what is signed, by which key and for how long; what verifies, and what is published."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from jarvis_secretsd.daemon.keys import Ed25519
from jarvis_secretsd.domain.changes import Care, Stepped, VersionPending, VersionPut
from jarvis_secretsd.domain.claims import MAX_DEPTH
from jarvis_secretsd.domain.jws import MAX_TOKEN
from jarvis_secretsd.domain.jwt import DEFAULT_KEY, JwtIssuer, JwtRules
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.secret import Secret
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.messages import (
    Delete,
    Failure,
    Jwks,
    JwtSigned,
    JwtVerified,
    KeySet,
    Put,
    Request,
    Restore,
    Revoke,
    Rollback,
    Rotate,
    SignJwt,
    Stored,
    VerifyJwt,
)
from jarvis_secretsd.values import ClientId, Kid, Kind, Permission, SecretName, SecretValue
from tests.domain.world import ADMIN_UID, ALL, BACKEND_UID, NOW, World, client, policy_of

ED25519 = Ed25519()
SEED = bytes(range(32))
SEED_TEXT = base64.b64encode(SEED).decode()
OTHER_SEED = bytes(range(32, 64))
DAY_SECS = 86_400
EPOCH = int(NOW.timestamp())


def furnished(world: World | None = None, **put: Any) -> World:
    """A world with the plan's signing key in it."""
    world = world or World()
    stored = world.ask(Put(DEFAULT_KEY, SEED_TEXT, **put))
    assert isinstance(stored, Stored), stored
    return world


def signed(world: World, claims: dict[str, Any] | None = None, **more: Any) -> JwtSigned:
    """A token with these claims."""
    reply = world.ask(SignJwt(claims or {}, **more))
    assert isinstance(reply, JwtSigned), reply
    return reply


def verified(world: World, token: str | JwtSigned, **more: Any) -> JwtVerified:
    """What the token claims, which must hold."""
    reply = world.ask(VerifyJwt(text_of(token), **more))
    assert isinstance(reply, JwtVerified), reply
    return reply


def refusal(world: World, token: str | JwtSigned, **more: Any) -> str:
    """Why the token doesn't hold."""
    reply = world.ask(VerifyJwt(text_of(token), **more))
    assert isinstance(reply, Failure), reply
    assert reply.code == "invalid_token"
    return reply.message


def failure(world: World, operation: Any, **more: Any) -> Failure:
    """The failure that this comes to."""
    reply = world.ask(operation, **more)
    assert isinstance(reply, Failure), reply
    return reply


def published(world: World) -> list[Kid]:
    """The kids of the key set, asked for by nobody in particular."""
    answer = world.answer(Jwks(), uid=None, claim=None)
    assert isinstance(answer.reply, KeySet)
    assert answer.acts == ()
    return [key.kid for key in answer.reply.keys]


def text_of(token: str | JwtSigned) -> str:
    return token if isinstance(token, str) else token.token.reveal()


def part(token: JwtSigned, place: int) -> Any:
    """The header (0) or the claims (1) of a token, as any reader finds them."""
    text = text_of(token).split(".")[place]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def put_of(name: str, kind: Kind = Kind.STATIC, number: int = 1) -> VersionPut:
    """The change that puts a key there."""
    value = SecretValue.from_text(SEED_TEXT)
    kid = Kid(sha256(name.encode()).hexdigest()[:16])
    return VersionPut(SecretName(name), kid, number, value, Care(kind), NOW)


def written(data: bytes | dict[str, Any]) -> str:
    """A part of a token."""
    text = json.dumps(data).encode() if isinstance(data, dict) else data
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header: Any, claims: Any, seed: bytes = SEED) -> str:
    """A token of which every part may be wrong, but not the signature under `seed`."""
    body = f"{written(header)}.{written(claims)}"
    return f"{body}.{written(ED25519.sign(seed, body.encode()))}"


def good(world: World, **claims: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that holds, with these claims changed."""
    (kid,) = published(world)
    ours = {"iss": "jarvis-secretsd", "exp": EPOCH + 60, **claims}
    return {"alg": "EdDSA", "kid": kid}, {k: v for k, v in ours.items() if v is not None}


def test_a_token_is_signed_by_the_current_version_and_says_so() -> None:
    """Its header is what verifiers of today read, with the kid of the version that signed."""
    world = furnished()
    token = signed(world, {"sub": "u1"})
    assert [token.kid] == published(world)
    assert part(token, 0) == {"alg": "EdDSA", "typ": "JWT", "kid": token.kid}
    body, _, signature = text_of(token).rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    assert ED25519.verifies(ED25519.public_key(SEED), body.encode(), raw)
    assert "=" not in text_of(token)


def test_the_daemon_says_who_issued_it_when_and_until_when() -> None:
    """`iss`, `iat`, `exp` and a `jti` that no other token has stand beside the caller's claims."""
    world = furnished()
    one, other = (signed(world, {"sub": "u1"}, ttl=60) for _ in range(2))
    claims = part(one, 1)
    assert claims.pop("jti") != part(other, 1)["jti"]
    assert claims == {"iss": "jarvis-secretsd", "iat": EPOCH, "exp": EPOCH + 60, "sub": "u1"}
    assert one.expires_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("name", ["iss", "iat", "exp", "jti"])
def test_what_the_daemon_says_nobody_else_does(name: str) -> None:
    """A claim of ours among the caller's is an error that names it, whatever it holds."""
    told = failure(furnished(), SignJwt({name: None}))
    assert (told.code, told.message.split()[3]) == ("invalid_request", name)


def nested(levels: int) -> Any:
    """Objects and lists, so many in one another."""
    return 1 if levels == 0 else [nested(levels - 1)] if levels % 2 else {"a": nested(levels - 1)}


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 1},
        {"sub": None},
        {"aud": 1},
        {"aud": []},
        {"aud": ["a", 1]},
        {"nbf": True},
        {"nbf": "1"},
        {"nbf": EPOCH + 3600},
        {"a": nested(MAX_DEPTH)},
    ],
)
def test_a_token_that_no_verifier_would_take_is_not_signed(claims: dict[str, Any]) -> None:
    """Claims of the wrong shape, never valid, or nested without end are the caller's mistake."""
    assert failure(furnished(), SignJwt(claims)).code == "invalid_request"


@pytest.mark.parametrize(
    "value",
    [2**64 + 1, -(10**40), 9007199254740993, 0.1, 1e300, 5e-324, -0.0, "é\0\U0001f511", "", None],
)
def test_claims_come_back_as_they_were(value: Any) -> None:
    """Numbers beyond a machine word, floats to the last bit, and any text."""
    claims = {"x": value, "y": [{"z": value}], "aud": "api"}
    world = furnished()
    back = verified(world, signed(world, claims), audience="api").claims
    assert repr({name: back[name] for name in claims}) == repr(claims)


def test_claims_may_be_nested_as_deep_as_the_page_says() -> None:
    """The last level that is allowed is signed and verified."""
    claims = {"a": nested(MAX_DEPTH - 1)}
    world = furnished()
    assert verified(world, signed(world, claims)).claims["a"] == claims["a"]


def test_a_token_that_is_too_long_for_a_header_is_not_made() -> None:
    """The error names the limit; a shorter one still verifies."""
    world = furnished()
    told = failure(world, SignJwt({"x": "x" * MAX_TOKEN}))
    assert (told.code, f"{MAX_TOKEN:,}" in told.message) == ("too_large", True)
    verified(world, signed(world, {"x": "x" * 5000}))


@pytest.mark.parametrize("ttl", [0, -1, DAY_SECS + 1, 2**63])
def test_a_ttl_out_of_bounds_is_refused(ttl: int) -> None:
    """It is never shortened in silence; the error says what can be asked for."""
    told = failure(furnished(), SignJwt({}, ttl=ttl))
    assert (told.code, f"1 to {DAY_SECS} " in told.message) == ("invalid_request", True)


def of_days(world: World, *, by_default: int, at_most: int) -> World:
    """The world, whose tokens are good for so many days."""
    rules = JwtRules(ttl_secs=by_default * DAY_SECS, max_ttl_secs=at_most * DAY_SECS)
    world.service._jwt = JwtIssuer(rules, ED25519)
    return world


def test_no_token_outlives_the_key_that_verifies_it() -> None:
    """The longest one still verifies in its last second, though its key was rotated at once."""
    world = of_days(furnished(grace_days=2), by_default=30, at_most=60)
    token = signed(world)
    assert token.expires_at == NOW + timedelta(days=2)
    assert failure(world, SignJwt({}, ttl=2 * DAY_SECS + 1)).code == "invalid_request"
    world.ask(Rotate((DEFAULT_KEY,)))
    world.now = token.expires_at - timedelta(seconds=1)
    assert verified(world, token).kid == token.kid
    assert token.kid in published(world)
    world.now = token.expires_at
    refusal(world, token)


def test_a_key_without_grace_signs_nothing() -> None:
    """Its tokens would end with its next rotation; the error says what to change."""
    told = failure(furnished(grace_days=0), SignJwt({}))
    assert (told.code, "grace_days" in told.message) == ("conflict", True)


def at(world: World, operation: Any, now: datetime, settled: datetime) -> Any:
    """What is answered while the wall clock and the time that has settled differ."""
    request, peer = Request(operation, ClientId("admin")), Peer(Transport.UNIX, ADMIN_UID)
    return world.service.handle(request, peer, world.vault, now, world.fresh, settled).reply


def test_a_clock_that_jumped_ahead_ends_no_token_and_no_key() -> None:
    """A token from before verifies; a new one is dated by the clock that others verify by."""
    world, ahead = furnished(), NOW + timedelta(days=400)
    before, during = at(world, SignJwt({}), NOW, NOW), at(world, SignJwt({}), ahead, NOW)
    assert part(during, 1)["iat"] == int(ahead.timestamp())
    world.ask(Rotate((DEFAULT_KEY,)))
    assert len(at(world, Jwks(), ahead, NOW).keys) == 2
    for token in (before, during):
        assert isinstance(at(world, VerifyJwt(text_of(token)), ahead, NOW), JwtVerified)


def test_yesterdays_token_verifies_after_two_rotations() -> None:
    """Keys in grace verify; the new one signs at once, since a person asked for it."""
    world = of_days(furnished(), by_default=3, at_most=14)
    tokens = [signed(world)]
    for _ in range(2):
        world.wait(days=1)
        world.ask(Rotate((DEFAULT_KEY,)))
        tokens.append(signed(world))
    kids = [verified(world, token).kid for token in tokens]
    assert len(set(kids)) == 3
    assert published(world) == kids


def test_the_end_of_grace_is_the_end_of_the_key() -> None:
    """Then it is neither published nor verifies, though no record has said so yet."""
    world = furnished(grace_days=1)
    header, claims = good(world, exp=EPOCH + 9 * DAY_SECS)
    old = forged(header, claims)
    world.ask(Rotate((DEFAULT_KEY,)))
    verified(world, old)
    world.wait(days=1)
    assert "kid" in refusal(world, old)
    assert header["kid"] not in published(world)


def test_a_revoked_key_is_gone_with_the_next_request() -> None:
    """From the set and from verification."""
    world = furnished()
    token = signed(world)
    world.ask(Rotate((DEFAULT_KEY,)))
    assert token.kid in published(world)
    world.ask(Revoke(DEFAULT_KEY, token.kid))
    assert token.kid not in published(world)
    assert "kid" in refusal(world, token)


def test_a_rollback_signs_by_the_old_key_and_verifies_by_both() -> None:
    """What was signed in between isn't lost."""
    world = furnished()
    first = signed(world)
    world.ask(Rotate((DEFAULT_KEY,)))
    second = signed(world)
    world.ask(Rollback(DEFAULT_KEY))
    assert signed(world).kid == first.kid
    assert verified(world, second).kid == second.kid


def test_a_deleted_key_is_not_published_and_a_restored_one_is() -> None:
    """Deleting is at once, and can be taken back."""
    world = furnished()
    token = signed(world)
    world.ask(Delete(DEFAULT_KEY))
    assert published(world) == []
    refusal(world, token)
    world.ask(Restore(DEFAULT_KEY))
    assert published(world) == [token.kid]
    verified(world, token)


@pytest.mark.parametrize("step", [None, Step.DOUBT])
def test_a_key_that_is_yet_to_sign_is_published(step: Step | None) -> None:
    """Pending or unresolved: verifiers know it, and the confirmed one signs."""
    world = furnished()
    kid, (current,) = Kid("0123456789abcdef"), published(world)
    secret = world.vault.live(DEFAULT_KEY)
    assert secret is not None
    new = VersionPending(DEFAULT_KEY, kid, 2, secret.current.value, secret.care, NOW)
    world.vault.apply(8, new)
    if step is not None:
        world.vault.apply(9, Stepped(DEFAULT_KEY, kid, step, NOW))
    assert published(world) == [current, kid]
    assert signed(world).kid == current
    world.vault.apply(10, Stepped(DEFAULT_KEY, kid, Step.CONFIRM, NOW))
    assert signed(world).kid == kid


@pytest.mark.parametrize(
    "put",
    [
        Put(SecretName("k"), SEED_TEXT, kind=Kind.ENCRYPTION_KEY),
        Put(SecretName("k"), SEED_TEXT, kind=Kind.PASSWORD),
        Put(SecretName("jwt_secret"), "a shared secret of HS256"),
        Put(SecretName("jwt_secret"), base64.b64encode(bytes(31)).decode()),
        Put(SecretName("jwt_secret"), base64.b64encode(bytes(33)).decode()),
        Put(SecretName("jwt_secret"), "x" * 32),
        Put(SecretName("jwt_secret"), ""),
    ],
)
def test_what_is_no_signing_key_is_not_published_and_does_not_sign(put: Put) -> None:
    """Only that kind, and only 32 bytes; the error says what a key looks like."""
    world = World()
    assert isinstance(world.ask(put), Stored)
    assert published(world) == []
    told = failure(world, SignJwt({}, key=put.name))
    assert (told.code, "base64 of 32 bytes" in told.message) == ("conflict", True)


def test_a_key_that_was_put_as_bytes_is_one() -> None:
    """Its value is the 32 bytes themselves."""
    world = World()
    world.ask(Put(SecretName("jwt_signing_key"), SEED_TEXT, encoding="base64"))
    (key,) = world.ask(Jwks()).keys  # type: ignore[union-attr]
    assert key.x == written(ED25519.public_key(SEED))
    verified(world, signed(world))


def test_a_published_key_has_just_what_verifiers_read() -> None:
    """Public, unpadded, and with the kid of its tokens; a `d` would be the private key."""
    world = furnished()
    keys = world.ask(Jwks())
    assert isinstance(keys, KeySet)
    assert [{name: getattr(key, name) for name in key.__struct_fields__} for key in keys.keys] == [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": written(ED25519.public_key(SEED)),
            "kid": signed(world).kid,
            "use": "sig",
            "alg": "EdDSA",
        }
    ]
    assert len(keys.keys[0].x) == 43


def test_the_key_that_signs_by_default() -> None:
    """The plan's name if it may sign, else the only key there may be, else the caller must say."""
    a, b = SecretName("a/jwt_key"), SecretName("b/jwt_key")
    signer = client("backend", BACKEND_UID, "a/*", permissions=frozenset({Permission.SIGN}))
    world = World(policy_of(client("admin", 1000, "*", permissions=ALL), signer))
    assert failure(world, SignJwt({})).code == "not_found"
    world.ask(Put(a, kind=Kind.JWT_SIGNING_KEY))
    assert signed(world).kid == published(world)[0]
    world.ask(Put(b, kind=Kind.JWT_SIGNING_KEY))
    told = failure(world, SignJwt({}))
    assert (told.code, a in told.message) == ("invalid_request", True)
    assert signed(world, key=b).kid == published(world)[1]
    only = world.ask(SignJwt({}), uid=BACKEND_UID, claim="backend")
    assert isinstance(only, JwtSigned)
    assert only.kid == published(world)[0]
    furnished(world)
    assert signed(world).kid == published(world)[2]


def test_to_sign_takes_the_right_to_sign_with_that_key() -> None:
    """Who may read a key may not sign with it here, and learns nothing of what there is."""
    reader = furnished(), World()
    replies = [
        world.answer(SignJwt({}, key=DEFAULT_KEY), uid=BACKEND_UID, claim="backend")
        for world in reader
    ]
    assert replies[0].reply == replies[1].reply
    assert failure(reader[0], SignJwt({}), uid=BACKEND_UID, claim="backend").code == "denied"
    (act,) = replies[0].acts
    assert (act.event.outcome, act.event.name) == ("denied", DEFAULT_KEY)
    assert "sign" in reader[0].denials[0].remedy


def test_any_client_may_verify_and_nobody_else() -> None:
    """No right is needed, but a name."""
    world = furnished()
    token = text_of(signed(world))
    assert isinstance(world.ask(VerifyJwt(token), uid=BACKEND_UID, claim="backend"), JwtVerified)
    told = failure(world, VerifyJwt(token), uid=4242, claim=None)
    assert told.code in ("client_required", "denied")


def test_the_log_has_the_key_and_the_tokens_name_and_no_claim() -> None:
    """Enough to find who made a token; the rest may be secret."""
    world = furnished()
    token = signed(world, {"sub": "hunter2-canary"})
    verified(world, token)
    sign, verify = (act.event for act in world.acts[-2:])
    assert (sign.op, sign.name, sign.kid) == ("sign_jwt", DEFAULT_KEY, token.kid)
    assert sign.note == f"jti {part(token, 1)['jti']}"
    assert (verify.op, verify.kid, verify.note) == ("verify_jwt", token.kid, None)
    assert "canary" not in repr(world.acts)
    refusal(world, "x.y.z")
    assert (world.acts[-1].event.outcome, world.acts[-1].event.note) == ("failed", "invalid_token")


def test_neither_claims_nor_tokens_are_printed_by_accident() -> None:
    """What is asked and what is answered print as stars."""
    world = furnished()
    token = signed(world, {"sub": "canary"})
    shown = repr([SignJwt({"sub": "canary"}), VerifyJwt(text_of(token)), token])
    assert "canary" not in shown
    assert text_of(token) not in shown


def test_a_token_with_any_one_character_changed_is_refused() -> None:
    """There is one way to write a token: not even the unused bits at a part's end may differ."""
    world = furnished()
    text = text_of(signed(world, {"sub": "u1"}))
    for place, character in enumerate(text):
        for other in {"A", "B", "g", ".", "=", "\n", "é"} - {character}:
            refusal(world, text[:place] + other + text[place + 1 :])
    for wrong in (text + "=", text + "\n", " " + text, text + ".", text[:-1], text * 2, ""):
        refusal(world, wrong)


@pytest.mark.parametrize(
    ("header", "claims", "why"),
    [
        ({"alg": "none"}, {}, "alg"),
        ({"alg": "HS256"}, {}, "alg"),
        ({"alg": "Ed25519"}, {}, "alg"),
        ({"alg": ["EdDSA"]}, {}, "alg"),
        ({"alg": None}, {}, "alg"),
        ({"crit": ["exp"]}, {}, "crit"),
        ({"crit": None}, {}, "crit"),
        ({"kid": None}, {}, "kid"),
        ({"kid": 7}, {}, "kid"),
        ({"kid": "../jwt_signing_key"}, {}, "kid"),
        ({"kid": "0" * 16}, {}, "kid"),
        ({}, {"exp": EPOCH}, "exp"),
        ({}, {"exp": EPOCH - 0.5}, "exp"),
        ({}, {"exp": None}, "exp"),
        ({}, {"exp": str(EPOCH + 60)}, "exp"),
        ({}, {"exp": True}, "exp"),
        ({}, {"nbf": EPOCH + 1}, "nbf"),
        ({}, {"nbf": "now"}, "nbf"),
        ({}, {"iat": "now"}, "iat"),
        ({}, {"iss": "somebody"}, "iss"),
        ({}, {"iss": None}, "iss"),
        ({}, {"iss": ["jarvis-secretsd"]}, "iss"),
        ({}, {"aud": "api"}, "aud"),
        ({}, {"aud": ["api"]}, "aud"),
        ({}, {"aud": {"api": 1}}, "aud"),
        ({}, {"sub": 17}, "sub"),
        ({}, {"deep": nested(MAX_DEPTH)}, "nested"),
        ({}, {"pad": "x" * MAX_TOKEN}, "long"),
    ],
)
def test_a_token_that_does_not_hold_is_refused_for_its_fault(
    header: dict[str, Any], claims: dict[str, Any], why: str
) -> None:
    """Each is well signed by our own key; the reason names what is wrong."""
    world = furnished()
    good_header, good_claims = good(world, **claims)
    assert why in refusal(world, forged({**good_header, **header}, good_claims))


def test_the_token_of_those_refusals_holds() -> None:
    """Without the fault it is taken, also with claims at the very edge."""
    world = furnished()
    for claims in ({}, {"nbf": EPOCH}, {"exp": 10**400}, {"exp": EPOCH + 0.5}, {"iat": EPOCH + 9}):
        verified(world, forged(*good(world, **claims)))
    verified(world, forged(*good(world, iss="backend")), issuer="backend")


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b'{"alg":"EdDSA","kid":"KID","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":1e11}'),
        (b'{"alg":"none","alg":"EdDSA","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":1e11}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":1,"exp":1e11}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":1e11,"a":{"b":1,"b":1}}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":Infinity}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":1e999}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":1e11,"a":"\\ud800"}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"iss":"jarvis-secretsd","exp":1e11,"a":"\xff"}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'\xef\xbb\xbf{"iss":"jarvis-secretsd","exp":1e11}'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'["iss","exp"]'),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"a":' + b"[" * 2500 + b"]" * 2500 + b"}"),
        (b'{"alg":"EdDSA","kid":"KID"}', b"{" + b'"a":' * 1500),
        (b'{"alg":"EdDSA","kid":"KID"}', b'{"exp":' + b"9" * 5000 + b"}"),
        (b'{"alg":"EdDSA","kid":"KID"}', b""),
        (b"null", b"{}"),
        (b'"EdDSA"', b"{}"),
        ('{"alg":"EdDSA","kid":"KID"}'.encode("utf-16"), b"{}"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(header: bytes, payload: bytes) -> None:
    """Repeated members, numbers and texts that not all JSON readers take, and no JSON at all."""
    world = furnished()
    (kid,) = published(world)
    told = refusal(world, forged(header.replace(b"KID", kid.encode()), payload))
    assert "JSON object" in told


def test_a_public_key_signs_nothing() -> None:
    """The oldest forgery: HS256 with the published key as its secret, and a key of the forger's."""
    world = furnished()
    header, claims = good(world)
    public = ED25519.public_key(SEED)
    assert "signature" in refusal(world, forged(header, claims, seed=public))
    assert "signature" in refusal(world, forged(header, claims, seed=OTHER_SEED))
    own = {"kty": "OKP", "crv": "Ed25519", "x": written(ED25519.public_key(OTHER_SEED))}
    assert "signature" in refusal(world, forged({**header, "jwk": own}, claims, OTHER_SEED))
    unsigned = forged(header, claims).rpartition(".")[0]
    for signature in ("", written(bytes(64)), written(bytes(63))):
        assert "signature" in refusal(world, f"{unsigned}.{signature}")


@pytest.mark.parametrize(
    ("aud", "audience", "holds"),
    [
        (None, None, True),
        (None, "api", False),
        ("api", "api", True),
        ("api", "ap", False),
        ("api", None, False),
        (["web", "api"], "api", True),
        (["web", "app"], "api", False),
    ],
)
def test_a_token_for_somebody_is_for_nobody_else(aud: Any, audience: str, holds: bool) -> None:
    """As RFC 7519 has it, and as PyJWT does it."""
    world = furnished()
    token = signed(world, {} if aud is None else {"aud": aud})
    assert isinstance(world.ask(VerifyJwt(text_of(token), audience)), JwtVerified) is holds


def test_a_token_is_verified_by_the_key_that_it_names_alone() -> None:
    """Another key of ours doesn't do."""
    world = furnished()
    world.ask(Put(SecretName("other/jwt_key"), kind=Kind.JWT_SIGNING_KEY))
    header, claims = {"alg": "EdDSA", "kid": published(world)[1]}, {"exp": EPOCH + 60}
    assert "signature" in refusal(world, forged(header, {"iss": "jarvis-secretsd", **claims}))


def test_the_key_set_looks_at_no_other_secret() -> None:
    """However many there are: anybody may ask for it, as often as he likes."""
    looked_at: list[SecretName] = []

    class Watched(Vault):
        def live(self, name: SecretName) -> Secret | None:
            looked_at.append(name)
            return super().live(name)

    world = World()
    world.vault = Watched()
    furnished(world)
    for place in range(50):
        world.vault.apply(place + 2, put_of(f"s{place}"))
    looked_at.clear()
    assert len(published(world)) == 1
    assert looked_at == [DEFAULT_KEY]


def test_a_turn_sees_its_own_keys_and_a_dropped_one_leaves_none() -> None:
    """The index of keys lies on the overlay as everything else does."""
    base = furnished().vault
    overlay = base.overlay()
    overlay.apply(base.seq + 1, put_of("a", Kind.JWT_SIGNING_KEY))
    assert [secret.name for secret in overlay.signing_keys()] == ["a", DEFAULT_KEY]
    assert [secret.name for secret in base.signing_keys()] == [DEFAULT_KEY]
    overlay.apply(base.seq + 2, put_of(DEFAULT_KEY, Kind.STATIC, number=2))
    base.absorb(overlay)
    assert [secret.name for secret in base.signing_keys()] == ["a"]


def test_a_public_key_is_derived_once() -> None:
    """And a value that is no key isn't tried again."""

    class Counting(Ed25519):
        derived = 0

        def public_key(self, seed: bytes) -> bytes:
            self.derived += 1
            return super().public_key(seed)

    world, counting = furnished(), Counting()
    world.service._jwt = JwtIssuer(JwtRules(), counting)
    for _ in range(3):
        verified(world, signed(world))
        published(world)
    assert counting.derived == 1
