"""`echo.py SOCKET`: a selectors loop that sends back what it gets, which is the least it can do."""

from __future__ import annotations

import selectors
import socket
import sys

CHUNK = 64 * 1024


def serve(path: str) -> None:
    """Echo at this Unix socket until a signal ends the process."""
    selector = selectors.DefaultSelector()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(socket.SOMAXCONN)
        selector.register(listener, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    peer, _ = listener.accept()
                    selector.register(peer, selectors.EVENT_READ, peer)
                else:
                    _echo(key.data, selector)


def _echo(peer: socket.socket, selector: selectors.BaseSelector) -> None:
    if data := peer.recv(CHUNK):
        peer.sendall(data)
    else:
        selector.unregister(peer)
        peer.close()


if __name__ == "__main__":
    serve(sys.argv[1])
