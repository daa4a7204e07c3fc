"""Groups that are kept by their ids, on every engine; on Redis in the form in which Celery keeps them."""

from __future__ import annotations

import json
from uuid import uuid4

import celery
import pytest

from celeriac import Celery, GroupResult
from celeriac.backends.base import Groups
from tests.contract.engines import Engine


def test_groups_are_kept_and_deleted(engine: Engine) -> None:
    writer, reader = engine.backend(), engine.backend()
    assert isinstance(writer, Groups)
    assert isinstance(reader, Groups)
    assert reader.get_group("g") is None
    writer.put_group("g", b"one", None)
    writer.put_group("g", b"two", 100.0)
    assert reader.get_group("g") == b"two"
    assert reader.get_many(["g"]) == {}, "a task of that id is another thing"
    reader.forget_group("g")
    assert writer.get_group("g") is None


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
def test_saved_and_restored(engine: Engine) -> None:
    with Celery("groups", broker=engine.url, backend=engine.url, set_as_current=False) as app:
        inner = app.GroupResult("inner", [app.AsyncResult("c")])
        parent = app.AsyncResult("parent", parent=app.GroupResult("first", [app.AsyncResult("z")]))
        group = app.GroupResult(str(uuid4()), [app.AsyncResult("a"), app.AsyncResult("b"), inner], parent=parent)
        group.save()
        again = app.GroupResult.restore(str(group.id))
        assert again == group
        assert again is not None
        assert again.parent.parent.id == "first"
        assert isinstance(again[2], GroupResult)
        if engine.name == "redis":
            _celery_reads_it_and_we_read_celerys(engine.url, app, group)
        again.delete()
        assert GroupResult.restore(str(group.id), app=app) is None


def _celery_reads_it_and_we_read_celerys(url: str, app: Celery, group: GroupResult) -> None:
    stock = celery.Celery("stock", broker=url, backend=url, set_as_current=False)
    key = stock.backend.get_key_for_group
    theirs = stock.backend.decode(stock.backend.get(key(group.id)))
    assert theirs == {"result": json.loads(json.dumps(group.as_tuple()))}
    stock.backend.set(key("theirs"), stock.backend.encode({"result": [["theirs", None], [[["x", None], None]]]}))
    mine = app.GroupResult.restore("theirs")
    assert mine is not None
    assert [one.id for one in mine] == ["x"]
    stock.close()
