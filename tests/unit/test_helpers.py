"""The helpers of the suite do what they promise: a fault test proves nothing if its fault never happened."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Process, until
from tests.proxy import Proxy
from tests.servers import RedisError, RedisServer, free_port, require


def test_until_returns_the_value_and_names_what_never_came() -> None:
    assert until(lambda: 7, within=0) == 7
    with pytest.raises(AssertionError, match="the moon"):
        until(lambda: 0, within=0.01, what="the moon")


def test_a_missing_server_skips_with_a_reason_or_fails_where_servers_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CELERIAC_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-package"):
        require("no-such-server", "no-such-package")
    monkeypatch.setenv("CELERIAC_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-server"):
        require("no-such-server", "no-such-package")


def test_ports_are_never_handed_out_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_a_process_is_found_with_its_children_and_its_orphans(new_process: Callable[..., Process]) -> None:
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = new_process([sys.executable, "-c", script])
    process.start()
    process.expect("started")
    assert len(process.members()) == 2
    assert process.memory() > 1_000_000
    with pytest.raises(AssertionError, match="left running"):
        process.assert_gone(within=0.05)
    assert process.members() == []


def test_a_process_that_ends_early_says_so_at_once(new_process: Callable[..., Process]) -> None:
    process = new_process([sys.executable, "-c", "print('bye')"])
    process.start()
    with pytest.raises(AssertionError, match=r"ended with 0 .*\n(.*\n)*bye"):
        process.expect("never", within=60)


def test_redis_keeps_its_port_and_its_data_over_a_kill(new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis(appendfsync="always")
    server.ask("SET", "key", "value", db=3)
    port = server.port
    server.kill()
    assert not server.running
    server.start()
    assert (server.port, server.ask("GET", "key", db=3)) == (port, b"value")
    with pytest.raises(RedisError, match="unknown command"):
        server.ask("NONSENSE")


@pytest.mark.parametrize(
    "options",
    [
        {"password": "s3cret"},
        {"password": "s3cret", "user": "worker"},
        {"tls": True},
        {"unix": True},
        {"tls": True, "password": "s3cret"},
    ],
    ids=str,
)
def test_redis_in_all_its_doors(new_redis: Callable[..., RedisServer], options: dict[str, object]) -> None:
    server = new_redis(**options)
    assert server.ask("PING") == b"PONG"
    if server.password:
        assert server.password in server.url(2)


def test_a_frozen_redis_holds_the_connection_and_says_nothing(new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis(appendfsync=None)
    server.pause()
    with socket.create_connection((server.host, server.port), timeout=2) as connection:
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        server.resume()
        connection.settimeout(5)
        assert connection.recv(10) == b"+PONG\r\n"


def test_the_proxy_cuts_swallows_refuses_and_heals(
    redis_server: RedisServer, new_proxy: Callable[[RedisServer], Proxy], tmp_path: Path
) -> None:
    proxy = new_proxy(redis_server)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(10) == b"+PONG\r\n"
        proxy.black_hole()
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        proxy.heal()
        connection.settimeout(5)
        assert connection.recv(10) == b"+PONG\r\n"
        assert proxy.cut() == 1
        assert _ended(connection)
    proxy.refuse()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        assert _ended(connection)


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
