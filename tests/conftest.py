"""Fixtures for every test: a home of its own for the embedded queue, private servers, real processes that end."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.client import current
from tests.processes import Node, Process
from tests.proxy import Proxy
from tests.servers import RedisServer


@pytest.fixture(scope="session", autouse=True)
def _no_shared_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever runs outside a single test (module fixtures) must not find the developer's own queue and settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("CELERY_", "CELERIAC_"))]:
            if name != "CELERIAC_REQUIRE_SERVERS":
                patch.delenv(name)
        patch.setenv("CELERIAC_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the embedded queue of this test and of the processes that it starts."""
    home = tmp_path / "home"
    monkeypatch.setenv("CELERIAC_HOME", str(home))
    return home


def _own_shared_tasks() -> Iterator[None]:
    """Tasks are shared with every app that is made later in the process, in Celery as here: tests must not meet those
    of others. Celery's built-in ones are loaded before, so that they are not taken for a test's."""
    ours = dict(current._finalizers)
    state = sys.modules.get("celery._state")
    if state is not None:
        importlib.import_module("celery.app.builtins")
    theirs = set(state._on_app_finalizers) if state is not None else set()
    yield
    current._finalizers.clear()
    current._finalizers.update(ours)
    if state is not None:
        state._on_app_finalizers.intersection_update(theirs)


_shared_by_a_module = pytest.fixture(scope="module", autouse=True, name="_shared_by_a_module")(_own_shared_tasks)
_shared_by_a_test = pytest.fixture(autouse=True, name="_shared_by_a_test")(_own_shared_tasks)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for this module. Tests that stop or kill it start it again themselves."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def new_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Makes and starts servers for one test: `new_redis(password="…", tls=True, …)`, see RedisServer."""
    servers: list[RedisServer] = []

    def new(**options: Any) -> RedisServer:
        server = RedisServer(tmp_path_factory.mktemp("redis"), **options)
        servers.append(server)
        server.start()
        return server

    yield new
    for server in servers:
        server.stop()


@pytest.fixture
def new_proxy() -> Iterator[Callable[[RedisServer], Proxy]]:
    """Makes misbehaving proxies in front of a server: `new_proxy(server).port`."""
    proxies: list[Proxy] = []

    def new(server: RedisServer) -> Proxy:
        proxy = Proxy(server.host, server.port)
        proxies.append(proxy)
        return proxy

    yield new
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def new_process(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Makes (and does not start) processes in the test's folder: `new_process([...], env={...})`."""
    processes: list[Process] = []

    def new(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Process:
        process = Process(command, cwd=cwd or tmp_path, log=tmp_path / f"process-{len(processes)}.log", env=env)
        processes.append(process)
        return process

    yield new
    _end(processes)


@pytest.fixture
def new_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes (and does not start) workers in the test's folder: `new_node("tasks", "-c", "2").start()`."""
    nodes: list[Node] = []

    def new(app: str, *args: str, cwd: Path | None = None, **options: Any) -> Node:
        node = Node(app, *args, cwd=cwd or tmp_path, log=tmp_path / f"node-{len(nodes)}.log", **options)
        nodes.append(node)
        return node

    yield new
    _end(nodes)


def _end(processes: list[Any]) -> None:
    """Stop in order what a test left running, show its log (pytest prints it for failures), insist that it is gone.

    A tree that the test killed on purpose is expected to vanish by itself: runners end when their supervisor is gone.
    """
    try:
        for process in processes:
            if process.alive:
                process.stop(within=20)
    finally:
        for process in processes:
            print(f"---- {' '.join(process.command)}\n{process.output()}")
        for process in processes:
            process.assert_gone()
