"""Hooks that wait for their turn, and those that run: a few at a time, each with its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf

import structlog
from msgspec import Struct

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.config import HookConfig
from jarvis_secretsd.daemon.hookcheck import program_fault
from jarvis_secretsd.daemon.hookorphans import MARK, reap_inherited
from jarvis_secretsd.daemon.hookprocess import HookProcess, NotRun, Watcher
from jarvis_secretsd.daemon.hookprotocol import Action, Ending, told
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.values import Kid, SecretName

MAX_AT_ONCE = 8
"""Hooks that run at the same time: a hundred secrets may fall due in one turn."""

ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
}
"""Of a hook. Nothing of the daemon's: what a hook does must not depend on who started us."""

log = structlog.get_logger()


class Job(Struct, frozen=True):
    """A hook to be run for a version. `since` says what left us in doubt about it."""

    action: Action
    name: SecretName
    kid: Kid
    since: str = ""


class HookQueue:
    """Runs each job's hook: the first of the configuration whose pattern matches the name.

    A job whose version was settled meanwhile is forgotten. `done` is told how each other one ended.
    `vault_path` marks the processes.
    """

    def __init__(
        self,
        hooks: Sequence[HookConfig],
        vault: Vault,
        clock: Clock,
        done: Callable[[Job, Ending], None],
        *,
        vault_path: str,
    ) -> None:
        self._hooks = tuple((Pattern.of(hook.pattern), hook) for hook in hooks)
        self._vault = vault
        self._clock = clock
        self._done = done
        self._environ = {**ENVIRONMENT, MARK: vault_path}
        self._loop: Watcher | None = None
        self._waiting: deque[Job] = deque()
        self._running: dict[HookProcess, Job] = {}

    def add(self, job: Job, *, first: bool = False) -> None:
        """Run it when `tend` finds room, before or after all others that wait."""
        if first:
            self._waiting.appendleft(job)
        else:
            self._waiting.append(job)

    def begin(self, loop: Watcher) -> None:
        """From now on jobs are run."""
        self._loop = loop
        for place, (_, hook) in enumerate(self._hooks):
            fault = program_fault(hook.command[0])
            if fault is not None:
                log.error("hook can't be run", hook=f"hooks[{place}]", problem=fault)

    def next_at(self) -> float:
        """The monotonic moment at which the first hook has had its time."""
        return min((process.deadline for process in self._running), default=inf)

    def tend(self) -> None:
        """End what has had its time, and begin what waits."""
        now = self._clock.monotonic()
        for process in self._running:
            if process.deadline <= now:
                process.deadline = inf
                process.cut("killed since its time was over")
        while self._loop and self._waiting and len(self._running) < MAX_AT_ONCE:
            self._begin(self._waiting.popleft(), self._loop)

    def close(self) -> None:
        """Kill what runs, and begin nothing more."""
        self._loop = None
        while self._running:
            process, _ = self._running.popitem()
            process.abandon()

    def _begin(self, job: Job, loop: Watcher) -> None:
        secret = self._vault.live(job.name)
        version = secret.candidate if secret is not None else None
        if secret is None or version is None or version.kid != job.kid:
            return
        try:
            hook = self._hook_of(job.name)
            process = HookProcess(
                hook.command,
                told(job.action, job.name, version, secret.current),
                self._environ,
                self._clock.monotonic() + hook.timeout_secs,
                loop,
                self._finish,
            )
        except NotRun as error:
            self._done(job, Ending(None, str(error)))
        else:
            self._running[process] = job

    def _hook_of(self, name: SecretName) -> HookConfig:
        hook = next((hook for pattern, hook in self._hooks if pattern.matches(name)), None)
        fault = program_fault(hook.command[0]) if hook is not None else None
        if hook is None or fault is not None:
            raise NotRun(fault or "the configuration has no hook for it")
        return hook

    def _finish(self, process: HookProcess, ending: Ending) -> None:
        job = self._running.pop(process)
        log.debug("hook ended", name=job.name, action=job.action, printed=ending.printed)
        if not self._running:
            reap_inherited()
        self._done(job, ending)
