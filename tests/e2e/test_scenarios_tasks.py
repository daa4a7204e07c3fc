"""Tasks as their authors write them, and as they had better not: one worker with two slots, on SQLite and on Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from celeriac.exceptions import TaskRevokedError, WorkerLostError
from tests.e2e.stage import Stage
from tests.processes import Node, until
from tests.servers import RedisServer

TASKS = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from celeriac import Celery, Task
    from celeriac.exceptions import Ignore, Reject
    from celeriac.utils.log import get_task_logger

    app = Celery("tasks", broker="@broker@", backend="@backend@")
    logger = get_task_logger(__name__)
    HERE = Path(__file__).parent

    def note(*words):
        ledger = os.open(HERE / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(ledger, (" ".join(map(str, words)) + "\\n").encode())
        os.close(ledger)

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def now():
        return time.time()

    class GatewayDown(Exception):
        pass

    @app.task(bind=True, max_retries=10, default_retry_delay=6)
    def charge(self, order_id, countdown=0.05):
        try:
            if self.request.retries < 2:
                raise GatewayDown(order_id)
        except GatewayDown as exc:
            raise self.retry(exc=exc, countdown=countdown)
        return [order_id, self.request.retries, self.request.id]

    @app.task(bind=True, max_retries=2)
    def give_up(self):
        try:
            raise GatewayDown("for good")
        except GatewayDown as exc:
            raise self.retry(exc=exc, countdown=0)

    @app.task(autoretry_for=(GatewayDown,), default_retry_delay=0.05, max_retries=5)
    def automatic(path):
        note("automatic", path)
        if len([line for line in (HERE / "notes").read_text().splitlines() if line == f"automatic {path}"]) < 4:
            raise GatewayDown(path)
        return "through"

    class Hooked(Task):
        def before_start(self, task_id, args, kwargs):
            note("before_start", task_id, *args)
        def on_success(self, retval, task_id, args, kwargs):
            note("on_success", task_id, retval, *args)
        def on_failure(self, exc, task_id, args, kwargs, einfo):
            note("on_failure", task_id, type(exc).__name__, *args, "Traceback" in str(einfo))
        def on_retry(self, exc, task_id, args, kwargs, einfo):
            note("on_retry", task_id, type(exc).__name__, *args)
        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            note("after_return", task_id, status, *args)

    @app.task(base=Hooked, bind=True, max_retries=1)
    def hooked(self, how):
        if how == "succeed":
            return 42
        if how == "fail":
            raise ValueError(how)
        raise self.retry(exc=KeyError(how), countdown=0)

    class Clumsy(Hooked):
        def on_success(self, *args):
            raise RuntimeError("a hook that raises")

    @app.task(base=Clumsy)
    def clumsy():
        return "still a success"

    @app.task
    def errback(task_id):
        note("errback", task_id)

    @app.task
    def new_errback(request, exc, traceback):
        note("new_errback", request.id, type(exc).__name__)

    @app.task
    def fail(text):
        raise ValueError(text)

    @app.task
    def leave(code):
        sys.exit(code)

    @app.task
    def unwritable():
        return {"deep": [threading.Lock()]}

    class Unpicklable(Exception):
        def __init__(self, lock, *, named):
            super().__init__(lock)
            self.named = named

        def __str__(self):
            raise RuntimeError("no text either")

    @app.task
    def raise_unpicklable():
        raise Unpicklable(threading.Lock(), named=1)

    @app.task
    def fork(how):
        child = os.fork()
        if child == 0:
            if how == "os._exit":
                os._exit(3)
            if how == "sys.exit":
                sys.exit(3)
            if how == "raise":
                raise ValueError("in the child")
            return "the child's"
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "the parent's"]

    @app.task
    def vanish():
        note("vanish")
        os._exit(0)

    @app.task
    def kill_myself():
        note("kill_myself")
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task
    def say(text):
        logger.info("说：%s", text)
        logger.debug("too quiet")

    @app.task
    def ignore():
        note("ignore")
        raise Ignore()

    @app.task
    def reject():
        raise Reject("not mine", requeue=False)

    @app.task
    def write(word):
        note("word", word)

    @app.task
    def hold(path):
        note("hold")
        while not os.path.exists(path):
            time.sleep(0.01)

    @app.task(acks_late=False)
    def once():
        note("once")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def open_stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("tasks")
    if request.param == "sqlite":
        broker = backend = f"sqlite:///{folder / 'queue.db'}"
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        broker, backend = server.url(2), server.url(3)
    stage = Stage(folder)
    stage.write("tasks.py", TASKS, broker=broker, backend=backend)
    try:
        stage.node("-c", "2")
        stage.tasks = stage.client()  # type: ignore[attr-defined]
        # The one that takes its six seconds begins now and is asked for last.
        stage.charge = stage.tasks.charge.delay(7, countdown=3)  # type: ignore[attr-defined]
        stage.began = time.monotonic()  # type: ignore[attr-defined]
        yield stage
    finally:
        stage.close()


@pytest.fixture
def stage(open_stage: Stage) -> Iterator[Stage]:
    mark = len(open_stage.nodes[0].output())
    yield open_stage
    print(open_stage.nodes[0].output()[mark:])


@pytest.fixture
def tasks(stage: Stage) -> ModuleType:
    return stage.tasks  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def node(stage: Stage) -> Node:
    return stage.nodes[0]


# -- calling and retrying ----------------------------------------------------------------------------------------------


def test_call_and_read(tasks: ModuleType) -> None:
    assert tasks.add.delay(2, 2).get(timeout=10) == 4
    assert tasks.add.apply_async(("你", "好")).get(timeout=10) == "你好"


def test_many_calls_of_one_client(tasks: ModuleType) -> None:
    results = [tasks.add.delay(n, 1) for n in range(1000)]
    assert [result.get(timeout=30) for result in results] == list(range(1, 1001))


def test_the_third_try_succeeds(tasks: ModuleType, node: Node) -> None:
    result = tasks.charge.delay("order-1")
    assert result.get(timeout=10) == ["order-1", 2, result.id]
    node.expect(rf"tasks\.charge\[{result.id}\] retry: Retry in 0\.05s: GatewayDown\('order-1'\)$", times=2)
    node.expect(rf"tasks\.charge\[{result.id}\] succeeded in")


def test_the_last_try_fails_with_the_users_error(tasks: ModuleType) -> None:
    result = tasks.give_up.delay()
    with pytest.raises(Exception, match="for good") as caught:
        result.get(timeout=10)
    assert type(caught.value).__name__ == "GatewayDown"
    assert result.state == "FAILURE"
    assert 'raise GatewayDown("for good")' in result.traceback


def test_automatic_retries(tasks: ModuleType) -> None:
    assert tasks.automatic.delay("one").get(timeout=10) == "through"


def test_a_producer_elsewhere_sends_by_name_for_later(stage: Stage) -> None:
    sent = stage.python(
        """
        import time
        from tasks import app
        began = time.time()
        result = app.send_task("tasks.now", [], countdown=1)
        print(began, result.id)
        """
    ).stdout.split()
    ran = stage.tasks.app.AsyncResult(sent[1]).get(timeout=10)  # type: ignore[attr-defined]
    due = float(sent[0]) + 1
    assert due <= ran <= due + 1


def test_what_expired_does_not_run(stage: Stage, tasks: ModuleType, node: Node) -> None:
    result = tasks.write.apply_async(("expired",), expires=-1)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=10)
    assert result.state == "REVOKED"
    node.expect(rf"Discarding revoked task: tasks\.write\[{result.id}\]")
    assert "word expired" not in stage.notes()


def test_priorities(stage: Stage, tasks: ModuleType) -> None:
    """What is more urgent overtakes what waits. On Redis a lower number is more urgent, as with Celery."""
    gates = [stage.folder / "gate-1", stage.folder / "gate-2"]
    for gate in gates:
        tasks.hold.delay(str(gate))
    stage.noted("hold", times=2)
    for priority in (9, 6, 3, 0):
        tasks.write.apply_async((f"p{priority}",), priority=priority)
    gates[0].touch()
    stage.noted("word p9")
    stage.noted("word p0")
    gates[1].touch()
    assert [line for line in stage.notes() if line.startswith("word p")] == [f"word p{n}" for n in (0, 3, 6, 9)]


# -- hooks, errbacks, log ----------------------------------------------------------------------------------------------


def test_hooks_are_called(stage: Stage, tasks: ModuleType) -> None:
    good, bad, again = (tasks.hooked.delay(how) for how in ("succeed", "fail", "retry"))
    assert good.get(timeout=10) == 42
    for result in (bad, again):
        with pytest.raises((ValueError, KeyError)):
            result.get(timeout=10)

    def hooks(result: object) -> list[str]:
        return [line.replace(result.id, "ID") for line in stage.notes() if result.id in line]  # type: ignore[attr-defined]

    stage.noted(f"after_return {again.id} FAILURE retry")
    stage.noted(f"after_return {bad.id} FAILURE fail")
    assert hooks(good) == ["before_start ID succeed", "on_success ID 42 succeed", "after_return ID SUCCESS succeed"]
    assert hooks(bad) == [
        "before_start ID fail",
        "on_failure ID ValueError fail True",
        "after_return ID FAILURE fail",
    ]
    assert hooks(again) == [
        "before_start ID retry",
        "on_retry ID KeyError retry",
        "before_start ID retry",
        "on_failure ID KeyError retry True",
        "after_return ID FAILURE retry",
    ]


def test_a_hook_that_raises_changes_nothing(stage: Stage, tasks: ModuleType, node: Node) -> None:
    result = tasks.clumsy.delay()
    assert result.get(timeout=10) == "still a success"
    stage.noted(f"after_return {result.id} SUCCESS")
    node.expect("a hook that raises")


def test_errbacks(stage: Stage, tasks: ModuleType) -> None:
    old = tasks.fail.apply_async(("x",), link_error=tasks.errback.s())
    new = tasks.fail.apply_async(("x",), link_error=[tasks.new_errback.s()])
    stage.noted(f"errback {old.id}")
    stage.noted(f"new_errback {new.id} ValueError")


def test_callbacks(tasks: ModuleType) -> None:
    result = tasks.add.apply_async((1, 2), link=tasks.add.s(10))
    assert result.get(timeout=10) == 3
    (child,) = result.children
    assert child.get(timeout=10) == 13


def test_the_tasks_own_log_lines(tasks: ModuleType, node: Node) -> None:
    result = tasks.say.delay("好")
    node.expect(rf"^\[\d{{4}}-\d\d-\d\d [\d:,]+: INFO/ForkPoolWorker-\d\] tasks\.say\[{result.id}\]: 说：好$")
    node.expect(rf"Task tasks\.say\[{result.id}\] succeeded in [\d.e-]+s: None$")
    assert "too quiet" not in node.output()


# -- what tasks had better not do --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 3, "a text"])
def test_system_exit_is_a_failure_of_the_task_alone(tasks: ModuleType, node: Node, code: object) -> None:
    members = node.members()
    result = tasks.leave.delay(code)
    error = result.get(timeout=10, propagate=False)
    assert result.state == "FAILURE"
    # Celery's words. As a SystemExit it would end the process that asks.
    assert str(error) == f"Worker exited prematurely: exitcode {code if isinstance(code, int) else 1}."
    assert tasks.add.delay(1, 1).get(timeout=10) == 2
    assert node.members() == members


def test_a_result_that_cannot_be_written(tasks: ModuleType) -> None:
    result = tasks.unwritable.delay()
    with pytest.raises(Exception, match=r"deep.*lock"):
        result.get(timeout=10)
    assert result.state == "FAILURE"


def test_an_exception_that_cannot_be_written(tasks: ModuleType) -> None:
    result = tasks.raise_unpicklable.delay()
    error = result.get(timeout=10, propagate=False)
    assert result.state == "FAILURE"
    assert "Unpicklable" in repr(error) + type(error).__name__
    assert "raise Unpicklable(threading.Lock(), named=1)" in result.traceback


@pytest.mark.parametrize("how", ["os._exit", "sys.exit", "raise", "return"])
def test_a_child_of_a_task_ends_as_a_child(tasks: ModuleType, node: Node, how: str) -> None:
    """Whatever a forked child does, it settles nothing, and there is one result: the parent's."""
    members = node.members()
    result = tasks.fork.delay(how)
    code, whose = result.get(timeout=10)
    assert whose == "the parent's"
    assert code == 3 or how in ("raise", "return")
    assert tasks.add.delay(1, 1).get(timeout=10) == 2
    assert node.members() == members


@pytest.mark.parametrize("task", ["vanish", "kill_myself"])
def test_three_deaths_and_it_is_set_aside(stage: Stage, tasks: ModuleType, task: str) -> None:
    result = getattr(tasks, task).delay()
    neighbours = [tasks.add.delay(n, n) for n in range(50)]
    with pytest.raises(WorkerLostError, match="3 times"):
        result.get(timeout=20)
    assert [neighbour.get(timeout=10) for neighbour in neighbours] == [2 * n for n in range(50)]
    assert stage.notes().count(task) == 3
    listed = stage.cli("-A", "tasks", "dead", "list")
    (row,) = [line for line in listed.splitlines() if result.id in line]
    assert " lost " in row
    assert f"tasks.{task}" in row
    assert "strikes: 3" in stage.cli("-A", "tasks", "dead", "show", result.id)


def test_early_acknowledgement_set_explicitly_runs_it_once(stage: Stage, tasks: ModuleType, node: Node) -> None:
    deaths = node.output().count("exited with")
    result = tasks.once.delay()
    stage.noted("once")
    node.expect("exited with", times=deaths + 1)
    assert tasks.add.delay(1, 1).get(timeout=10) == 2
    assert stage.notes().count("once") == 1
    assert tasks.app.broker.count(["celery"])["celery"].in_flight == 0
    assert result.id not in stage.cli("-A", "tasks", "dead", "list")


def test_ignored_and_rejected(stage: Stage, tasks: ModuleType) -> None:
    ignored, rejected = tasks.ignore.delay(), tasks.reject.delay()
    stage.noted("ignore")
    until(lambda: rejected.id in stage.cli("-A", "tasks", "dead", "list"), what="a dead letter")
    assert "not mine" in stage.cli("-A", "tasks", "dead", "show", rejected.id)
    assert (ignored.state, rejected.state) == ("PENDING", "FAILURE")


# -- messages that cannot run ------------------------------------------------------------------------------------------


def test_an_unknown_task_is_kept_and_can_be_sent_again(stage: Stage, tasks: ModuleType, node: Node) -> None:
    result = tasks.app.send_task("tasks.not_yet", [2, 3])
    with pytest.raises(Exception, match=r"tasks\.not_yet") as caught:
        result.get(timeout=10)
    assert type(caught.value).__name__ == "NotRegistered"
    node.expect(r"kept as a dead letter \(unregistered\).*tasks\.not_yet")
    shown = stage.cli("-A", "tasks", "dead", "show", result.id)
    assert "unregistered" in shown
    assert json.loads(shown[shown.index("[[") :])[0] == [2, 3]
    assert stage.cli("-A", "tasks", "dead", "requeue", result.id) == "Sent again: 1.\n"
    node.expect(r"kept as a dead letter \(unregistered\).*tasks\.not_yet", times=2)
    until(lambda: result.id in stage.cli("-A", "tasks", "dead", "list"), what="a dead letter again")


def test_pickle_is_refused_with_the_name_of_the_setting(stage: Stage, tasks: ModuleType) -> None:
    result = tasks.add.apply_async((2, 3), serializer="pickle")
    with pytest.raises(Exception, match="accept_content"):
        result.get(timeout=10)
    listed = stage.cli("-A", "tasks", "dead", "list")
    (row,) = [line for line in listed.splitlines() if result.id in line]
    assert " disallowed " in row


def test_the_sixth_second(stage: Stage) -> None:
    """To the letter: max_retries=10, default_retry_delay=6, retry(exc=exc, countdown=3), and the third try succeeds."""
    result = stage.charge  # type: ignore[attr-defined]
    assert result.get(timeout=15) == [7, 2, result.id]
    assert time.monotonic() - stage.began >= 6  # type: ignore[attr-defined]
    stage.nodes[0].expect(rf"tasks\.charge\[{result.id}\] retry: Retry in 3s: GatewayDown\(7\)$", times=2)
