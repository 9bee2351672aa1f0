"""The sockets that peers connect to, with the rules of their bytes and the way to tell who came."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec.structs import replace

from jarvis_secretsd.daemon.addresses import TcpAddress
from jarvis_secretsd.daemon.config import DEFAULT_CREDENTIALS, ServerConfig
from jarvis_secretsd.daemon.peers import SockDiag, is_loopback, unix_peer
from jarvis_secretsd.daemon.socketfile import SocketFile
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.errors import StartRefused
from jarvis_secretsd.wire.conversation import WireRules
from jarvis_secretsd.wire.credential import asks_for_credential

BACKLOG = 1024
"""Peers that may wait while one turn is made durable; the kernel caps it at net.core.somaxconn."""

CREDENTIALS_MODE = 0o600

Identify = Callable[[socket.socket], Peer | None]
"""Who is at the other end of an accepted socket; None: nobody that we speak with."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_PEER_IS_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
    }
)
"""What accept(2) reports of a connection that failed, or was forbidden, before it was accepted."""


class OutOfDescriptors(Exception):
    """No descriptor is left to accept with; accepting again at once would only spin."""


class Listener:
    """A listening socket. Accepting and asking who came are one act, so no peer goes unasked."""

    def __init__(
        self,
        sock: socket.socket,
        transport: Transport,
        rules: WireRules,
        identify: Identify,
        close: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.rules = rules
        self.dropped = 0
        self._socket = sock
        self._identify = identify
        self._close = close
        sock.setblocking(False)

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    def accept(self) -> tuple[socket.socket, Peer] | None:
        """A non-blocking socket and its peer; None when nobody waits, or who came was dropped.

        Raises OutOfDescriptors; another OSError means that the listener is broken.
        """
        try:
            sock, address = self._socket.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise OutOfDescriptors from error
            if error.errno in _PEER_IS_GONE:
                return None
            raise
        sock.setblocking(False)
        peer = self._identify(sock)
        if peer is None and isinstance(address, bytes) and asks_for_credential(address):
            peer = Peer(Transport.UNIX, None)  # it must be refused: silence is an empty credential
        if peer is None:
            self.dropped += 1
            sock.close()
            return None
        return sock, peer

    def rules_for(self, peer: Peer) -> WireRules:
        """What is demanded of this peer: one that can't be told may only ask as systemd does."""
        if peer.uid is None and not self.rules.is_tcp:
            return replace(self.rules, only_credentials=True)
        return self.rules

    def close(self) -> None:
        """Accept no more, and take back the socket file that we made."""
        self._close()

    def __str__(self) -> str:
        name = self._socket.getsockname()
        return name if isinstance(name, str) else str(TcpAddress(name[0], name[1]))


def open_listeners(
    server: ServerConfig, *, deny_remote: bool, activated: Sequence[socket.socket] = ()
) -> tuple[Listener, ...]:
    """Every listener of the configuration; one that was handed to us takes its transport's place.

    The caller holds the vault's lock. Nothing is left behind on an error: StartRefused, UnsafeFile,
    AlreadyRunning.
    """
    with ExitStack() as undo:
        given = [
            _adopt(undo.enter_context(closing(sock)), server, deny_remote) for sock in activated
        ]
        transports = {listener.transport for listener in given}
        if server.unix_path and Transport.UNIX not in transports:
            given.append(undo.enter_context(closing(_open_unix(server, server.unix_path))))
        if server.credentials_path and Transport.CREDENTIALS not in transports:
            listener = _open_credentials(server.credentials_path)
            given.append(undo.enter_context(closing(listener)))
        if server.tcp and Transport.TCP not in transports:
            given.append(undo.enter_context(closing(_open_tcp(server, server.tcp, deny_remote))))
        undo.pop_all()
    return tuple(given)


def _open_unix(server: ServerConfig, path: Path) -> Listener:
    file = SocketFile.bind(path, server.permissions, server.socket_group)
    file.socket.listen(BACKLOG)
    return Listener(
        file.socket, Transport.UNIX, WireRules(is_tcp=False), unix_peer, close=file.close
    )


def _open_credentials(path: Path) -> Listener:
    """The socket that root's systemd alone can open."""
    file = SocketFile.bind(path, CREDENTIALS_MODE, None)
    file.socket.listen(BACKLOG)
    return _credentials_listener(file.socket, file.close)


def _credentials_listener(sock: socket.socket, close: Callable[[], None]) -> Listener:
    rules = WireRules(is_tcp=False, only_credentials=True)
    return Listener(sock, Transport.CREDENTIALS, rules, unix_peer, close)


def _open_tcp(server: ServerConfig, address: TcpAddress, deny_remote: bool) -> Listener:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if deny_remote:
            _keep_to_loopback(sock)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
        return _tcp_listener(sock, server, deny_remote)
    except OSError as error:
        sock.close()
        raise StartRefused(f"{address}: {_bind_fault(error, address)}") from error
    except StartRefused:
        sock.close()
        raise


def _tcp_listener(sock: socket.socket, server: ServerConfig, deny_remote: bool) -> Listener:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    rules = WireRules(
        is_tcp=True, port=sock.getsockname()[1], allowed_hosts=frozenset(server.allowed_hosts)
    )
    try:
        diag = SockDiag(sock)
    except OSError as error:
        raise StartRefused(
            "the kernel can't be asked who connects over TCP"
            f" ({error.strerror}); a unit's RestrictAddressFamilies= must list AF_NETLINK"
        ) from error

    def identify(accepted: socket.socket) -> Peer | None:
        if deny_remote and not _is_from_here(accepted):
            return None
        return diag.peer(accepted)

    def close() -> None:
        sock.close()
        diag.close()

    return Listener(sock, Transport.TCP, rules, identify, close)


def _is_from_here(accepted: socket.socket) -> bool:
    try:
        return is_loopback(accepted.getpeername()[0])
    except OSError:
        return False  # it has gone already


def _adopt(sock: socket.socket, server: ServerConfig, deny_remote: bool) -> Listener:
    """A listener from a socket that the service manager made; its file is not ours to remove."""
    kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    name = sock.getsockname()
    if kind != socket.SOCK_STREAM or not listens:
        raise StartRefused(
            f"the socket handed over for {name!a} is not a listening stream socket;"
            " write ListenStream= and Accept=no in its unit"
        )
    if sock.family == socket.AF_UNIX:
        if not isinstance(name, str) or not name.startswith("/"):
            raise StartRefused(
                "the Unix socket handed over has no path, so no file mode guards it;"
                " write an absolute path in ListenStream="
            )
        if Path(name) == (server.credentials_path or DEFAULT_CREDENTIALS):
            return _credentials_listener(sock, sock.close)
        rules = WireRules(is_tcp=False)
        return Listener(sock, Transport.UNIX, rules, unix_peer, close=sock.close)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) != socket.IPPROTO_TCP:
        raise StartRefused(f"the socket handed over for {name!a} speaks neither TCP nor Unix")
    if deny_remote:
        if not is_loopback(name[0]):
            raise StartRefused(
                f"the socket handed over listens on {name[0]}, which security.deny_network_remote ="
                " true forbids; write ListenStream=127.0.0.1:PORT in its unit"
            )
        _keep_to_loopback(sock)
    return _tcp_listener(sock, server, deny_remote)


def _keep_to_loopback(sock: socket.socket) -> None:
    """Let nothing in that didn't come over `lo`, whatever route_localnet says (socket(7))."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo":
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    except PermissionError as error:
        raise StartRefused(
            "the kernel doesn't let us bind a socket to the loopback device (SO_BINDTODEVICE), as"
            " security.deny_network_remote = true needs; that takes Linux 5.7 or CAP_NET_RAW"
        ) from error


def _bind_fault(error: OSError, address: TcpAddress) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"is taken; who has it: ss -ltnp 'sport = :{address.port}'"
        case errno.EADDRNOTAVAIL:
            return "is no address of this machine; write another bind_addr"
        case errno.EACCES:
            return "ports below 1024 take CAP_NET_BIND_SERVICE; write a higher one"
        case _:
            return f"can't be listened on: {os.strerror(error.errno or 0)}"
