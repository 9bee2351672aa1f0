"""Rotation in two steps: a hook changes the far end, and its word settles the pending version.

A hook is begun when its pending version is durable. Its end enters a later turn as a `Settle`,
through the same door as everyone's requests. When it can't be told from its end which value is
live, the hook is asked; when it can't tell either, the version is unresolved, and it is asked again
and again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from math import inf

import structlog

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.config import HookConfig
from jarvis_secretsd.daemon.hookorphans import end_orphans
from jarvis_secretsd.daemon.hookprocess import Watcher
from jarvis_secretsd.daemon.hookprotocol import Action, Ending, judged
from jarvis_secretsd.daemon.hookqueue import HookQueue, Job
from jarvis_secretsd.domain.changes import AnyChange, VersionPending
from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.secret import Secret
from jarvis_secretsd.domain.service import Service
from jarvis_secretsd.errors import Unavailable
from jarvis_secretsd.messages import Failure, Reply, Request, Settle
from jarvis_secretsd.values import Kid, SecretName, State

ASK_AGAIN_SECS = 300.0
"""How often the hook of an unresolved version is asked which value is live."""

_STOPPED = "the daemon ended while it was at work"

log = structlog.get_logger()


class Hooks:
    """Has the hook of each pending version run, and says what became of it.

    `defer` is told of names whose rotation failed. `vault_path` marks the processes.
    """

    def __init__(
        self,
        hooks: Sequence[HookConfig],
        service: Service,
        ledger: Ledger,
        clock: Clock,
        defer: Callable[[SecretName], None],
        *,
        vault_path: str,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._clock = clock
        self._defer = defer
        self._vault_path = vault_path
        self._queue = HookQueue(hooks, ledger.vault, clock, self._conclude, vault_path=vault_path)
        self._outcomes: deque[Settle] = deque()
        self._ask_at: dict[SecretName, float] = {}

    @property
    def unresolved(self) -> int:
        """Secrets of which nobody can tell which version is live."""
        return len(self._ask_at)

    def begin(self, loop: Watcher) -> None:
        """Run hooks from now on, and ask about all that an earlier run left open."""
        self._queue.begin(loop)
        vault = self._ledger.vault
        secrets = (vault.live(name) for name in vault.names())
        left_open = [(each, kid) for each in secrets if each and (kid := _left_open(each))]
        if left_open and (ended := end_orphans(self._vault_path)):
            log.warning("ended hooks of an earlier run", processes=ended)
        for secret, kid in left_open:
            self._queue.add(Job(Action.VERIFY, secret.name, kid, _STOPPED))
            self._note(secret)
        self._queue.tend()

    def next_at(self) -> float | None:
        """The monotonic moment at which a hook has had its time, or one is to be asked again."""
        if self._outcomes and self._ledger.trouble is None:
            return self._clock.monotonic()
        first = min((self._queue.next_at(), *self._ask_at.values()))
        return None if first == inf else first

    def ask(self, turn: Turn) -> None:
        """Bring into the turn what hooks have settled."""
        if self._ledger.trouble is not None:
            return
        while self._outcomes:
            settle = self._outcomes.popleft()
            answer = self._service.handle(
                Request(settle), INTERNAL, turn.vault, turn.now, os.urandom, turn.settled
            )
            turn.add(answer, _Settling(self, settle))

    def take_in(self, changes: Iterable[AnyChange]) -> None:
        """Take in what a turn has changed: a version that it made pending gets its hook."""
        for change in changes:
            name = getattr(change, "name", None)
            secret = self._ledger.vault.live(name) if isinstance(name, SecretName) else None
            if secret is None:
                continue
            self._note(secret)
            if isinstance(change, VersionPending) and change.due is None:
                self._queue.add(Job(Action.ROTATE, secret.name, change.kid))

    def tend(self) -> None:
        """Begin what waits, end what has had its time, and ask again where nobody could tell."""
        now = self._clock.monotonic()
        for name in [name for name, moment in self._ask_at.items() if moment <= now]:
            secret = self._ledger.vault.live(name)
            if secret is not None and secret.candidate is not None:
                self._ask_at[name] = inf  # until it has answered
                self._queue.add(Job(Action.VERIFY, name, secret.candidate.kid))
        self._queue.tend()

    def take_reply(self, settle: Settle, reply: Reply) -> None:
        """What came of our word. What the disk didn't take is said again."""
        if isinstance(reply, Failure):
            if reply.code == Unavailable.code:
                self._outcomes.append(settle)
            return
        if settle.outcome != "confirm":
            self._defer(settle.name)
        _log_outcome(settle)

    def close(self) -> None:
        """Kill what runs. The next start asks which values are live."""
        self._queue.close()

    def _note(self, secret: Secret) -> None:
        """Keep in mind whether it is unresolved; one that has just become so is asked later."""
        if secret.candidate is None or secret.candidate.state is not State.UNRESOLVED:
            self._ask_at.pop(secret.name, None)
        elif secret.name not in self._ask_at:
            self._ask_at[secret.name] = self._clock.monotonic() + ASK_AGAIN_SECS
            _log_unresolved(secret)

    def _conclude(self, job: Job, ending: Ending) -> None:
        outcome = judged(job.action, ending)
        if outcome is None:
            self._queue.add(Job(Action.VERIFY, job.name, job.kid, str(ending)), first=True)
        elif outcome == "doubt" and job.name in self._ask_at:
            self._ask_at[job.name] = self._clock.monotonic() + ASK_AGAIN_SECS
        else:
            note = f"hook: {ending}"
            if job.action is Action.VERIFY:
                note = f"asked the hook ({job.since or 'unresolved'}): {ending}"
            self._outcomes.append(Settle(job.name, job.kid, outcome, note))


class _Settling:
    """Who waits for what came of a hook's word: the hooks."""

    def __init__(self, hooks: Hooks, settle: Settle) -> None:
        self._hooks = hooks
        self._settle = settle

    def deliver(self, reply: Reply) -> None:
        self._hooks.take_reply(self._settle, reply)


def _left_open(secret: Secret) -> Kid | None:
    """The version whose hook hasn't said, or couldn't say, whether it is live."""
    candidate = secret.candidate
    if candidate is None:
        return None
    is_due_by_time = candidate.state is State.PENDING and candidate.until is not None
    return None if is_due_by_time else candidate.kid


def _log_outcome(settle: Settle) -> None:
    name, why = settle.name, settle.note
    if settle.outcome == "confirm":
        log.info("rotated", name=name, kid=settle.kid, how=why)
    elif settle.outcome == "drop":
        again = f"jarvis-secrets rotate {name}"
        log.error("not rotated; the previous version is live", name=name, why=why, remedy=again)
    else:
        log.error("nobody can tell which version is live", name=name, why=why)


def _log_unresolved(secret: Secret) -> None:
    new = secret.candidate.kid if secret.candidate is not None else ""
    log.error(
        "unresolved: both versions are readable by kid",
        name=secret.name,
        current=secret.current.kid,
        new=new,
        remedy=f"jarvis-secrets revoke {secret.name} KID, with the kid that the far end refuses",
    )
