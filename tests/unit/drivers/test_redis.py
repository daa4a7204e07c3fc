"""The Redis client against servers that answer what a script says: old ones, slow ones, broken ones."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from celeriac.drivers.redis import Link, Pool, ReplyError, chunks
from celeriac.drivers.redis_address import Address
from celeriac.errors import BrokerError, OperationalError

#: What a server says to one connection: an answer for each command, in order; None: nothing more, but stay open.
Script = list[bytes | None]


class ScriptedServer:
    """Answers each command with the next line of its script; one script a connection, the last for all others."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.commands: list[bytes] = []
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            try:
                self._play(connection, script)
            except OSError:
                pass

    def _play(self, connection: socket.socket, script: Script) -> None:
        stream = connection.makefile("rb")
        for answer in script:
            command = self._command(stream.readline, stream.read)
            if command is None:
                return
            self.commands.append(command)
            if answer is None:
                return
            connection.sendall(answer)
        stream.close()
        connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _command(line: Callable[[], bytes], read: Callable[[int], bytes]) -> bytes | None:
        head = line()
        if not head:
            return None
        words = [read(int(line()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
        return b" ".join(words)


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def new(*scripts: Script) -> ScriptedServer:
        servers.append(ScriptedServer(*scripts))
        return servers[-1]

    yield new
    for server in servers:
        server.close()


Serve = Callable[..., ScriptedServer]

HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"
PONG = b"+PONG\r\n"


def test_a_server_before_version_6_is_spoken_to_in_resp2(serve: Serve) -> None:
    server = serve([b"-ERR unknown command `HELLO`\r\n", b"-NOAUTH\r\n", b"+OK\r\n", b"+OK\r\n", PONG, b":1\r\n"])
    link = Link(Address(server.address.host, server.address.port, password="p"), 5)
    assert not link.resp3
    assert link.call("INCR", "n", timeout=5) == 1
    assert server.commands[2:4] == [b"AUTH p", b"SELECT 0"]
    link.close()


def test_a_server_that_loads_its_data_is_waited_for(serve: Serve) -> None:
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    server = serve([HELLO, loading, loading, PONG, b"+fine\r\n"])
    link = Link(server.address, 5)
    assert link.call("GET", "x", timeout=5) == b"fine"
    link.close()


def test_a_server_that_loads_for_too_long_is_an_outage(serve: Serve) -> None:
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    server = serve([HELLO, *[loading] * 50])
    with pytest.raises(OperationalError, match="still loading"):
        Link(server.address, 0.3)


def test_silence_ends_at_the_deadline_and_closes_the_link(serve: Serve) -> None:
    server = serve([HELLO, PONG, None])
    link = Link(server.address, 5)
    began = monotonic()
    with pytest.raises(OperationalError, match="did not answer in time"):
        link.call("GET", "x", timeout=0.2)
    assert monotonic() - began < 2
    assert link.closed
    with pytest.raises(OperationalError, match="is closed"):
        link.call("GET", "x", timeout=0.2)


def test_half_an_answer_is_no_answer(serve: Serve) -> None:
    server = serve([HELLO, PONG, b"$10\r\nhalf"])
    link = Link(server.address, 5)
    with pytest.raises(OperationalError, match="closed the connection"):
        link.call("GET", "x", timeout=5)
    assert link.closed


def test_bytes_that_are_no_answer_close_the_link(serve: Serve) -> None:
    server = serve([HELLO, PONG, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    link = Link(server.address, 5)
    with pytest.raises(OperationalError):
        link.call("GET", "x", timeout=5)
    assert link.closed


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"-OOM command not allowed\r\n", OperationalError, "out of memory"),
        (b"-MISCONF Redis is configured\r\n", OperationalError, "cannot save"),
        (b"-BUSY Redis is busy\r\n", OperationalError, "script"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", BrokerError, "Cluster"),
        (b"-NOPERM this user\r\n", BrokerError, "broker_url"),
        (b"-WRONGTYPE Operation\r\n", BrokerError, "WRONGTYPE"),
    ],
)
def test_refusals_say_whether_trying_again_helps(serve: Serve, answer: bytes, kind: type[Exception], text: str) -> None:
    link = Link(serve([HELLO, PONG, answer, b"+OK\r\n"]).address, 5)
    with pytest.raises(kind, match=text):
        link.call("LPUSH", "x", "y", timeout=5)
    assert link.call("PING", timeout=5) == b"OK", "an answered refusal leaves the connection in step"
    link.close()


def test_a_replica_is_left(serve: Serve) -> None:
    link = Link(serve([HELLO, PONG, b"-READONLY You can't write\r\n", b"+OK\r\n"]).address, 5)
    with pytest.raises(OperationalError, match="failover"):
        link.call("LPUSH", "x", "y", timeout=5)
    assert link.closed


def test_one_bad_answer_hides_no_other(serve: Serve) -> None:
    link = Link(serve([HELLO, PONG, b":1\r\n", b"-ERR no\r\n", b":3\r\n"]).address, 5)
    link.send(("A",), ("B",), ("C",), deadline=monotonic() + 5)
    first, second, third = link.read(3, monotonic() + 5)
    assert (first, third) == (1, 3)
    assert isinstance(second, ReplyError)
    link.close()


def test_pushes_are_kept_apart_from_answers(serve: Serve) -> None:
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    link = Link(serve([HELLO, PONG, push + b":1\r\n"]).address, 5)
    assert link.call("EXISTS", "k", timeout=5) == 1
    assert link.pushes == [[b"invalidate", [b"k"]]]
    link.close()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OperationalError) as caught:
        Link(Address("127.0.0.1", port, password="secret", setting="result_backend"), 5)
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "result_backend" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_pool_drops_what_the_server_closed_while_it_was_idle(serve: Serve) -> None:
    server = serve([HELLO, PONG, b"+first\r\n"], [HELLO, PONG, b"+second\r\n", None])
    pool = Pool(server.address, 5)
    link = pool.take(5)
    assert link.call("GET", "x", timeout=5) == b"first"
    assert select.select([link.fileno()], [], [], 5)[0], "the script ended, so the server closes"
    pool.give(link)
    assert pool.run(("GET", "x"), timeout=5) == [b"second"]
    pool.close()


def test_chunks_stay_within_both_bounds() -> None:
    assert list(chunks([])) == []
    assert list(chunks([1, 1, 1], most_items=2)) == [(0, 2), (2, 3)]
    assert list(chunks([4, 4, 4], most_bytes=8)) == [(0, 2), (2, 3)]
    assert list(chunks([99, 1, 99], most_bytes=8)) == [(0, 1), (1, 2), (2, 3)]
