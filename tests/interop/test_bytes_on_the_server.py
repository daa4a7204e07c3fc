"""What lies in Redis: messages and result documents written by either library, compared field by field."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.interop.peers import NOBODY, OURS, STOCK, Market

pytest.importorskip("celery")

SEPARATOR = b"\x06\x16"
EARLY, LATE = datetime(2999, 1, 1, 12, tzinfo=UTC), datetime(2999, 1, 2, tzinfo=UTC)

CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "plain": (((2, 2),), {}),
    "nothing": (("",), {}),
    "unicode": (("苹果",), {"kwargs": {"größe": "🍎"}}),
    "tags": ((EARLY, b"\x00\xff"), {}),
    "long": (("x" * 5000,), {}),
    "eta": (((1, 2),), {"eta": EARLY}),
    "expires": (((1, 2),), {"expires": LATE}),
    "both": (((1, 2),), {"eta": EARLY, "expires": LATE}),
    "headers": (((1, 2),), {"headers": {"tenant": "七", "n": 7}}),
    "priority": (((1, 2),), {"priority": 5}),
    "ignore_result": (((1, 2),), {"ignore_result": True}),
    "shadow": (((1, 2),), {"shadow": "another name"}),
    "retries": (((1, 2),), {"retries": 2}),
    "limits": (((1, 2),), {"time_limit": 30, "soft_time_limit": 20}),
    "task_id": (((1, 2),), {"task_id": "chosen"}),
    "parents": (((1, 2),), {"root_id": "the-root", "parent_id": "the-parent"}),
    "group": (((1, 2),), {"group_id": "the-group", "group_index": 3}),
    "correlation": (((1, 2),), {"correlation_id": "told", "reply_to": "there"}),
    "compressed": (((1, 2),), {"compression": "zlib"}),
    "links": (((1, 2),), {"link": True, "link_error": True}),
}


@pytest.fixture
def unread(market: Market) -> Iterator[Market]:
    """Nobody consumes the queue NOBODY; it is emptied."""
    keys = [NOBODY.encode() + SEPARATOR + step for step in (b"3", b"6", b"9")]
    market.server.ask("DEL", NOBODY, *keys)
    yield market
    market.server.ask("DEL", NOBODY, *keys)


def pushed(market: Market, kind: str, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The key and the envelope that a call of `echo` ends up as."""
    shop = market.client[kind]
    made = dict(options)
    if made.pop("link", None):
        made["link"] = [shop.add.s(10).set(queue="x"), shop.mark.si("immutable", k={"v": 1})]
        made["link_error"] = shop.complain.s()
    shop.echo.apply_async(args, made.pop("kwargs", None), queue=NOBODY, **made)
    (key,) = market.server.ask("KEYS", f"{NOBODY}*")
    payload = market.server.ask("RPOP", key)
    assert market.server.ask("EXISTS", key) == 0
    return key.decode("latin-1"), json.loads(payload)


@pytest.mark.parametrize("call", CALLS)
def test_messages_are_equal(unread: Market, call: str) -> None:
    (ours_key, ours), (stock_key, stock) = (pushed(unread, kind, *CALLS[call]) for kind in (OURS, STOCK))
    assert ours_key == stock_key
    assert list(ours) == list(stock)
    for envelope in (ours, stock):
        _take_what_differs(envelope)
    assert list(ours["headers"].items()) == list(stock["headers"].items())  # in Celery's order too
    expirations = [int(envelope["properties"].pop("expiration", 0)) for envelope in (ours, stock)]
    assert abs(expirations[0] - expirations[1]) < 60_000  # milliseconds, counted from the moment of each call
    assert ours["properties"] == stock["properties"]
    assert ours == stock


def _take_what_differs(envelope: dict[str, Any]) -> None:
    """Ids and addresses are each client's own, of the same form. The body is JSON with or without spaces."""
    headers, properties = envelope["headers"], envelope["properties"]
    body = base64.b64decode(envelope["body"])
    if "compression" in headers:
        body = zlib.decompress(body)
    envelope["body"] = list(json.loads(body, object_pairs_hook=list))  # pairs: in Celery's order too
    task_id = headers["id"]
    if headers["root_id"] == task_id:
        headers["root_id"] = "(id)"
    if properties["correlation_id"] == task_id:
        properties["correlation_id"] = "(id)"
    if task_id != "chosen":
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", task_id)
    headers["id"] = "(id)"
    assert re.fullmatch(r"gen\d+@\S+", headers.pop("origin"))
    for name in ("delivery_tag", "reply_to"):
        if properties[name] != "there":
            assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", properties.pop(name))


@pytest.mark.parametrize("priority", [None, *range(11), 255])
def test_the_list_of_a_priority(unread: Market, priority: int | None) -> None:
    ours, stock = (pushed(unread, kind, (1,), {"priority": priority})[0] for kind in (OURS, STOCK))
    assert ours == stock


def test_a_send_by_name_is_equal_too(unread: Market) -> None:
    read = []
    for kind in (OURS, STOCK):
        unread.client[kind].app.send_task("elsewhere.task", ["苹果", 1], {"k": None}, queue=NOBODY, countdown=None)
        envelope = json.loads(unread.server.ask("RPOP", NOBODY))
        _take_what_differs(envelope)
        read.append(envelope)
    assert read[0] == read[1]


def test_many_are_sent_as_one_by_one(unread: Market) -> None:
    shop = unread.client[OURS]
    shop.add.send_many([((n, n), {}) for n in range(3)], queue=NOBODY)
    for n in range(3):
        unread.client[STOCK].add.apply_async((n, n), queue=NOBODY)
    read = [json.loads(payload) for payload in unread.waiting(NOBODY)]
    for envelope in read:
        _take_what_differs(envelope)
    assert read[:3] == read[3:]


# -- results -----------------------------------------------------------------------------------------------------------

RESULTS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "success": ("add", (2, 2), {}),
    "none": ("mark", (), {}),
    "tags": ("echo", (EARLY, b"\x00\xff", "苹果"), {}),
    "failure": ("fail", ("value",), {}),
    "failure with unicode": ("fail", ("unicode",), {}),
    "failure with a cause": ("fail", ("cause",), {}),
    "failure of an OSError": ("fail", ("os",), {}),
    "failure of a decoding": ("fail", ("decode",), {}),
    "custom failure": ("sell", ("apple", 3), {}),
    "retried": ("restock", ("apple", 1), {}),
    "retries exhausted": ("restock", ("apple", 9), {}),
    "expired": ("add", (1, 1), {"expires": EARLY.replace(year=2001)}),
    "in a group": ("add", (1, 1), {"group_id": "a-group"}),
    "with a parent": ("add", (1, 1), {"parent_id": "a-parent", "root_id": "a-root"}),
}


@pytest.mark.parametrize("case", RESULTS)
@pytest.mark.parametrize("caller", [OURS, STOCK])
def test_result_documents_are_equal(market: Market, case: str, caller: str) -> None:
    task, args, options = RESULTS[case]
    documents: list[dict[str, Any]] = []
    for runner in (OURS, STOCK):
        result = getattr(market.client[caller], task).apply_async(args, queue=runner, **options)
        result.get(timeout=20, propagate=False)
        document = market.stored(result.id)
        document = json.loads(json.dumps(document).replace(result.id, "(id)"))
        assert document.pop("task_id") == "(id)"
        if task == "restock" and document.get("parent_id") == "(id)":
            del document["parent_id"]  # Celery's retry names the task as its own parent, which no task is
        done = datetime.fromisoformat(document.pop("date_done"))
        assert done.tzinfo is not None
        assert abs((datetime.now(UTC) - done).total_seconds()) < 20
        traceback = document.pop("traceback")
        if traceback is not None:  # the frames above the user's own are each library's
            document["raised"] = traceback.strip().splitlines()[-1]
            document["frames"] = f"{runner}/shop.py" in traceback if "TaskRevoked" not in traceback else None
        ttl = market.server.ask("TTL", f"celery-task-meta-{result.id}", db=1)
        assert 86_300 < ttl <= 86_400
        documents.append(document)
    assert documents[0] == documents[1]
    assert list(documents[0]) == list(documents[1])
