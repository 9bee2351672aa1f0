"""What is done with the tokens of clients: they are made, listed and revoked."""

from __future__ import annotations

import base64
from datetime import timedelta

from jarvis_secretsd.domain.changes import TokenAdded, TokenEnded
from jarvis_secretsd.domain.identity import Token
from jarvis_secretsd.domain.operations import Done, Setting
from jarvis_secretsd.domain.policy import Policy, TokenRule
from jarvis_secretsd.domain.rotation import MAX_DAYS
from jarvis_secretsd.errors import InvalidRequest, NotFound
from jarvis_secretsd.messages import (
    TokenCreate,
    TokenCreated,
    TokenListed,
    TokenListing,
    TokenRevoke,
    TokenRevoked,
)
from jarvis_secretsd.values import BearerToken, ClientId

TOKEN_BYTES = 32
DEFAULT_TOKEN_TTL = timedelta(days=365)
MAX_TOKEN_TTL = timedelta(days=MAX_DAYS)


def create(operation: TokenCreate, setting: Setting, policy: Policy) -> Done:
    """A new token for a client of the policy that takes one. Raises InvalidRequest."""
    _check_subject(policy, operation.subject)
    ttl = DEFAULT_TOKEN_TTL
    if operation.ttl_secs is not None:
        if not 1 <= operation.ttl_secs <= MAX_TOKEN_TTL.total_seconds():
            raise InvalidRequest("ttl_secs is from 1 second to a hundred years")
        ttl = timedelta(seconds=operation.ttl_secs)
    text = base64.urlsafe_b64encode(setting.fresh(TOKEN_BYTES)).rstrip(b"=").decode()
    bearer = BearerToken(f"jst_{text}")
    token = Token(
        token_id=setting.fresh(8).hex(),
        digest=bearer.digest(),
        client=operation.subject,
        created_at=setting.now,
        expires_at=setting.now + ttl,
        uids=operation.uids,
    )
    created = TokenCreated(token.token_id, bearer, token.client, token.expires_at)
    return Done(created, TokenAdded(token), note=f"{token.token_id} for {token.client}")


def list_all(setting: Setting) -> Done:
    """Every token, without what would let one use it."""
    return Done(
        TokenListing(
            tuple(
                TokenListed(held.token_id, held.client, held.created_at, held.expires_at, held.uids)
                for held in setting.vault.tokens()
            )
        )
    )


def revoke(operation: TokenRevoke, setting: Setting) -> Done:
    """The token is good no more. Raises NotFound."""
    for token in setting.vault.tokens():
        if token.token_id == operation.token_id:
            note = f"{token.token_id} of {token.client}"
            return Done(TokenRevoked(token.token_id), TokenEnded(token.digest), note=note)
    raise NotFound("no token with this id; token_list shows those that there are")


def _check_subject(policy: Policy, subject: ClientId) -> None:
    client = policy.clients.get(subject)
    if client is None:
        raise InvalidRequest(f"the policy has no client {subject}")
    if client.token is TokenRule.REFUSED:
        raise InvalidRequest(
            f"the policy takes no token for {subject}; add `token: required` "
            "(beside the user) or `token: accepted` (instead of the user) to it"
        )
