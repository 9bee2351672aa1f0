"""Puts the daemon together: from a configuration to a loop that serves, and in order back again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import ExitStack, closing

import structlog

from jarvis_secretsd import __version__
from jarvis_secretsd.daemon import files, metrics
from jarvis_secretsd.daemon.alarms import Alarms
from jarvis_secretsd.daemon.auditshelf import read_page
from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.compaction import Compactor
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.hardening import raise_descriptor_limit
from jarvis_secretsd.daemon.hooks import Hooks
from jarvis_secretsd.daemon.housekeeping import Housekeeper
from jarvis_secretsd.daemon.keys import (
    Aead,
    Ed25519,
    Opener,
    SlotKind,
    new_recovery_code,
    self_test,
)
from jarvis_secretsd.daemon.listeners import Listener, open_listeners
from jarvis_secretsd.daemon.lock import VaultLock
from jarvis_secretsd.daemon.loop import Loop, LoopLimits
from jarvis_secretsd.daemon.metricspage import render
from jarvis_secretsd.daemon.ownership import insist_on_own
from jarvis_secretsd.daemon.policyfile import MAX_POLICY_BYTES, load_policy
from jarvis_secretsd.daemon.readings import Readings
from jarvis_secretsd.daemon.rewriting import compact
from jarvis_secretsd.daemon.signals import Signals
from jarvis_secretsd.daemon.startup import State, found_state, is_first_start, open_state
from jarvis_secretsd.daemon.systemd import Bulletin, Notifier, activated_sockets
from jarvis_secretsd.daemon.timekeeping import Timekeeper
from jarvis_secretsd.daemon.unitqueue import UnitQueue
from jarvis_secretsd.daemon.unlocking import AskPassphrase, new_opener, opener_of
from jarvis_secretsd.domain.advice import warnings
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.canary import Touch
from jarvis_secretsd.domain.denial import Denial
from jarvis_secretsd.domain.jwt import JwtIssuer, JwtRules
from jarvis_secretsd.domain.policy import Pattern, Policy
from jarvis_secretsd.domain.recent import Recent
from jarvis_secretsd.domain.refusals import Refusals
from jarvis_secretsd.domain.rotation import DEFAULT_KINDS, RotationRules
from jarvis_secretsd.domain.service import Service
from jarvis_secretsd.domain.usage import Reads
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.errors import ConfigurationError, Reason, StartRefused
from jarvis_secretsd.messages import AuditHeadStatus, AuditLog, AuditPage, HealthStatus

log = structlog.get_logger()

ShowCode = Callable[[str], None]
"""Shows a recovery code, once, to a person at a terminal."""


def serve(
    config: Config,
    environ: MutableMapping[str, str],
    ask: AskPassphrase,
    show_code: ShowCode | None,
    tell_ready: Callable[[], None],
    override: str,
) -> None:
    """Serve until SIGTERM or SIGINT; `tell_ready` is called once peers can connect.

    `override` is the command that takes a state that contradicts itself. `show_code` None: there is
    no terminal, so a first start makes no recovery code. Raises StartRefused before anything is
    served, SyncFailed when the disk failed while serving.
    """
    self_test()
    notifier = Notifier.from_environ(environ, os.getpid())
    sockets = activated_sockets(environ, os.getpid())
    with ExitStack() as undo:
        undo.enter_context(notifier.told_of_faults())
        policy = read_policy(config)
        for warning in warnings(policy):
            log.warning("policy", problem=warning)
        signals = undo.enter_context(closing(Signals()))
        insist_on_own(config.paths)
        lock = VaultLock(config.paths.lock_path)
        undo.callback(lock.release)
        state = undo.enter_context(closing(load_state(config, ask, show_code, override)))
        daemon = Daemon(config, state, policy, notifier)
        listeners = open_listeners(
            config.server, deny_remote=config.security.deny_network_remote, activated=sockets
        )
        for listener in listeners:
            undo.callback(listener.close)
            log.info("listening", at=str(listener))
        loop = daemon.loop(listeners, signals)
        tell_ready()
        daemon.bulletin.ready()
        loop.run()
        daemon.conclude()
    log.info("stopped")


def load_state(
    config: Config, ask: AskPassphrase, show_code: ShowCode | None, override: str
) -> State:
    """The durable state, made if this is the first start. Raises StartRefused."""
    paths, clock = config.paths, Clock()
    files.sweep(paths.vault_path)
    files.sweep(paths.heads_path)
    if not is_first_start(paths, with_key_file=config.crypto.unlock == "file"):
        state = open_state(paths, opener_of(config, ask), clock.now(), override=override)
        compact(state, paths, clock.now())
    else:
        state = new_state(config, ask, show_code)
        log.info("first start: made vault, keys and audit log", vault=paths.vault_path)
    if not any(slot.kind is SlotKind.RECOVERY for slot in state.vault_file.header.slots):
        log.warning(
            "the vault has no recovery code: a lost master key would lose every secret",
            remedy="stop the daemon and run: jarvis-secretsd key add recovery",
        )
    return state


def new_state(config: Config, ask: AskPassphrase, show_code: ShowCode | None) -> State:
    """Make the durable state, with a recovery code if there is a way to show it."""
    openers = [new_opener(config, ask)]
    if show_code is not None:
        code = new_recovery_code()
        openers.append(Opener.from_recovery_code(code))
        show_code(code)
    return found_state(config.paths, Aead(config.crypto.aead), openers, Clock().now())


def read_policy(config: Config) -> Policy:
    """The policy as its file has it now. Raises ConfigurationError, UnsafeFile."""
    path = config.security.rbac_policy_path
    try:
        text = files.read_trusted(path, MAX_POLICY_BYTES)
    except FileNotFoundError:
        raise ConfigurationError(
            (f"there is no policy at {path}; `jarvis-secretsd init` writes one",)
        ) from None
    return load_policy(text, source=path.name, own_uid=os.geteuid())


def rotation_rules(config: Config) -> RotationRules:
    """The configuration's rules of rotation."""
    kinds = {**DEFAULT_KINDS, **config.rotation.kinds}
    return RotationRules(
        rotation_days=config.security.rotation_days,
        grace_days=config.security.grace_days,
        auto=tuple(map(Pattern.of, config.rotation.auto)),
        hooked=tuple(Pattern.of(hook.pattern) for hook in config.hooks),
        publish_secs=config.rotation.publish_secs,
        kinds=tuple((Pattern.of(text), kind) for kind, texts in kinds.items() for text in texts),
    )


def jwt_rules(config: Config) -> JwtRules:
    """The configuration's rules of tokens."""
    return JwtRules(config.jwt.issuer, config.jwt.ttl_secs, config.jwt.max_ttl_secs)


RESERVED_DESCRIPTORS = 64
"""For vault, log, their new files, listeners, selector and hooks: a full house still commits."""


class Daemon:
    """What serves: the service on its state, and the host that the service asks about it."""

    def __init__(
        self, config: Config, state: State, policy: Policy, notifier: Notifier | None = None
    ) -> None:
        self._config = config
        self._state = state
        self._started = time.monotonic()
        self._clock = Clock(state.time, confirm_secs=float(config.rotation.confirm_clock_secs))
        self._metrics = metrics.Metrics()
        self._alarms = Alarms()
        self._loop: Loop | None = None
        synced = config.audit.sync == "always"
        self._ledger = Ledger(state.vault, state.vault_file, state.audit, synced=synced)
        self._service = Service(
            policy,
            rotation_rules(config),
            self,
            Refusals(config.limits.refusals_per_minute),
            Reads(self._clock.now()),
            Recent(self._clock.now()),
            JwtIssuer(jwt_rules(config), Ed25519()),
            claim_required=config.security.require_client_id_header,
            canaries=tuple(map(Pattern.of, config.audit.canaries)),
        )
        self._compactor = Compactor(state, config.paths, self._ledger, self._clock)
        self._timekeeper = Timekeeper(self._service, self._ledger, self._clock, state.time)
        self._hooks = Hooks(
            config.hooks,
            self._service,
            self._ledger,
            self._clock,
            self._timekeeper.defer,
            vault_path=str(config.paths.vault_path),
        )
        self._readings = Readings(
            config.paths, state, self._service, self._timekeeper, self._hooks, self._clock
        )
        self.bulletin = Bulletin(notifier or Notifier(), self._clock.monotonic, self._line)
        self._housekeeper = Housekeeper(
            self._service,
            self._ledger,
            state,
            self._timekeeper,
            self._hooks,
            self._compactor,
            self.bulletin,
            UnitQueue(str(config.rotation.units_path)),
            self._clock,
            heads_path=str(config.paths.heads_path),
            sync_secs=None if synced else float(config.audit.interval_secs),
        )

    def loop(self, listeners: Sequence[Listener], signals: Signals) -> Loop:
        """The loop that serves these listeners; the log says that we serve."""
        self._record("start", f"version {__version__}, policy {self._service.policy.digest[:16]}")
        limits = LoopLimits(
            max_connections=_room(self._config.server.max_connections),
            max_connections_per_uid=self._config.limits.max_connections_per_uid,
            idle_secs=float(self._config.limits.idle_secs),
            request_secs=float(self._config.limits.request_secs),
            heartbeat_secs=float(self._config.limits.heartbeat_secs),
        )
        self._loop = Loop(
            self._service,
            self._ledger,
            listeners,
            self._housekeeper,
            limits,
            self._clock,
            self._metrics,
            signals,
        )
        self._hooks.begin(self._loop)
        return self._loop

    def conclude(self) -> None:
        """Say in the log what was refused of late and that we stop; keep where both files end."""
        self._compactor.close()
        self._hooks.close()
        self._record("stop", None, *map(Act, self._service.refusals.close()))
        self._housekeeper.write_heads()

    def health(self, secrets_count: int) -> HealthStatus:
        """How we are: `ok`, or why nothing is served."""
        return HealthStatus(
            status=self._status,
            version=__version__,
            uptime_secs=int(time.monotonic() - self._started),
            secrets_count=secrets_count,
            audit_sync=self._config.audit.sync,
        )

    def audit_head(self) -> AuditHeadStatus:
        """The end of the audit chain as it is on the disk."""
        return self._state.audit.end

    def audit_page(self, asked: AuditLog) -> AuditPage:
        """A page of the audit log as it is on the disk. Raises InvalidRequest, Unavailable."""
        return read_page(self._state.audit, asked)

    def read_policy(self) -> Policy:
        """The policy as its file has it now. Raises ConfigurationError, UnsafeFile."""
        try:
            policy = read_policy(self._config)
        except StartRefused:
            self._metrics.reload(metrics.PolicyReload.REFUSED)
            raise
        self._metrics.reload(metrics.PolicyReload.TAKEN)
        return policy

    def metrics(self) -> bytes:
        """The counters as Prometheus text."""
        return render(self._metrics, self._readings.now(self._status, self._loop))

    def report(self, denial: Denial) -> None:
        """Log who was denied, and the line of policy that would allow it."""
        log.warning(
            "denied",
            uid=denial.peer.uid,
            transport=denial.peer.transport.value,
            unit=denial.peer.unit,
            client=denial.client,
            op=denial.op,
            name=denial.name,
            rule=denial.rule,
            remedy=denial.remedy,
        )

    def alarm(self, touch: Touch) -> None:
        """Count and log who asked for a canary."""
        self._metrics.canary_read(time.time(), allowed=touch.allowed)
        self._alarms.ring(touch)

    @property
    def _status(self) -> str:
        """`ok`, or why nothing is served."""
        return self._ledger.trouble or (Reason.LOCKED if self._state.vault.lock else metrics.OK)

    def _line(self) -> str:
        """How we are, in one line for people."""
        if self._status != metrics.OK:
            return f"nothing is served: {self._status}"
        return f"serving {self._state.vault.live_count} secrets"

    def _record(self, op: str, note: str | None, *before: Act) -> None:
        turn = Turn(self._state.vault, self._clock.now())
        told = Act(Event(op=op, outcome=Outcome.RECORDED, note=note))
        turn.witness((*before, told))
        self._ledger.commit(turn)
        self._housekeeper.after_commit(turn)


def _room(wanted: int) -> int:
    """As many connections as are wanted, and as descriptors allow with some kept for files."""
    room = raise_descriptor_limit() - RESERVED_DESCRIPTORS
    if room < wanted:
        log.warning("fewer connections than configured", room=room, remedy="raise LimitNOFILE=")
    return max(1, min(wanted, room))
