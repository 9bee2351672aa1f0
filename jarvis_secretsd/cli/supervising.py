"""`jarvis-secrets run --watch`: a program that is started anew, or told, when a secret changes.

It is in our process group, so that a terminal's keys reach it from the kernel, and Ctrl-Z stops
both. Every other signal is passed on: all are blocked here and taken one by one, with who sent
them (sigwaitinfo(2)), and what the program has got already isn't given to it again. When it ends
we end in the same way; if we are killed, the kernel kills it.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from msgspec import Struct

from jarvis_secretsd.cli.bystander import SI_USER, Bystander
from jarvis_secretsd.cli.exits import Exit, explain, status_of
from jarvis_secretsd.cli.faults import faults_told
from jarvis_secretsd.cli.handing import Hand, Handed
from jarvis_secretsd.cli.noticing import Changed, Notices, counted_off
from jarvis_secretsd.cli.output import complain, remark
from jarvis_secretsd.cli.running import become, give_signals_back, inherited
from jarvis_secretsd.daemon.hardening import end_with, leave_no_core
from jarvis_secretsd.errors import SecretsError

SI_KERNEL = 0x80
"""The `si_code` of a signal that the kernel itself sent, as for a key (sigaction(2))."""

_STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""What stops a job of a shell."""

_CANCELS = frozenset({signal.SIGINT, signal.SIGQUIT})
"""What ends a program, or only what it is doing."""

_FOR_THE_GROUP = _STOPS | _CANCELS | {signal.SIGWINCH, signal.SIGHUP, signal.SIGCONT}
"""What a terminal sends to a whole process group."""


class Plan(Struct, frozen=True):
    """What is started, and what a change means to it.

    `signal` None: it is started anew, after it had `stop_timeout` seconds to end by itself.
    """

    command: tuple[str, ...]
    hand: Hand
    signal: signal.Signals | None
    stop_timeout: float


def supervise(plan: Plan, handed: Handed, notices: Notices) -> NoReturn:
    """Start the program, see to it, and end as it does."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    of_children = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide the status

    def give_back() -> None:
        signal.signal(signal.SIGCHLD, of_children or signal.SIG_DFL)
        give_signals_back()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def start(handed: Handed) -> int:
        sys.stderr.flush()
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            _be_program(plan.command, handed, parent, give_back)
        handed.close()
        return pid

    bystander = Bystander()
    status = _Supervisor(plan, start, notices, bystander).run(handed)
    bystander.end()
    _end_as(status)


class _Supervisor:
    """The program that runs, and what is to become of it.

    `next` is what it gets when it is started anew. The deadline is, while it is being stopped, when
    it is killed, and before that, when it is to be stopped.
    """

    def __init__(
        self,
        plan: Plan,
        start: Callable[[Handed], int],
        notices: Notices,
        bystander: Bystander,
    ) -> None:
        self._plan = plan
        self._start = start
        self._notices = notices
        self._bystander = bystander
        self._pid = 0
        self._status: int | None = None
        self._next: Handed | None = None
        self._deadline: float | None = None
        self._is_stopping = False
        self._is_to_end = False
        self._cancelled = -math.inf

    def run(self, handed: Handed) -> int:
        """Start it, and return when it has ended for good: its status, as waitpid(2) has it."""
        self._pid = self._start(handed)
        self._notices.begin()
        while self._status is None:
            info = self._signal()
            if info is None:
                self._see_deadline()
            elif info.si_signo == signal.SIGCHLD:
                self._reap()
            elif info.si_pid == os.getpid():
                self._see_news()
            else:
                self._pass_on(info)
        return self._status

    def _signal(self) -> signal.struct_siginfo | None:
        """The next signal; None once the deadline has passed."""
        every = signal.valid_signals()
        if self._deadline is None:
            return signal.sigwaitinfo(every)
        return signal.sigtimedwait(every, max(0.0, self._deadline - time.monotonic()))

    def _pass_on(self, info: signal.struct_siginfo) -> None:
        number = info.si_signo
        if number in _CANCELS:
            self._cancelled = time.monotonic()
        if number == signal.SIGTERM or (number in _CANCELS and self._is_stopping):
            self._is_to_end = True
            self._forget_next()
        was_for_all = info.si_code == SI_USER and self._bystander.has_heard(info)
        if not (was_for_all or _is_of_terminal(info) or info.si_pid == self._pid):
            self._send(number)

    def _send(self, number: int) -> bool:
        """Whether the program could be sent this signal."""
        try:
            os.kill(self._pid, number)
        except PermissionError:
            _tell(f"{self._plan.command[0]} is another user's, so no signal of ours reaches it")
            return False
        return True

    def _see_news(self) -> None:
        for news in self._notices.take():
            if isinstance(news, str):
                _tell(news)
            elif self._plan.signal:
                self._tell_change(news, f"gets {self._plan.signal.name}")
                self._send(self._plan.signal)
            elif not self._is_to_end:
                self._renew(news)

    def _renew(self, changed: Changed) -> None:
        """It is to be stopped, and started with what is new.

        Not at once where somebody has just tried to end it: then it isn't started again.
        """
        try:
            with faults_told():
                handed = self._plan.hand(changed.given)
        except SecretsError as error:
            self._tell_change(changed, f"keeps what it has: {explain(error)}")
            return
        self._tell_change(changed, "is started anew")
        self._forget_next()
        self._next = handed
        if not self._is_stopping:
            self._deadline = self._cancelled + self._plan.stop_timeout

    def _tell_change(self, changed: Changed, what: str) -> None:
        _tell(f"{counted_off(changed.names)} changed; {self._plan.command[0]} {what}")

    def _forget_next(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None
            if not self._is_stopping:
                self._deadline = None

    def _see_deadline(self) -> None:
        if self._is_stopping:
            self._deadline = None
            patience = f"{self._plan.stop_timeout:g} s"
            _tell(f"{self._plan.command[0]} didn't end within {patience}, and is killed")
            self._send(signal.SIGKILL)
            return
        self._reap()  # what has just ended by itself isn't started again
        if self._status is None and self._send(signal.SIGTERM):
            self._is_stopping = True
            self._deadline = time.monotonic() + self._plan.stop_timeout
        else:
            self._forget_next()

    def _reap(self) -> None:
        """See what became of the program, and of orphans that were left to us."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG | os.WUNTRACED)) != (0, 0):
                pid, status = found
                if pid != self._pid:
                    continue
                if os.WIFSTOPPED(status):
                    _stop_as(os.WSTOPSIG(status))
                else:
                    self._see_end(status)

    def _see_end(self, status: int) -> None:
        if self._is_stopping and self._next is not None:
            self._pid = self._start(self._next)
            self._next = self._deadline = None
            self._is_stopping = False
        else:
            self._status = status


def _is_of_terminal(info: signal.struct_siginfo) -> bool:
    """A terminal sent it, and to the program too.

    Of a terminal that is gone only the leader of its session is told.
    """
    if info.si_code != SI_KERNEL or info.si_signo not in _FOR_THE_GROUP:
        return False
    return info.si_signo != signal.SIGHUP or os.getsid(0) != os.getpid()


def _be_program(
    command: tuple[str, ...], handed: Handed, parent: int, give_back: Callable[[], None]
) -> NoReturn:
    """In the forked child: become the program."""
    status = Exit.FAILURE
    try:
        end_with(parent)
        give_back()
        become(command, _readdressed(inherited(), parent) | handed.variables)
    except SecretsError as error:
        complain(explain(error))
        status = status_of(error)
    finally:
        os._exit(status)


def _readdressed(variables: dict[bytes, bytes], parent: int) -> dict[bytes, bytes]:
    """What a service manager meant for the process that it started, it means for the program.

    It names that process: sd_listen_fds(3), sd_watchdog_enabled(3).
    """
    for name in (b"LISTEN_PID", b"WATCHDOG_PID"):
        if variables.get(name) == b"%d" % parent:
            variables[name] = b"%d" % os.getpid()
            variables.pop(b"LISTEN_PIDFDID", None)
    return variables


def _stop_as(number: int) -> None:
    """Stop as the program did, so that the shell that waits for us sees it; until we go on."""
    if number not in _STOPS or signal.getsignal(number) is not signal.SIG_DFL:
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    os.kill(os.getpid(), number)  # one with that of the terminal, which may be pending as well
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def _end_as(status: int) -> NoReturn:
    """End as the program did: with its exit status, or by the same signal."""
    if os.WIFSIGNALED(status):
        leave_no_core()
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    # The first process of a container is ended by no signal of its own.
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + number)


def _tell(text: str) -> None:
    with suppress(OSError):  # nobody may read it any more, and the program goes on
        remark(text)
