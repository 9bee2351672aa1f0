"""One accepted socket: its peer, its conversation, and the bytes that wait to leave.

It reads only while there is room for the answers, so a peer that doesn't read stops being read.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from jarvis_secretsd.daemon.units import unit_of
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import ROOT
from jarvis_secretsd.messages import Failure, Reply, Request, Told
from jarvis_secretsd.wire.conversation import Conversation, WireRules
from jarvis_secretsd.wire.credential import REFUSAL, asks_for_credential

READ_BYTES = 64 * 1024
"""Read at once: many small requests, or a part of a large one."""

MAX_REQUESTS_A_TURN = 32
"""Taken from one connection in one turn, so that a pipelining peer leaves room for the others."""

MAX_UNSENT = 256 * 1024
"""Bytes that wait for a slow reader before it is read no more. One reply may go over it."""


class Connection:
    """A peer on a non-blocking socket. An OSError of the socket means that the peer is gone.

    Its end has two steps: once all is said, our side is shut, and what still comes is read and
    thrown away, since closing over unread input would make the kernel take our last word back.

    A watcher is owed an end for as long as it listens; one that doesn't is given up.
    """

    def __init__(self, sock: socket.socket, peer: Peer, rules: WireRules) -> None:
        self.peer = peer
        self.interest = 0
        """What the loop's selector waits for on this connection; the loop alone sets it."""
        self._socket = sock
        self._conversation = Conversation(rules)
        self._unsent = b""
        self._is_attested = False
        self._at_end = False
        self._is_dismissed = False
        self._is_owed = False
        self._is_heard_out = False
        self._is_given_up = False
        self._is_shut = False

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    def receive(self) -> Sequence[Request | Failure]:
        """Read once, and give what is complete, up to the limit of a turn."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return ()
        if not data:
            self._at_end = True
            self._hear_end()
        elif self.is_watching or not self._takes_no_more:
            self._conversation.feed(data)
        return self.take()

    def attest(self) -> None:
        """Have the peer's unit asked for, once, where the policy speaks of units."""
        if not self._is_attested and self.peer.transport is not Transport.TCP:
            self._is_attested = True
            self.peer = replace(self.peer, unit=unit_of(self._socket, self.peer))

    def is_of_systemd(self) -> bool:
        """Does root come as systemd does, and from a unit of the system?"""
        if self.peer.uid != ROOT or not asks_for_credential(self._address()):
            return False
        self.attest()
        return self.peer.unit is not None

    def take(self) -> Sequence[Request | Failure]:
        """Requests that are complete already. Each must be answered, in order."""
        return self._conversation.take(MAX_REQUESTS_A_TURN)

    def deliver(self, reply: Reply) -> None:
        """Answer the oldest unanswered request."""
        self._conversation.reply(reply)
        self._is_owed = False

    def tell(self, told: Told) -> None:
        """Give a watcher its next message, unless too many wait for it already: it doesn't read."""
        if len(self._unsent) > MAX_UNSENT:
            self._is_given_up = True
        else:
            self._conversation.say(told)

    def flush(self) -> None:
        """Write what is due, as far as the peer takes it, and shut our side after the last word."""
        self._unsent += self._conversation.output()
        if self._unsent:
            try:
                sent = self._socket.send(self._unsent, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]
        if self._takes_no_more and self._is_said and not self._is_shut:
            self._is_shut = True
            self._socket.shutdown(socket.SHUT_WR)

    def conclude(self) -> None:
        """Expect one more request, with all that come before its answer; HTTP tells the peer."""
        self._is_owed = True
        self._conversation.conclude()

    def is_expected(self, *, patient: bool) -> bool:
        """After `conclude`: a request of it is being answered, or on its way.

        To the patient it is also on its way if none has come yet.
        """
        talk = self._conversation
        if self._takes_no_more or self._at_end:
            return talk.backlog
        return talk.backlog or talk.mid_request or (patient and self._is_owed)

    def hear_out(self) -> None:
        """Read and answer what the peer has sent, and then its end, whether it says one or not.

        On a Unix socket whatever it sends from now on fails, so it knows that this wasn't taken.
        """
        if not self._is_heard_out:
            self._is_heard_out = True
            with suppress(OSError):  # it has gone
                self._socket.shutdown(socket.SHUT_RD)

    def dismiss(self) -> None:
        """Take no more requests, and end a watch; what is being answered still leaves.

        So does the answer to systemd, which would take our silence for an empty credential.
        """
        if not self._is_dismissed and asks_for_credential(self._address()):
            self._hear_end()
        self._is_dismissed = True
        self._conversation.end_stream()

    def abandon(self) -> bool:
        """Nothing more is answered; systemd is refused what it asked for, or was about to.

        As far as it takes that now: True if it is to be called again for the rest.
        """
        if not self._is_given_up:
            self._is_given_up = True
            self._unsent = REFUSAL if asks_for_credential(self._address()) else b""
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent, socket.MSG_NOSIGNAL)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return True
        except OSError:  # it has gone
            return False
        return False

    @property
    def is_watching(self) -> bool:
        """A watch has begun and goes on."""
        return self._conversation.is_streaming

    @property
    def has_backlog(self) -> bool:
        """Complete requests wait for the next turn."""
        return self._conversation.backlog

    @property
    def is_hurried(self) -> bool:
        """The peer owes us something: the rest of a request, or its end after our last word."""
        return self._conversation.mid_request or self._is_shut

    @property
    def wants_read(self) -> bool:
        """There is room for the answer to whatever comes."""
        return not self._at_end and (
            self._is_shut
            or self.is_watching
            or (
                not self._takes_no_more
                and not self._conversation.backlog
                and len(self._unsent) < MAX_UNSENT
            )
        )

    @property
    def wants_write(self) -> bool:
        """Bytes wait for the peer to take them."""
        return bool(self._unsent)

    @property
    def is_over(self) -> bool:
        """The peer is done, and has all that it is due, or won't take it."""
        return self._is_given_up or (self._at_end and self._is_said)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _hear_end(self) -> None:
        """The peer says no more; if it never said anything, its address may have."""
        has_begun = self._conversation.has_begun
        self._conversation.feed_eof(b"" if has_begun else self._address())
        if self._conversation.is_credential and not has_begun:
            self.attest()
            self.peer = replace(self.peer, transport=Transport.CREDENTIALS)

    def _address(self) -> bytes:
        """The abstract address that the peer of a Unix socket connected from, if it has one."""
        try:
            address = self._socket.getpeername()
        except OSError:
            return b""
        return address if isinstance(address, bytes) else b""

    @property
    def _takes_no_more(self) -> bool:
        return self._is_dismissed or self._conversation.closing

    @property
    def _is_said(self) -> bool:
        awaited = self._conversation
        return not (self._unsent or awaited.unanswered or awaited.backlog or awaited.is_streaming)
