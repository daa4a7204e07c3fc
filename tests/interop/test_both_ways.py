"""A producer of one library and a worker of the other: what travels, what comes back, what happens on the way."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from celeriac import exceptions as ours
from tests.interop.peers import OURS, STOCK, Market, other
from tests.processes import until

celery = pytest.importorskip("celery")

from celery import exceptions as stock  # noqa: E402

#: (who calls, whose worker runs it)
CROSSINGS = [pytest.param(STOCK, OURS, id="stock-to-ours"), pytest.param(OURS, STOCK, id="ours-to-stock")]
crossing = pytest.mark.parametrize("caller, runner", CROSSINGS)

VALUES: list[Any] = [
    None,
    True,
    -7,
    2**70,
    0.1,
    1e300,
    "",
    "苹果 \u2028 🍎 \x00",
    [1, [2, [3, {"deep": []}]]],
    {"ключ": {"k": 1}, "empty": {}},
    datetime(2030, 1, 2, 3, 4, 5, 678901),
    datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
    datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    date(1999, 12, 31),
    time_of_day(23, 59, 59, 1),
    Decimal("12345678901234567890.10"),
    UUID("12345678-1234-5678-1234-567812345678"),
    b"\x00\xff bytes",
]


@crossing
def test_values_travel_there_and_back(market: Market, caller: str, runner: str) -> None:
    result = market.client[caller].echo.apply_async(VALUES, {"an": VALUES, "größe": "ü"}, queue=runner)
    args, kwargs = result.get(timeout=15)
    for got in (args, kwargs["an"]):
        assert got == VALUES
        assert [type(value) for value in got] == [type(value) for value in VALUES]
    assert kwargs["größe"] == "ü"
    for reader in market.reads(result.id):
        assert reader.get(timeout=5) == [args, kwargs]
        assert (reader.state, reader.successful(), reader.failed(), reader.ready()) == ("SUCCESS", True, False, True)


@pytest.mark.parametrize("runner", [OURS, STOCK])
def test_a_body_sees_the_same_request_whoever_called(market: Market, runner: str) -> None:
    """Headers, properties and embedded parts are one and the same for the task: every attribute it may look at."""
    options = {
        "queue": runner,
        "headers": {"tenant": "七", "x-number": 7},
        "priority": 3,
        "expires": datetime(2999, 1, 1, tzinfo=UTC),
        "shadow": "facts.of.{}",
        "link": {"task": "shop.mark", "args": ["linked"], "kwargs": {}, "options": {"queue": runner}},
    }
    seen = {}
    for caller in (OURS, STOCK):
        shop = market.client[caller]
        link = shop.mark.si("linked").set(queue=runner)
        result = shop.facts.apply_async((1, "zwei"), {"drei": [3]}, **{**options, "link": link})
        facts = result.get(timeout=15)
        assert facts.pop("root_id") == facts.pop("correlation_id") == result.id
        facts.pop("reply_to")  # each client's own address
        seen[caller] = facts
    assert seen[OURS] == seen[STOCK]


@crossing
@pytest.mark.parametrize("how", ["countdown", "eta"])
def test_it_runs_no_earlier_than_its_time(market: Market, caller: str, runner: str, how: str) -> None:
    due = time.time() + 1
    when: Any = {"countdown": 1} if how == "countdown" else {"eta": datetime.fromtimestamp(due, UTC)}
    ran = market.client[caller].now.apply_async(queue=runner, **when).get(timeout=15)
    assert due <= ran <= due + (1 if runner == OURS else 2)


@crossing
@pytest.mark.parametrize("expires", [-5, datetime(2001, 1, 1, tzinfo=UTC)], ids=["seconds", "instant"])
def test_what_has_expired_is_revoked(market: Market, caller: str, runner: str, expires: Any) -> None:
    result = market.client[caller].mark.apply_async(("never",), queue=runner, expires=expires)
    for reader, error in zip(market.reads(result.id), (ours.TaskRevokedError, stock.TaskRevokedError), strict=True):
        with pytest.raises(error, match="expired"):
            reader.get(timeout=15)
        assert reader.state == "REVOKED"
    assert not [note for note in market.notes() if "never" in note]


@crossing
def test_what_has_not_expired_runs(market: Market, caller: str, runner: str) -> None:
    assert market.client[caller].add.apply_async((2, 2), queue=runner, expires=60).get(timeout=15) == 4


# -- retries and failures ----------------------------------------------------------------------------------------------


@crossing
def test_a_retry_is_another_run_of_the_same_task(market: Market, caller: str, runner: str) -> None:
    result = market.client[caller].restock.apply_async(("梨", 2), queue=runner)
    assert result.get(timeout=20) == ["梨", 2, result.id]
    market.worker[runner].expect(rf"shop\.restock\[{result.id}\] retry: Retry in 0\.1s", times=2)


@crossing
def test_each_may_run_the_others_retry(market: Market, caller: str, runner: str) -> None:
    """A message that one library's worker has written for a retry is run by the other's: both consume the queue."""
    results = [market.client[caller].restock.apply_async((str(n), 3), queue="shared") for n in range(12)]
    for n, result in enumerate(results):
        assert result.get(timeout=30) == [str(n), 3, result.id]


@crossing
@pytest.mark.parametrize("task, args", [("restock", ("plum", 9)), ("stubborn", ("plum",))])
def test_retries_end_with_the_users_own_error(
    market: Market, caller: str, runner: str, task: str, args: tuple[Any, ...]
) -> None:
    from shop_errors import OutOfStock  # type: ignore[import-not-found]

    result = getattr(market.client[caller], task).apply_async(args, queue=runner)
    for reader in market.reads(result.id):
        with pytest.raises(OutOfStock) as caught:
            reader.get(timeout=20)
        assert caught.value.article == "plum"


@crossing
def test_a_failure_comes_back_with_its_type_and_traceback(market: Market, caller: str, runner: str) -> None:
    from shop_errors import OutOfStock

    result = market.client[caller].sell.apply_async(("苹果", 3), queue=runner)
    for reader in market.reads(result.id):
        with pytest.raises(OutOfStock) as caught:
            reader.get(timeout=15)
        assert type(caught.value) is OutOfStock
        assert caught.value.args == ("苹果", 3)
        assert reader.state == "FAILURE"
        assert reader.failed()
        assert isinstance(reader.result, OutOfStock)
        assert reader.traceback.startswith("Traceback (most recent call last):\n")
        assert f"{runner}/shop.py" in reader.traceback
        assert "raise OutOfStock(article, left)" in reader.traceback
        assert reader.get(timeout=5, propagate=False).args == ("苹果", 3)


@pytest.mark.parametrize("kind", ["value", "unicode", "empty", "os", "decode", "cause"])
def test_a_failure_is_the_same_whoever_ran_it_and_whoever_reads_it(market: Market, kind: str) -> None:
    told = set()
    for runner in (OURS, STOCK):
        result = market.client[STOCK].fail.apply_async((kind,), queue=runner)
        with pytest.raises(Exception):  # noqa: B017  # which one is what is being compared
            result.get(timeout=15)
        for reader in market.reads(result.id):
            error = reader.result
            told.add((type(error).__module__, type(error).__qualname__, repr(error.args), str(error)))
    assert len(told) == 1, told


@pytest.mark.parametrize("runner", [OURS, STOCK])
@pytest.mark.parametrize(
    "kind, name, text", [("kwargs", "Discontinued", "pear since 1999"), ("hidden", "Hidden", "nobody can import me")]
)
def test_an_error_that_cannot_be_built_again_still_says_what_it_was(
    market: Market, runner: str, kind: str, name: str, text: str
) -> None:
    """Celery wraps such an error where we store it as it is; whoever reads it learns its name and its text."""
    result = market.client[OURS].fail.apply_async((kind,), queue=runner)
    for reader in market.reads(result.id):
        with pytest.raises(Exception, match=text) as caught:
            reader.get(timeout=15)
        assert name in repr(caught.value)


@crossing
def test_a_result_that_cannot_be_written_is_a_failure(market: Market, caller: str, runner: str) -> None:
    result = market.client[caller].unwritable.apply_async(queue=runner)
    with pytest.raises(Exception, match="object"):
        result.get(timeout=15)
    for reader in market.reads(result.id):
        assert reader.state == "FAILURE"


# -- callbacks ---------------------------------------------------------------------------------------------------------


@crossing
def test_a_link_goes_on_to_the_other_library(market: Market, caller: str, runner: str) -> None:
    shop = market.client[caller]
    link = shop.add.s(10).set(queue=other(runner))
    result = shop.add.apply_async((2, 2), queue=runner, link=link)
    assert result.get(timeout=15) == 4
    for reader in market.reads(result.id):
        (child,) = reader.children
        assert child.get(timeout=15) == 14


@crossing
def test_links_of_links(market: Market, caller: str, runner: str) -> None:
    shop = market.client[caller]
    middle = shop.add.s(10).set(queue=other(runner))
    middle.link(shop.add.s(100).set(queue=runner))
    result = shop.add.apply_async((1, 1), queue=runner, link=middle)
    assert result.get(timeout=15) == 2
    for reader in market.reads(result.id):
        (child,) = reader.children
        assert child.get(timeout=15) == 12
        (grandchild,) = child.children
        assert grandchild.get(timeout=15) == 112


@crossing
def test_several_links_some_immutable(market: Market, caller: str, runner: str) -> None:
    shop = market.client[caller]
    there = other(runner)
    links = [shop.mark.s(f"first-{caller}").set(queue=there), shop.mark.si(f"second-{caller}").set(queue=runner)]
    result = shop.add.apply_async((40, 2), queue=runner, link=links)
    assert result.get(timeout=15) == 42
    assert "42" in market.noted(f"first-{caller}")
    assert "42" not in market.noted(f"second-{caller}")


@crossing
def test_an_errback_gets_the_id_of_what_failed(market: Market, caller: str, runner: str) -> None:
    shop = market.client[caller]
    library = {OURS: "celeriac", STOCK: "celery"}
    result = shop.sell.apply_async(("fig", 0), queue=runner, link_error=shop.complain.s().set(queue=other(runner)))
    market.noted(library[other(runner)], "errback", result.id)


@crossing
def test_an_errback_of_the_new_kind_is_called_where_it_failed(market: Market, caller: str, runner: str) -> None:
    shop = market.client[caller]
    library = {OURS: "celeriac", STOCK: "celery"}
    result = shop.sell.apply_async(("fig", 0), queue=runner, link_error=shop.complain_newly.s())
    market.noted(library[runner], "new-errback", result.id, "OutOfStock", "True")


# -- states and what is not kept ---------------------------------------------------------------------------------------


@crossing
def test_progress_is_seen_by_either(market: Market, caller: str, runner: str, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    result = market.client[caller].progress.apply_async((str(go_on),), queue=runner)
    for reader in market.reads(result.id):
        until(lambda reader=reader: reader.state == "PROGRESS", what="PROGRESS")
        assert reader.info == {"percent": 50}
        assert not reader.ready()
    with pytest.raises(ours.TimeoutError):
        market.client[OURS].app.AsyncResult(result.id).get(timeout=0.01)
    go_on.touch()
    assert result.get(timeout=15) == "done"


@crossing
def test_an_ignored_result_is_not_kept(market: Market, caller: str, runner: str) -> None:
    shop = market.client[caller]
    asked = shop.mark.apply_async(("ignored-by-call", caller), queue=runner, ignore_result=True)
    declared = shop.count.apply_async((f"ignored-by-task-{caller}",), queue=runner)
    raised = shop.ignored.apply_async(queue=runner)
    market.noted("ignored-by-call", caller)
    market.noted(f"ignored-by-task-{caller}")
    assert shop.add.apply_async((1, 1), queue=runner).get(timeout=15) == 2  # behind them in the same queue
    for task_id in (asked.id, declared.id, raised.id):
        assert market.server.ask("EXISTS", f"celery-task-meta-{task_id}", db=1) == 0


@crossing
def test_forgetting_makes_either_forget(market: Market, caller: str, runner: str) -> None:
    result = market.client[caller].add.apply_async((1, 2), queue=runner)
    assert result.get(timeout=15) == 3
    result.forget()
    assert [reader.state for reader in market.reads(result.id)] == ["PENDING", "PENDING"]
