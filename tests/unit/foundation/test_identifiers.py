"""Ids are UUIDs, unique in threads and forks; node names are Celery's."""

from __future__ import annotations

import os
import socket
import threading
import uuid

import pytest

from celeriac.foundation import identifiers
from celeriac.foundation.identifiers import anonymous_name, expand, node_name, uuid4_text


def test_ids_are_random_uuids_in_canonical_form() -> None:
    made = {uuid4_text() for _ in range(5000)}
    assert len(made) == 5000
    for text in made:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert {uuid.UUID(text).bytes[8] >> 4 for text in made} == {8, 9, 10, 11}


def test_threads_never_draw_the_same_id() -> None:
    drawn: list[list[str]] = []
    threads = [threading.Thread(target=lambda: drawn.append([uuid4_text() for _ in range(2000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({text for ids in drawn for text in ids}) == 16000


def test_a_forked_child_draws_its_own_and_has_its_own_name() -> None:
    uuid4_text()  # so that there is something in store to inherit
    mine = anonymous_name()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join([anonymous_name()] + [uuid4_text() for _ in range(200)]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        name, *theirs = pipe.read().split("\n")
    os.waitpid(child, 0)
    assert not set(theirs) & {uuid4_text() for _ in range(200)}
    assert name != mine
    assert name == f"gen{child}@{socket.gethostname()}"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(identifiers, "hostname", lambda: "box.example.com")
    return "box.example.com"


@pytest.mark.parametrize(
    "pattern, name",
    [
        (None, "celery@box.example.com"),
        ("", "celery@box.example.com"),
        ("w1", "celery@w1"),
        ("w1@%h", "w1@box.example.com"),
        ("w1@", "w1@box.example.com"),
        ("@other", "celery@other"),
        ("%n-%i@%d", "box-0@example.com"),
        ("%n%I@x", "box@x"),
        ("100%%@x", "100%@x"),
    ],
)
def test_node_names(host: str, pattern: str | None, name: str) -> None:
    assert node_name(pattern) == name


def test_an_unknown_letter_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="%z"):
        node_name("w%z@%h")


@pytest.mark.parametrize(
    "pattern, index, text",
    [("/var/log/%n%I.log", 0, "/var/log/w.log"), ("%n%I.log", 2, "w-2.log"), ("%p %h %d %i", 0, "w@a.b.c a.b.c b.c 0")],
)
def test_file_names(pattern: str, index: int, text: str) -> None:
    assert expand(pattern, "w@a.b.c", index) == text


@pytest.mark.parametrize("pattern", [None, "", "w1", "w1@%h", "@other", "%n@%d"])
def test_like_celery(pattern: str | None) -> None:
    nodenames = pytest.importorskip("celery.utils.nodenames")
    assert node_name(pattern) == nodenames.host_format(nodenames.default_nodename(pattern))
    assert anonymous_name() == nodenames.anon_nodename()
