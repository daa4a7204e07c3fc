"""`celeriac dead`: what is chosen, asked and said. What is done: tests/unit/client/test_dead.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Settlement, Verdict
from celeriac.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    app = Celery("dead", broker=f"memory://{request.node.name}", set_as_current=False)

    @app.task(name="shop.pay")
    def pay(*args: Any) -> None: ...

    app.broker.enlist("n/1", ["celery"])
    consumer = app.broker.consumer("n/1", ["celery"])
    for name in ("one", "two", "three"):
        pay.apply_async((name,), task_id=name)
        consumer.send((), 1)
        (delivery,) = consumer.receive().deliveries
        facts = {"reason": "lost" if name == "two" else "failed", "task": "shop.pay", "task_id": name}
        consumer.send([Settlement(delivery, Verdict.DEAD, traceback="Traceback: \x1b[31mred", **facts)], 0)
        consumer.receive()
    yield app
    app.close()


@pytest.fixture
def run(app: Celery, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: str) -> tuple[int, str, str]:
        code = main(["dead", *argv], app=app)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_list_and_show_as_text_and_as_json(run: Run) -> None:
    code, out, _ = run("list", "--task", "shop.*", "--reason", "failed", "--newer", "1h")
    assert code == 0
    assert [line.split()[5] for line in out.splitlines()[1:]] == ["shop.pay"] * 2
    assert run("list", "--older", "2d")[1] == "No dead letters.\n"
    listed = [json.loads(line) for line in run("list", "--json")[1].splitlines()]
    assert [each["task_id"] for each in listed] == ["three", "two", "one"]
    assert "history" not in listed[0]
    whole = json.loads(run("show", "two", "--json")[1])
    assert whole["reason"] == "lost"
    assert whole["message"]["headers"]["task"] == "shop.pay"
    shown = run("show", "two")[1]
    assert "Traceback: \\x1b[31mred" in shown
    assert run("show", "four")[0] == 1
    assert "is no age such as 30m" in run("list", "--older", "soon")[2]


def test_requeue_says_what_it_would_do_and_does_it(app: Celery, run: Run) -> None:
    assert "say which" in run("requeue")[2]
    assert "say which" in run("requeue", "--all", "one")[2]
    assert run("requeue", "one", "four")[0] == 1
    assert "is no rate" in run("requeue", "--all", "--rate", "fast")[2]
    assert run("requeue", "--all", "--dry-run")[1] == "Would be sent again: 3.\n"
    assert run("requeue", "--reason", "failed", "--countdown", "30", "--rate", "10/s")[1] == "Sent again: 2.\n"
    assert len(app.broker.delayed("celery")) == 2
    assert run("requeue", "two", "--queue", "celery")[1] == "Sent again: 1.\n"


def test_what_destroys_needs_a_yes(app: Celery, run: Run) -> None:
    assert run("purge", "--all", "--dry-run")[1] == "Would be deleted: 3.\n"
    code, _, said = run("purge", "--all")
    assert (code, app.dead.count()) == (2, 3)
    assert "use -f to go on without asking" in said
    assert run("purge", "one", "-y")[1] == "Deleted: 1.\n"
    assert run("edit", "two", "--args", "[9]")[0] == 2
    assert run("edit", "two", "--force")[0] == 2
    assert re.fullmatch(r"Changed: \d+\.\n", run("edit", "two", "--args", "[9]", "-f")[1])
    assert '"argsrepr": "(9,)"' in run("show", "two")[1]


def test_export_and_import(app: Celery, run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "letters.jsonl")
    assert run("export", "-o", file, "--reason", "failed")[2] == "Exported: 2.\n"
    assert run("import", file, "-Q", "other")[1] == "Imported: 2.\n"
    assert [each.task_id for each in app.dead.list(queues=["other"])] == ["three", "one"]
    lines = run("export", "two")[1].splitlines()
    assert json.loads(lines[0])["task_id"] == "two"
