"""Health: what counts as healthy and as ready, and a server that no client can hold."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celeriac.worker import health
from celeriac.worker.health import BROKER, INTAKE, LOOP, HealthServer, PortTaken, Vitals, answer, listen
from tests.processes import until


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def vitals(clock: Callable[[], float], **facts: Any) -> Vitals:
    """Of a node that is well, but for `facts`."""
    made = Vitals("w@h", clock)
    made.runners_ready = made.slots = 2
    made.online, made.backlog = True, 0
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def look(made: Vitals, clock: Clock, seconds: float, **facts: Any) -> None:
    for name, value in facts.items():
        setattr(made, name, value)
    for _ in range(int(seconds)):
        clock.now += 1
        made.look(clock.now, excused=False)


def statuses(made: Vitals) -> tuple[int, int]:
    return answer("/healthz", made)[0], answer("/readyz", made)[0]


def test_a_node_that_is_well(clock: Clock) -> None:
    made = vitals(clock)
    look(made, clock, 1000)
    assert statuses(made) == (200, 200)
    assert answer("/healthz", made)[1]["checks"] == {"loop": True, "broker": True, "intake": True}


def test_a_loop_that_does_not_turn(clock: Clock) -> None:
    made = vitals(clock)
    look(made, clock, 1)
    clock.now += LOOP + 1
    assert statuses(made) == (503, 503)


def test_a_broker_that_is_away_takes_it_out_at_once_and_down_after_a_while(clock: Clock) -> None:
    made = vitals(clock)
    look(made, clock, 2, online=False)
    assert statuses(made) == (200, 503)
    look(made, clock, BROKER)
    assert statuses(made) == (503, 503)
    look(made, clock, 1, online=True)
    assert statuses(made) == (200, 200)


@pytest.mark.parametrize("facts", [{"running": 1}, {"backlog": 0}, {"backlog": None}, {"paused": "memory"}])
def test_intake_has_stopped_only_where_something_waits_and_could_run(clock: Clock, facts: dict[str, Any]) -> None:
    made = vitals(clock, backlog=3)
    look(made, clock, INTAKE + 1, **facts)
    assert statuses(made) == (200, 200)
    look(made, clock, INTAKE + 1, backlog=3, running=0, paused="")
    assert statuses(made) == (503, 200)
    look(made, clock, 1, running=1)
    assert statuses(made) == (200, 200)


def test_loading_the_app_may_take_its_time(clock: Clock) -> None:
    made = vitals(clock, runners_ready=0, online=False)
    clock.now += 1000
    assert statuses(made) == (200, 503)
    look(made, clock, 1)
    assert statuses(made) == (200, 503)


def test_stopping_and_starting_are_not_ready(clock: Clock) -> None:
    assert statuses(vitals(clock, stopping=True)) == (200, 503)
    assert statuses(vitals(clock, runners_ready=0)) == (200, 503)
    assert answer("/metrics", vitals(clock))[0] == 404


@pytest.fixture(params=["127.0.0.1", "::1"])
def port(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    sock = listen(request.param, 0)
    server = HealthServer(sock, vitals(lambda: 100.0))
    number = sock.getsockname()[1]
    server.start()
    yield request.param, number
    server.stop()
    server.join(timeout=10)
    assert not server.is_alive()


def fetch(host: str, port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    name = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(f"http://{name}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_over_http(port: tuple[str, int]) -> None:
    status, body = fetch(*port, "/readyz?verbose=1")
    assert (status, json.loads(body)["node"]) == (200, "w@h")
    assert fetch(*port, "/nothing")[0] == 404
    assert fetch(*port, "/healthz", "POST")[0] == 405
    assert fetch(*port, "/healthz", "HEAD") == (200, b"")
    with pytest.raises(PortTaken, match=f"health cannot be served on .* port {port[1]}: Address already in use"):
        listen(*port)


def test_slow_clients_hold_nobody(port: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE", 0.2)
    slow = [socket.create_connection(port) for _ in range(40)]
    for each in slow:
        try:
            each.sendall(b"GET /healthz HTT")
        except OSError:  # one of the oldest
            continue
    assert fetch(*port, "/healthz")[0] == 200
    big = socket.create_connection(port)
    with pytest.raises(OSError):
        for _ in range(10_000):
            big.sendall(b"x" * 4096)

    def dropped(each: socket.socket) -> bool:
        each.settimeout(5)
        try:
            return each.recv(1) == b""
        except ConnectionError:
            return True

    until(lambda: all(dropped(each) for each in slow), what="slow clients are dropped")
    for each in [*slow, big]:
        each.close()
