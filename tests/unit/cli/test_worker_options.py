"""The worker's command line becomes one WorkerOptions, whichever side of the command its options stand on."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from celeriac.cli.main import main
from celeriac.worker.options import WorkerOptions


class _Node(ModuleType):
    """Stands in for the node: keeps what it was asked to run."""

    asked: list[WorkerOptions]

    def run(self, options: WorkerOptions) -> int:
        self.asked.append(options)
        return 7


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[WorkerOptions]:
    node = _Node("celeriac.worker.node")
    node.asked = []
    monkeypatch.setitem(sys.modules, "celeriac.worker.node", node)
    monkeypatch.delenv("CELERY_APP", raising=False)
    return node.asked


def test_defaults(asked: list[WorkerOptions]) -> None:
    assert main(["-A", "proj", "worker"]) == 7
    assert asked == [WorkerOptions(app="proj")]


def test_all_of_them(asked: list[WorkerOptions]) -> None:
    assert (
        main(
            ["-A", "proj", "-b", "redis://b", "--result-backend", "redis://r", "-C", "-q", "--workdir", "w"]
            + ["--config", "conf", "worker", "-l", "info", "-c", "3", "-Q", "q1, q2", "-X", "q3", "-P", "solo"]
            + ["-n", "name@%h", "-f", "w.log", "-I", "a.b,c", "--purge", "--prefetch-multiplier", "1"]
        )
        == 7
    )
    assert asked == [
        WorkerOptions(
            app="proj",
            workdir="w",
            loglevel="INFO",
            logfile="w.log",
            hostname="name@%h",
            concurrency=3,
            queues=("q1", "q2"),
            exclude=("q3",),
            pool="solo",
            broker="redis://b",
            backend="redis://r",
            config="conf",
            include=("a.b", "c"),
            purge=True,
            quiet=True,
            color=False,
            settings={"worker_prefetch_multiplier": 1},
        )
    ]


@pytest.mark.parametrize(
    "argv",
    [
        ["worker", "-A", "proj", "--loglevel=info"],
        ["worker", "--app=proj", "-linfo"],
        ["-A", "other", "worker", "-A", "proj", "-l", "INFO"],
    ],
    ids=" ".join,
)
def test_options_after_the_sub_command_win(asked: list[WorkerOptions], argv: list[str]) -> None:
    assert main(argv) == 7
    assert asked == [WorkerOptions(app="proj", loglevel="INFO")]


def test_what_is_so_in_any_case_is_accepted(asked: list[WorkerOptions]) -> None:
    idle = ["-O", "fair", "-E", "--without-gossip", "--without-mingle", "--without-heartbeat", "--heartbeat-interval=3"]
    assert main(["-A", "proj", "--skip-checks", "worker", *idle]) == 7
    assert asked == [WorkerOptions(app="proj")]


def test_zero_slots_and_processes_mean_what_they_mean_in_celery(asked: list[WorkerOptions]) -> None:
    assert main(["-A", "proj", "worker", "-c", "0", "-P", "processes"]) == 7
    assert asked == [WorkerOptions(app="proj", concurrency=None, pool="prefork")]


def test_the_app_may_come_from_the_environment(asked: list[WorkerOptions], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_APP", "proj")
    assert main(["worker"]) == 7
    assert asked == [WorkerOptions(app="proj")]


def test_what_a_worker_may_use_travels_as_settings(asked: list[WorkerOptions]) -> None:
    options = ["-c", "auto", "--autoscale", "3,10", "--max-memory", "80%", "--max-tasks-per-child", "5"]
    options += ["--max-memory-per-child", "200000", "--disable-prefetch", "-O", "fair", "--pool-start-method", "spawn"]
    assert main(["-A", "proj", "worker", *options]) == 7
    assert asked[0].concurrency is None
    assert asked[0].settings == {
        "worker_concurrency": "auto",
        "worker_autoscale": "3,10",
        "worker_max_memory": "80%",
        "worker_max_tasks_per_child": 5,
        "worker_max_memory_per_child": 200000,
        "worker_disable_prefetch": True,
        "worker_pool_start_method": "spawn",
    }


@pytest.mark.parametrize("option", [("--autoscale", "many"), ("--max-memory", "much"), ("-c", "some")])
def test_values_that_mean_nothing_are_refused(
    asked: list[WorkerOptions], capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    assert main(["-A", "proj", "worker", *option]) == 2
    assert option[1] in capsys.readouterr().err
