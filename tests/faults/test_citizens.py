"""Tasks that do to their process what no task should: one worker with two slots, and 1,000 ordinary tasks beside each.

What is stored of each is asserted, all ordinary ones succeed, both slots serve afterwards, and nothing is left over.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tests.faults.world import HERE
from tests.processes import Node, until
from tests.servers import RedisServer

ORDINARY = 1000
MODULE = "tests.faults.citizens"


class Ends(NamedTuple):
    """What must be stored: the state; with FAILURE the type of the error and a part of its text, else the result."""

    state: str
    what: Any
    text: str = ""


def failed(kind: str, text: str = "") -> Ends:
    return Ends("FAILURE", kind, text)


def came(value: Any) -> Ends:
    return Ends("SUCCESS", value)


def lost(how: str) -> Ends:
    return Ends("FAILURE", "WorkerLostError", f"Worker exited prematurely: {how}. The process died 3 times")


BOOK = "x" * 20_000_000

#: They harm nobody but themselves, so they can be sent together.
MEEK = {
    "raises_with_lock": failed("WithLock"),
    "raises_irreducible": failed("Irreducible", "here"),
    "raises_speechless": failed("Speechless"),
    "raises_falling": failed("Falling", "down"),
    "raises_keyboard_interrupt": failed("WorkerLostError", "KeyboardInterrupt"),
    "raises_generator_exit": failed("GeneratorExit"),
    "raises_half_a_character": failed("ValueError", "half "),
    "raises_a_book": failed("ValueError", "xxxx"),
    "raises_a_long_chain": failed("ValueError", "2999"),
    "recurses": failed("RecursionError", "maximum recursion depth exceeded"),
    "exits": failed("WorkerLostError", "exitcode 0"),
    "exits_with_a_code": failed("WorkerLostError", "exitcode 3"),
    "returns_a_lock": failed("EncodeError", "lock"),
    "returns_itself": failed("EncodeError", "itself"),
    "returns_a_well": failed("EncodeError", "deep"),
    "returns_a_generator": failed("EncodeError", "generator"),
    "returns_half_a_character": came("half \ud83d"),
    "returns_a_book": came(BOOK),
    "starts_programs": came("said\n"),
}

#: Each leaves its process in another state, or ends it: one after the other.
WILD = {
    "kills_itself": lost("signal 9 (SIGKILL)"),
    "reads_address_zero": lost("signal 11 (SIGSEGV)"),
    "leaves_at_once": lost("exitcode 3"),
    "leaves_threads": came("left"),
    "forks_many": came([5, 6, -9, 0]),
    "closes_descriptors": lost("exitcode 70"),
    "closes_standard_streams": came("closed"),
    "replaces_handlers": came("ignored"),
    "deletes_its_folder": came(True),
    "changes_its_language": came("C"),
    "changes_the_interpreter": came("changed"),
    "eats_memory": failed("MemoryError"),
    "eats_every_crumb": failed(""),
    "blocks_the_loop": came("blocked"),
}

#: Engine, pool, and which of the wild ones are set loose there.
KINDS = {
    ("sqlite", "prefork"): [name for name in WILD if name != "blocks_the_loop"],
    ("redis", "prefork"): [name for name in WILD if name != "blocks_the_loop"],
    ("redis", "threads"): ["kills_itself", "closes_descriptors", "forks_many", "eats_memory"],
    ("sqlite", "asyncio"): ["reads_address_zero", "closes_descriptors", "forks_many", "blocks_the_loop"],
}


class Stage(NamedTuple):
    tasks: ModuleType
    node: Node


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("citizens")
    broker = backend = f"sqlite:///{folder / 'queue.db'}"
    engine, pool = request.param
    if engine == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        broker, backend = server.url(4), server.url(5)
    hall = folder / "hall"
    hall.mkdir()
    env = {"FAULT_BROKER": broker, "FAULT_BACKEND": backend, "FAULT_HALL": str(hall)}
    node = Node(MODULE, "-c", "2", "-P", pool, cwd=HERE.parents[1], log=folder / "log", env=env)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        sys.modules.pop(MODULE, None)
        tasks = __import__(MODULE, fromlist=["app"])
        node.start()
        try:
            yield Stage(tasks, node)
        finally:
            tasks.app.close()
            if node.alive:
                node.stop(within=20)
            print(node.output())
            node.assert_gone()


@pytest.mark.parametrize("stage", KINDS, indirect=True, ids="-".join)
def test_the_meek(stage: Stage) -> None:
    members = stage.node.members()
    ids = _play(stage, list(MEEK))
    for name, task_id in ids.items():
        _check(stage, name, task_id, MEEK[name])
    assert stage.node.members() == members, "nobody died of it"
    _both_serve(stage, "meek")


@pytest.mark.parametrize(
    "stage, name",
    [pytest.param(kind, name, id=f"{'-'.join(kind)}-{name}") for kind, names in KINDS.items() for name in names],
    indirect=["stage"],
)
def test_the_wild(stage: Stage, name: str) -> None:
    ids = _play(stage, [name])
    _check(stage, name, ids[name], WILD[name])
    _both_serve(stage, name)


@pytest.mark.parametrize("stage", KINDS, indirect=True, ids="-".join)
def test_a_child_uses_the_app(stage: Stage) -> None:
    """What it calls arrives, `get` answers it, and it is no second runner."""
    ids = _play(stage, ["forks_and_calls"])
    assert _document(stage, ids["forks_and_calls"])["result"] == ["the parent's", "42"]


@pytest.mark.parametrize("stage", KINDS, indirect=True, ids="-".join)
def test_nothing_is_left(stage: Stage) -> None:
    """The last of them: what they did to their signals, threads and folders keeps no shutdown."""
    counts = stage.tasks.app.broker.count(["celery"])["celery"]
    killers = [letter for letter in stage.tasks.app.broker.dead_letters(["celery"]) if letter.reason == "lost"]
    assert all(letter.strikes == 3 for letter in killers)
    assert (counts.ready, counts.in_flight, counts.suspects, counts.quarantined) == (0, 0, 0, 0)
    assert counts.dead == len(killers)
    assert stage.node.stop(within=10) == 0
    stage.node.assert_gone()


def _play(stage: Stage, names: list[str]) -> dict[str, str]:
    """Send them in the middle of the ordinary ones; return when all have a result."""
    ordinary: Callable[..., Any] = stage.tasks.ordinary.send_many
    before = ordinary([((number,), {}) for number in range(ORDINARY // 2)])
    ids = {name: getattr(stage.tasks, name).delay().id for name in names}
    after = ordinary([((number,), {}) for number in range(ORDINARY // 2)])
    waited = [result.id for result in (*before, *after)]
    until(
        lambda: len(_states(stage, [*waited, *ids.values()])) == ORDINARY + len(ids), within=30, what="all have ended"
    )
    states = _states(stage, waited)
    assert set(states.values()) == {"SUCCESS"}
    return ids


def _both_serve(stage: Stage, name: str) -> None:
    guests = [stage.tasks.meet.delay(name, 2) for _ in range(2)]
    until(lambda: len(_states(stage, [guest.id for guest in guests])) == 2, within=15, what="both slots serve")


def _states(stage: Stage, ids: list[str]) -> dict[str, str]:
    """Of those that have ended."""
    found = stage.tasks.app.backend.get_many(ids)
    states = {task_id: json.loads(document)["status"] for task_id, document in found.items()}
    return {task_id: state for task_id, state in states.items() if state in ("SUCCESS", "FAILURE")}


def _document(stage: Stage, task_id: str) -> dict[str, Any]:
    found: dict[str, bytes] = stage.tasks.app.backend.get_many([task_id])
    return json.loads(found[task_id]) if task_id in found else {}


def _check(stage: Stage, name: str, task_id: str, expected: Ends) -> None:
    document = _document(stage, task_id)
    assert document["status"] == expected.state, f"{name}: {str(document)[:500]}"
    result = document["result"]
    if expected.state == "SUCCESS":
        assert result == expected.what, f"{name}: {str(result)[:500]}"
        return
    assert expected.what in ("", result["exc_type"]), f"{name}: {str(result)[:500]}"
    assert expected.text in str(result["exc_message"]), f"{name}: {str(result)[:500]}"
