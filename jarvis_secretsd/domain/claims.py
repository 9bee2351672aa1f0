"""What a token's claims may be, and when they hold (RFC 7519, 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jarvis_secretsd.errors import InvalidRequest, InvalidToken

OURS = ("iss", "iat", "exp", "jti")
"""The claims that the daemon makes itself, so that they are true."""

MAX_DEPTH = 32
"""Objects and lists in one another. No reader of tokens needs a tenth of it, and all take it."""


def check_wished(claims: Mapping[str, Any]) -> None:
    """May these be signed? Raises InvalidRequest for what the daemon says, or no verifier takes."""
    for name in OURS:
        if name in claims:
            raise InvalidRequest(f"the daemon sets {name} itself; leave it out of claims")
    if fault := _fault(claims):
        raise InvalidRequest(fault)


def check_hold(
    claims: Mapping[str, Any], *, issuer: str, audience: str | None, now: float, latest: float
) -> None:
    """Do these hold now (seconds since 1970), for this audience? Raises InvalidToken.

    No leeway is given: who signs here and who verifies here look at the same clock. `latest` is
    what that says where it has just jumped ahead: such a jump ends no token and delays none.
    """
    if fault := _fault(claims):
        raise InvalidToken(fault)
    if "exp" not in claims:
        raise InvalidToken("it has no end (exp)")
    if claims["exp"] <= now:
        raise InvalidToken("it has expired (exp)")
    if claims.get("nbf", latest) > latest:
        raise InvalidToken("it isn't valid yet (nbf)")
    if claims.get("iss") != issuer:
        raise InvalidToken("it was issued by somebody else (iss)")
    _check_audience(claims.get("aud"), audience)


def _check_audience(aud: str | list[str] | None, audience: str | None) -> None:
    """A token for somebody is for nobody else (RFC 7519, 4.1.3)."""
    if audience is None:
        if aud is not None:
            raise InvalidToken("it is for an audience (aud); say that you are it")
    elif aud is None or audience not in ([aud] if isinstance(aud, str) else aud):
        raise InvalidToken("it is for another audience (aud)")


def _fault(claims: Mapping[str, Any]) -> str | None:
    """What of the claims isn't as RFC 7519 has it."""
    for name, (is_so, words) in _SHAPES.items():
        if name in claims and not is_so(claims[name]):
            return f"the claim {name} must be {words}"
    return None if _is_shallow(claims, MAX_DEPTH) else "the claims are nested too deeply"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_audience(value: object) -> bool:
    return _is_text(value) or (
        isinstance(value, list) and bool(value) and all(map(_is_text, value))
    )


def _is_shallow(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in value)


_TEXT = (_is_text, "text")
_TIME = (_is_time, "a number of seconds since 1970")
_SHAPES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "iss": _TEXT,
    "sub": _TEXT,
    "jti": _TEXT,
    "aud": (_is_audience, "text or a list of texts"),
    "exp": _TIME,
    "nbf": _TIME,
    "iat": _TIME,
}
