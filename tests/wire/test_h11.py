"""Another reader of HTTP agrees: what we take for a request, h11 reads the same or refuses."""

from __future__ import annotations

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jarvis_secretsd.wire.http import HttpExchange, HttpRequests, _Opened
from tests.wire.talk import UNIX, chunked, get, post

Reading = tuple[bytes, bytes, dict[bytes, bytes], bytes]
"""Method, target, headers, body."""

BODY = b'{"name":"a","value":"v"}'
SEEDS = [
    get("/secret/a?kid=5f2c01a99be37d10", "X-Jarvis-Client: web"),
    post("/secret", BODY, "Authorization: Bearer abc"),
    chunked("/secret", b"18;x=y\r\n" + BODY + b"\r\n0\r\nTrailer: x\r\n\r\n"),
    get("/healthz", method="HEAD") + get("/secrets"),
    b"GET http://x/healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
SPLICES = [
    *(bytes([byte]) for byte in b"\0\t\n\r :;,0F+-x/?%#\x7f\xff"),
    b"\r\n",
    b"\r\n\r\n",
    b"\r\nContent-Length: 3\r\n",
    b"\r\nTransfer-Encoding: chunked\r\n",
    b"\r\nHost: y\r\n",
    b"GET / HTTP/1.1\r\n",
]


class Recorder(HttpRequests):
    """Our reader, which also keeps what it read before it judged it."""

    def __init__(self) -> None:
        super().__init__(UNIX)
        self.read: list[Reading] = []

    def _finish(self, opened: _Opened) -> HttpExchange:
        events = self._events
        line = opened.head.method.encode(), events.target
        self.read.append((*line, events.fields, b"".join(events.body)))
        return super()._finish(opened)


def ours(stream: bytes) -> list[Reading]:
    """The requests that we read in this stream."""
    reader = Recorder()
    reader.feed(stream)
    while (step := reader.next()) is not None:
        if isinstance(step, HttpExchange) and step.last:
            break
    return reader.read


def theirs(stream: bytes) -> list[Reading]:
    """The requests that h11 reads in it, until the first that it refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(stream)
    read: list[Reading] = []
    try:
        while isinstance(event := connection.next_event(), h11.Request):
            body = b""
            while isinstance(data := connection.next_event(), h11.Data):
                body += data.data
            if not isinstance(data, h11.EndOfMessage):
                break
            read.append((event.method, event.target, dict(event.headers), body))
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        pass
    return read


@given(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(st.integers(0, 160), st.integers(0, 3), st.sampled_from(SPLICES)), max_size=2
    ),
)
@settings(max_examples=400)
@example(SEEDS[0], [])
@example(SEEDS[1], [])
@example(SEEDS[2], [])
@example(SEEDS[3], [])
def test_what_we_read_h11_reads_too(seed: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    """Method, target, headers and body are the same: nothing hides between two readers."""
    stream = seed
    for at, cut, splice in edits:
        stream = stream[:at] + splice + stream[at + cut :]
    for here, there in zip(ours(stream), theirs(stream), strict=False):
        assert here == there


def test_the_seeds_are_requests_to_both() -> None:
    """So the comparison above compares something."""
    for seed in SEEDS:
        assert ours(seed) == theirs(seed) != []
