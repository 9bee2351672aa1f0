"""One request from asking to answer: who is it, may they, do it, witness it.

`handle` is given all that it may depend on: the request, the peer as the kernel names it, the vault
of this turn, the time, and a source of randomness. It changes none of them. What it returns is a
plan: the reply, and the acts that must be durable before the reply may leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import assert_never

from msgspec.structs import replace

from jarvis_secretsd.domain import auditpaging, credentials, operations, renewal, tokens, watching
from jarvis_secretsd.domain.audit import Outcome
from jarvis_secretsd.domain.canary import marked, touch_of
from jarvis_secretsd.domain.denial import denial_of, denied
from jarvis_secretsd.domain.elapsing import elapsed
from jarvis_secretsd.domain.generation import Fresh
from jarvis_secretsd.domain.host import Host
from jarvis_secretsd.domain.identity import Peer, identify
from jarvis_secretsd.domain.insiders import DAEMON, insider
from jarvis_secretsd.domain.jwt import JwtIssuer
from jarvis_secretsd.domain.operations import Done, Setting
from jarvis_secretsd.domain.policy import Client, Decision, Pattern, Policy
from jarvis_secretsd.domain.recent import Recent
from jarvis_secretsd.domain.refusals import Refusal, Refusals
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.domain.safekeeping import keep_safe
from jarvis_secretsd.domain.standing import standing_of, verdict_on
from jarvis_secretsd.domain.usage import Reads
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.domain.watching import Watching
from jarvis_secretsd.domain.witness import (
    Act,
    Answer,
    Call,
    event_of,
    failure_of,
    witnessed,
)
from jarvis_secretsd.errors import (
    Denied,
    InvalidRequest,
    RateLimited,
    SecretsError,
    StartRefused,
)
from jarvis_secretsd.messages import (
    AuditHead,
    AuditLog,
    Backup,
    Can,
    Delete,
    Denials,
    Elapse,
    Get,
    Health,
    Identity,
    Jwks,
    List,
    LoadCredential,
    Lock,
    Metrics,
    MetricsText,
    Put,
    Reload,
    Reloaded,
    Request,
    Restore,
    Revoke,
    Rollback,
    Rotate,
    Settle,
    SignJwt,
    TokenCreate,
    TokenList,
    TokenRevoke,
    Unlock,
    VerifyJwt,
    Versions,
    Watch,
    WhoAmI,
)
from jarvis_secretsd.values import Permission, SecretName

MAX_ROTATED_AT_ONCE = 100
"""Names in one `rotate`: each is a record, and a turn is made durable as a whole."""


READ, ROTATE = Permission.READ, Permission.ROTATE
AUDIT, ADMIN = Permission.AUDIT, Permission.ADMIN


class Service:
    """The rules in force: a policy (replaced whole by a reload) and the rules of rotation."""

    def __init__(
        self,
        policy: Policy,
        rules: RotationRules,
        host: Host,
        refusals: Refusals,
        reads: Reads,
        recent: Recent,
        jwt: JwtIssuer,
        *,
        claim_required: bool,
        canaries: Sequence[Pattern] = (),
    ) -> None:
        self.policy = policy
        self.rules = rules
        self.refusals = refusals
        self.reads = reads
        self._recent = recent
        self._jwt = jwt
        self._host = host
        self._claim_required = claim_required
        self._canaries = canaries

    def handle(
        self,
        request: Request,
        peer: Peer,
        vault: Vault,
        now: datetime,
        fresh: Fresh,
        settled: datetime | None = None,
    ) -> Answer:
        """The answer to one request. Every failure that is somebody's becomes its reply.

        `settled` decides what is over, where the clock has just jumped; else `now` does.
        """
        call = Call(request, peer, vault, now, fresh, settled or now)
        answer = self._answer(call)
        touch = touch_of(self._canaries, call, answer) if self._canaries else None
        if touch is None:
            return answer
        self._host.alarm(touch)
        return marked(answer)

    def malformed(self, peer: Peer, now: datetime) -> None:
        """Count a request that was refused on the wire: it is summed up with others."""
        self.refusals.count(peer.uid, Refusal.MALFORMED, now)
        self._recent.malformed(peer, now)

    def summaries(self, now: datetime) -> tuple[Act, ...]:
        """The summaries of refused requests that are due."""
        return tuple(Act(event) for event in self.refusals.summaries(now))

    def who(self, request: Request, peer: Peer, vault: Vault, now: datetime) -> Client:
        """The client that asks this; `now` ends tokens. Raises ClientRequired, BadToken, Denied."""
        token = vault.token(request.token.digest()) if request.token else None
        return identify(
            self.policy,
            peer,
            request.client,
            token,
            presented=request.token is not None,
            now=now,
            claim_required=self._claim_required,
        )

    def _answer(self, call: Call) -> Answer:  # noqa: PLR0911 - a table
        client: Client | None = None
        request, peer, vault = call.request, call.peer, call.vault
        try:
            match request.operation:
                case Health():
                    return Answer(self._host.health(vault.live_count))
                case Metrics():
                    return Answer(MetricsText(self._host.metrics()))
                case Jwks():
                    return Answer(self._jwt.published(vault, call.settled))
                case WhoAmI():
                    return Answer(self._whoami(call))
                case LoadCredential():
                    asked = credentials.request_of(self.policy, peer, request.operation)
                    return self.handle(asked, peer, vault, call.now, call.fresh, call.settled)
            client = insider(self.policy, call) or self.who(request, peer, vault, call.settled)
            return self._act(call, client)
        except SecretsError as error:
            return self._refuse(call, client, error)

    def _act(self, call: Call, client: Client) -> Answer:  # noqa: PLR0911, PLR0912 - a table
        operation = call.request.operation
        setting = Setting(call.vault, self.rules, call.now, call.fresh, call.settled)

        def do(permission: Permission, name: SecretName | None, act: Callable[[], Done]) -> Answer:
            return witnessed(call, client, self._allow(client, permission, name), name, act)

        match operation:
            case Get(name):
                return do(READ, name, lambda: self._get(operation, client, setting))
            case Put(name):
                may_read = self.policy.decide(client, READ, name).allowed
                return do(
                    Permission.WRITE,
                    name,
                    lambda: operations.put(operation, setting, may_read=may_read),
                )
            case List():
                return self._list(call, client, operation, setting)
            case Versions(name):
                return do(READ, name, lambda: renewal.versions(operation, setting, self.reads))
            case Rotate():
                return self._rotate(call, client, operation, setting)
            case Rollback(name):
                return do(ROTATE, name, lambda: renewal.rollback(operation, setting))
            case Revoke(name):
                return do(ROTATE, name, lambda: renewal.revoke(operation, setting))
            case Settle() | Elapse() if client is not DAEMON:
                raise Denied(rule="internal")
            case Settle(name):
                return do(ROTATE, name, lambda: renewal.settle(operation, setting))
            case Elapse():
                rotate = partial(self._rotate_by_clock, call, client, setting)
                return elapsed(call, client, operation, setting, rotate)
            case Delete(name):
                return do(Permission.DELETE, name, lambda: operations.delete(operation, setting))
            case Restore(name):
                return do(Permission.DELETE, name, lambda: operations.restore(operation, setting))
            case Watch():
                return self._watch(call, client, operation)
            case SignJwt():
                return self._sign(call, client, operation, setting)
            case VerifyJwt():
                known = Decision(True, f"clients.{client.id}")
                return witnessed(
                    call, client, known, None, lambda: self._jwt.verify(operation, setting)
                )
            case Can():
                return self._can(call, client, operation)
            case TokenCreate():
                return do(ADMIN, None, lambda: tokens.create(operation, setting, self.policy))
            case TokenList():
                return do(ADMIN, None, lambda: tokens.list_all(setting))
            case TokenRevoke():
                return do(ADMIN, None, lambda: tokens.revoke(operation, setting))
            case AuditHead():
                return do(AUDIT, None, lambda: Done(self._host.audit_head()))
            case AuditLog():
                page = do(AUDIT, None, lambda: Done(self._host.audit_page(operation)))
                return auditpaging.unless_empty(page)
            case Denials():
                return do(AUDIT, None, lambda: Done(self._recent.listing()))
            case Reload():
                return do(ADMIN, None, self._reload)
            case Lock() | Unlock() | Backup():
                return do(ADMIN, None, lambda: keep_safe(operation, setting, self._host))
            case Health() | Metrics() | Jwks() | WhoAmI() | LoadCredential():
                raise AssertionError("answered before anybody was asked who they are")
            case _:
                assert_never(operation)

    def _allow(self, client: Client, permission: Permission, name: SecretName | None) -> Decision:
        decision = self.policy.decide(client, permission, name)
        if not decision.allowed:
            raise denied(decision, client, permission, name)
        return decision

    def _may(self, client: Client, permission: Permission) -> Callable[[SecretName], bool]:
        return lambda name: self.policy.decide(client, permission, name).allowed

    def _list(self, call: Call, client: Client, operation: List, setting: Setting) -> Answer:
        decision = Decision(True, f"clients.{client.id}")
        may_read = self._may(client, READ)
        return witnessed(
            call,
            client,
            decision,
            None,
            lambda: operations.listing(operation, setting, may_read),
        )

    def _watch(self, call: Call, client: Client, operation: Watch) -> Answer:
        decision, name = watching.decide(self.policy, client, operation)
        if not decision.allowed:
            return self._refuse(call, client, denied(decision, client, READ, name), name)
        answer = witnessed(call, client, decision, name, lambda: watching.begun(operation))
        begun = Watching(call.request, call.peer, client, operation)
        return replace(answer, watching=begun)

    def _get(self, operation: Get, client: Client, setting: Setting) -> Done:
        done = operations.get(operation, setting)
        secret = setting.vault.live(operation.name)
        if secret is not None and done.kid is not None:
            self.reads.note(secret, done.kid, client.id, setting.now)
        return done

    def _sign(self, call: Call, client: Client, operation: SignJwt, setting: Setting) -> Answer:
        may_sign = self._may(client, Permission.SIGN)
        name = operation.key or self._jwt.default_key(call.vault, call.settled, may_sign)
        decision = self._allow(client, Permission.SIGN, name)
        return witnessed(
            call, client, decision, name, lambda: self._jwt.sign(name, operation, setting)
        )

    def _rotate(self, call: Call, client: Client, operation: Rotate, setting: Setting) -> Answer:
        names = tuple(dict.fromkeys(operation.names)) or renewal.due(
            setting, self._may(client, ROTATE), MAX_ROTATED_AT_ONCE
        )
        if len(names) > MAX_ROTATED_AT_ONCE:
            raise InvalidRequest(f"at most {MAX_ROTATED_AT_ONCE} names are rotated at once")
        return renewal.summed_up(
            {
                name: self._rotate_one(call, client, name, operation, setting, by_clock=False)
                for name in names
            }
        )

    def _rotate_one(
        self,
        call: Call,
        client: Client,
        name: SecretName,
        operation: Rotate,
        setting: Setting,
        *,
        by_clock: bool,
    ) -> Answer:
        try:
            decision = self._allow(client, ROTATE, name)
        except Denied as error:
            return self._refuse(call, client, error, name)
        return witnessed(
            call,
            client,
            decision,
            name,
            lambda: renewal.rotate(name, operation.generate, setting, by_clock=by_clock),
        )

    def _rotate_by_clock(
        self, call: Call, client: Client, setting: Setting, name: SecretName
    ) -> Answer:
        asked = replace(call, request=Request(rotate := Rotate((name,))))
        return self._rotate_one(asked, client, name, rotate, setting, by_clock=True)

    def _can(self, call: Call, client: Client, operation: Can) -> Answer:
        decision = Decision(True, f"clients.{client.id}")
        if operation.subject != client.id:
            decision = self._allow(client, ADMIN, None)
        return witnessed(
            call, client, decision, operation.name, lambda: Done(verdict_on(self.policy, operation))
        )

    def _reload(self) -> Done:
        try:
            policy = self._host.read_policy()
        except StartRefused as error:
            raise InvalidRequest(f"the policy in force stays: {error.message}") from None
        self.policy = policy
        return Done(
            Reloaded(policy.digest, len(policy.clients)), note=f"policy {policy.digest[:16]}"
        )

    def _whoami(self, call: Call) -> Identity:
        try:
            client = self.who(call.request, call.peer, call.vault, call.settled)
        except SecretsError:
            client = None
        return standing_of(self.policy, call.peer, client)

    def _refuse(
        self,
        call: Call,
        client: Client | None,
        error: SecretsError,
        name: SecretName | None = None,
    ) -> Answer:
        peer, failure = call.peer, failure_of(error)
        denial = denial_of(self.policy, call, client, error, name)
        self._recent.note(denial, call.now)
        if client is None and not self.policy.knows(peer):
            if self.refusals.count(peer.uid, Refusal.STRANGER, call.now):
                self._host.report(denial)
            return Answer(failure)
        if not self.refusals.admit(peer.uid, call.now):
            return Answer(failure_of(RateLimited("too many refused requests; wait a minute")))
        self._host.report(denial)
        event = event_of(call, denial.client, denial.name, outcome=Outcome.DENIED, rule=denial.rule)
        return Answer(failure, (Act(event),))
