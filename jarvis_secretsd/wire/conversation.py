"""One connection's bytes <-> requests and replies. The first byte decides which dialect it is.

Where none comes, the address of the peer may say what it asks (`wire/credential.py`).

Feed what arrives, take requests, reply to each in order, send what `output` gives.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from jarvis_secretsd.messages import Failure, Reply, Request, Told
from jarvis_secretsd.wire.credential import CredentialDialect, asks_for_credential
from jarvis_secretsd.wire.framed import FramedRequests, UnknownDialect
from jarvis_secretsd.wire.guard import WireRules
from jarvis_secretsd.wire.http import HttpRequests
from jarvis_secretsd.wire.streams import Stream

__all__ = ["Conversation", "WireRules"]


class Exchange(Protocol):
    """A request, or why it was refused, and how its reply is said. The `last` one ends the talk.

    `stream` is how the messages of a watch are said, which follow a reply that is no Failure.
    """

    @property
    def asked(self) -> Request | Failure: ...
    @property
    def last(self) -> bool: ...
    @property
    def stream(self) -> Stream | None: ...
    def render(self, reply: Reply) -> bytes: ...


class Dialect(Protocol):
    """Splits what is fed into exchanges. Bytes are an invitation to send the rest of a request."""

    @property
    def partial(self) -> bool: ...
    def feed(self, data: bytes) -> None: ...
    def next(self) -> Exchange | bytes | None: ...


class Conversation:
    """Both sides of one connection, as bytes. It holds no socket and never waits.

    One complete request is read ahead of what was taken. So what it holds is bounded by one request
    and what was fed, as long as nothing is fed while `backlog` is true.

    A watch turns the connection into a stream of its messages. Whatever the peer says then ends it.
    """

    def __init__(self, rules: WireRules) -> None:
        self._rules = rules
        self._dialect: Dialect | None = None
        self._ahead: Exchange | None = None
        self._due: deque[Exchange] = deque()
        self._invitation = b""
        self._output: list[bytes] = []
        self._stream: Stream | None = None
        self._awaits_stream = False
        self._is_fed_out = False
        self._is_over = False
        self._is_concluding = False

    @property
    def backlog(self) -> bool:
        """Is a complete request waiting to be taken?"""
        return self._ahead is not None

    @property
    def has_begun(self) -> bool:
        """Is it known what the peer speaks?"""
        return self._dialect is not None

    @property
    def is_credential(self) -> bool:
        """Is it systemd's question for a credential, or what claims to be one?"""
        return isinstance(self._dialect, CredentialDialect)

    @property
    def mid_request(self) -> bool:
        """Does the peer owe us the rest of a request?"""
        if self._is_over or self._ahead or not self._dialect:
            return False
        return self._dialect.partial

    @property
    def closing(self) -> bool:
        """Is no more input taken? Then close, once all is taken, answered and sent."""
        return self._is_over

    @property
    def unanswered(self) -> int:
        """Requests that were taken and await their reply."""
        return len(self._due)

    @property
    def is_streaming(self) -> bool:
        """Is there a watch, whose messages `say` says?"""
        return self._stream is not None

    def feed(self, data: bytes) -> None:
        """Take in what arrived, cut anywhere. Ignored once the conversation is closing."""
        if not data:
            return
        self.end_stream()
        if self._is_over:
            return
        if self._dialect is None:
            self._dialect = _dialect_of(data[0], self._rules)
            if self._is_concluding:
                self.conclude()
        self._dialect.feed(data)
        self._look_ahead()

    def feed_eof(self, address: bytes = b"") -> None:
        """The peer says no more. What it said completely is still answered.

        `address` is what it connected from; without a byte before, that may be its question.
        """
        self.end_stream()
        if self._dialect is None and (self._rules.only_credentials or asks_for_credential(address)):
            self._dialect = CredentialDialect(address)
        self._is_fed_out = True
        self._look_ahead()

    def take(self, limit: int) -> list[Request | Failure]:
        """At most `limit` requests, each to be given its `reply`, in this order.

        A Failure was refused here; give it back to `reply`.
        """
        taken: list[Request | Failure] = []
        while self._ahead is not None and len(taken) < limit:
            taken.append(self._ahead.asked)
            self._due.append(self._ahead)
            self._ahead = None
            self._look_ahead()
        return taken

    def reply(self, reply: Reply) -> None:
        """Answer the oldest unanswered request."""
        exchange = self._due.popleft()
        self._output.append(exchange.render(reply))
        if exchange.stream is not None:
            self._begin(exchange.stream, reply)
        self._invite()

    def say(self, told: Told) -> None:
        """The next message of the watch."""
        if self._stream is not None:
            self._output.append(self._stream.say(told))

    def conclude(self) -> None:
        """The next answer behind which nothing is asked is the last, and says so where it can."""
        self._is_concluding = True
        if isinstance(self._dialect, HttpRequests):
            self._dialect.conclude()

    def end_stream(self) -> None:
        """End the watch, if there is one; nothing is said after it."""
        if self._stream is not None:
            self._output.append(self._stream.closing)
            self._stream = None

    def output(self) -> bytes:
        """All bytes that are due to the peer; they are given once."""
        due = b"".join(self._output)
        self._output.clear()
        return due

    def _begin(self, stream: Stream, reply: Reply) -> None:
        """A watch goes on as a stream; one that was refused was a request like another."""
        self._awaits_stream = False
        if isinstance(reply, Failure):
            self._look_ahead()
            return
        self._stream, self._is_over = stream, True
        if self._is_fed_out or (self._dialect is not None and self._dialect.partial):
            self.end_stream()

    def _look_ahead(self) -> None:
        while self._ahead is None and self._dialect is not None and not self._is_settled:
            step = self._dialect.next()
            if step is None:
                break
            if isinstance(step, bytes):
                self._invitation = step
                self._invite()
            else:
                self._invitation = b""  # it came without being asked for
                self._ahead = step
                self._is_over = step.last
                self._awaits_stream = step.stream is not None
        if self._is_fed_out and self._ahead is None and not self._awaits_stream:
            self._is_over = True

    @property
    def _is_settled(self) -> bool:
        """Nothing more is looked at: never, or not before it is known what a watch becomes."""
        return self._is_over or self._awaits_stream

    def _invite(self) -> None:
        """An invitation stands behind the replies to all that was asked before it."""
        if self._invitation and not self._due:
            self._output.append(self._invitation)
            self._invitation = b""


def _dialect_of(first: int, rules: WireRules) -> Dialect:
    if rules.only_credentials:
        return UnknownDialect()
    if first == 0:
        return FramedRequests()
    if ord("A") <= first <= ord("Z"):
        return HttpRequests(rules)
    return UnknownDialect()
