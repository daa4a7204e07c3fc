"""`Celery`: construction, configuration, being current, what is open, pickling, forks."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from celeriac import Celery, current_app, current_task
from celeriac.client import addresses, current
from celeriac.errors import ImproperlyConfigured


@pytest.fixture(autouse=True)
def _no_current_app() -> Iterator[None]:
    current.set_default_app(None)
    current.set_current_app(None)
    yield
    current.set_default_app(None)
    current.set_current_app(None)


def make(*args: Any, **kwargs: Any) -> Celery:
    return Celery(*args, set_as_current=False, **kwargs)


class TestConstruction:
    def test_arguments(self) -> None:
        app = make("proj", broker="redis://h/0", backend="redis://h/1", include=["a"], task_serializer="yaml")

        assert app.main == "proj"
        assert (app.conf.broker_url, app.conf.result_backend) == ("redis://h/0", "redis://h/1")
        assert (app.conf.include, app.conf.task_serializer) == (["a"], "yaml")
        assert repr(app) == f"<Celery proj at {id(app):#x}>"

    def test_constructor_wins_over_the_config(self) -> None:
        app = make(broker="redis://a")
        app.config_from_object({"broker_url": "redis://b", "task_serializer": "yaml"}, force=True)

        assert (app.conf.broker_url, app.conf.task_serializer) == ("redis://a", "yaml")

    def test_changes_and_config_source(self) -> None:
        app = make(changes={"task_serializer": "yaml"}, config_source={"MINE_WORKER_POOL": "solo"}, namespace="MINE")

        assert (app.conf.task_serializer, app.conf.worker_pool) == ("yaml", "solo")

    @pytest.mark.parametrize(("wrong", "meant"), [("brokr", "broker"), ("task_serialiser", "task_serializer")])
    def test_an_argument_that_does_not_exist_is_refused(self, wrong: str, meant: str) -> None:
        with pytest.raises(TypeError, match=rf"unexpected keyword argument '{wrong}' \(did you mean '{meant}'"):
            make(**{wrong: "x"})

    @pytest.mark.parametrize("part", ["loader", "amqp", "events", "log", "control"])
    def test_parts_that_do_not_exist_are_refused(self, part: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=part):
            make(**{part: "mine:Part"})

    def test_naming_the_stock_parts_is_harmless(self) -> None:
        make(loader="app", amqp="celery.app.amqp:AMQP")

    def test_fixups_are_called_with_the_app(self) -> None:
        seen: list[Celery] = []
        app = make(fixups=[seen.append])

        assert seen == [app]

    def test_it_knows_where_it_was_made(self) -> None:
        class Mine(Celery):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)

        for app in (make(), Mine(set_as_current=False)):
            assert app.module == __name__
            assert app.main_file == __file__

    def test_an_app_that_nobody_holds_is_collected(self) -> None:
        app = make()
        assert app.conf.task_serializer
        assert app.tasks
        seen = weakref.ref(app)
        del app
        gc.collect()

        assert seen() is None


class TestConfiguration:
    def test_module_attribute_and_module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / "conf_one.py").write_text(
            "task_serializer = 'yaml'\nclass Inner:\n    task_serializer = 'pickle'\n"
        )

        for name, expected in (("conf_one", "yaml"), ("conf_one:Inner", "pickle"), ("conf_one.Inner", "pickle")):
            app = make()
            app.config_from_object(name)
            assert app.conf.task_serializer == expected, name

    def test_explicit_settings_survive_a_later_config(self) -> None:
        app = make()
        app.conf.worker_concurrency = 3
        assert app.conf.task_serializer == "json"  # read: Celery forgets the line above from here on
        app.config_from_object({"task_serializer": "yaml", "worker_concurrency": 9})

        assert (app.conf.worker_concurrency, app.conf.task_serializer) == (3, "yaml")

    def test_conf_is_the_same_object_for_ever(self) -> None:
        app = make()
        conf = app.conf
        app.config_from_object({"task_serializer": "yaml"}, force=True)

        assert app.conf is conf
        assert conf.task_serializer == "yaml"

    def test_a_later_config_replaces_the_earlier_one(self) -> None:
        app = make()
        app.config_from_object({"task_serializer": "yaml", "worker_pool": "solo"})
        assert app.conf.worker_pool == "solo"
        app.config_from_object({"task_serializer": "pickle"})

        assert (app.conf.task_serializer, app.conf.worker_pool) == ("pickle", "prefork")

    def test_reading_is_late_and_errors_are_shown(self) -> None:
        app = make()
        app.config_from_object("no_such_module_here")

        with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
            _ = app.conf.task_serializer
        with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
            make().config_from_object("no_such_module_here", force=True)

    def test_silent(self) -> None:
        app = make()
        app.config_from_object("no_such_module_here", silent=True)

        assert app.conf.task_serializer == "json"

    def test_a_file_name_is_explained(self) -> None:
        app = make()
        app.config_from_object("celeryconfig_of_mine.py")

        with pytest.raises(ModuleNotFoundError, match="did you mean 'celeryconfig_of_mine'"):
            app.conf.load()

    def test_envvar(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / "conf_env.py").write_text("task_serializer = 'yaml'\n")
        monkeypatch.setenv("MY_CONFIG", "conf_env")
        app = make()
        app.config_from_envvar("MY_CONFIG")

        assert app.conf.task_serializer == "yaml"
        assert make().config_from_envvar("NOT_SET_AT_ALL", silent=True) is False
        with pytest.raises(ImproperlyConfigured, match="environment variable 'NOT_SET_AT_ALL' is not set"):
            make().config_from_envvar("NOT_SET_AT_ALL")

    def test_config_module_of_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / "conf_envvar.py").write_text("task_serializer = 'yaml'\n")
        monkeypatch.setenv("CELERY_CONFIG_MODULE", "conf_envvar")

        assert make().conf.task_serializer == "yaml"
        app = make()
        app.config_from_object({"task_serializer": "pickle"})
        assert app.conf.task_serializer == "pickle"

    def test_time_zone(self) -> None:
        assert make().timezone is UTC
        assert make(timezone="Asia/Shanghai").timezone == ZoneInfo("Asia/Shanghai")
        assert make(timezone="Asia/Shanghai").now().utcoffset() is not None
        with pytest.raises(ImproperlyConfigured, match="Asia/Shanghay"):
            _ = make(timezone="Asia/Shanghay").timezone


class TestAddresses:
    def test_the_embedded_queue_is_the_default(self) -> None:
        app = make()

        assert (app.broker_url, app.backend_url) == ("sqlite://", "sqlite://")
        address = addresses.broker_address(app.conf, app.main_file)
        assert address.options == {"main_file": __file__}

    def test_a_broker_alone_has_no_results(self) -> None:
        app = make(broker="redis://h/0")

        assert app.backend_url is None
        app.backend.put_many([])
        app.backend.forget(["x"])
        for read in (lambda: app.backend.get_many(["x"]), app.backend.watch):
            with pytest.raises(NotImplementedError, match=r"(?s)No result backend is configured\..*result_backend"):
                read()

    @pytest.mark.parametrize("value", ["disabled", "disabled://"])
    def test_results_may_be_switched_off(self, value: str) -> None:
        assert make(backend=value).backend_url is None

    @pytest.mark.parametrize(
        ("settings", "url"),
        [
            ({"broker_url": "redis://h"}, "redis://h"),
            ({"broker_url": "redis://h/2", "broker_user": "u", "broker_password": "p@"}, "redis://u:p%40@h/2"),
            ({"broker_url": "redis://h", "broker_port": 7000, "broker_vhost": "3"}, "redis://h:7000/3"),
            ({"broker_url": "redis://u:p@h/2", "broker_password": "other"}, "redis://u:p@h/2"),
            ({"broker_host": "h", "broker_transport": "redis"}, "redis://h"),
            ({"broker_url": ["redis://only"]}, "redis://only"),
            ({"broker_url": "redis://u:p;x@h"}, "redis://u:p;x@h"),
        ],
    )
    def test_broker_urls(self, settings: dict[str, Any], url: str) -> None:
        assert make(**settings).broker_url == url

    @pytest.mark.parametrize(
        ("settings", "url"),
        [
            ({"result_backend": "redis"}, "redis://"),
            ({"result_backend": "redis", "redis_host": "h", "redis_db": 3}, "redis://h/3"),
            ({"result_backend": "redis://h/1?a=b", "redis_password": "p"}, "redis://:p@h/1?a=b"),
        ],
    )
    def test_backend_urls(self, settings: dict[str, Any], url: str) -> None:
        assert make(**settings).backend_url == url

    def test_options(self) -> None:
        app = make(
            broker="rediss://h",
            backend="redis://h/1",
            broker_transport_options={"a": 1},
            broker_use_ssl={"ssl_cert_reqs": "none"},
            redis_backend_use_ssl={"ssl_cert_reqs": "required"},
            redis_socket_timeout=3,
        )

        broker = addresses.broker_address(app.conf, None).options
        backend = addresses.backend_address(app.conf, None)
        assert broker == {"a": 1, "ssl": {"ssl_cert_reqs": "none"}, "main_file": None}
        assert backend is not None
        assert backend.options == {"ssl": {"ssl_cert_reqs": "required"}, "socket_timeout": 3, "main_file": None}

    def test_several_brokers_are_not_taken_in_silence(self) -> None:
        with pytest.warns(UserWarning, match=r"names 2 servers: this version uses the first, redis://u:\*\*@a"):
            assert make(broker="redis://u:p@a;redis://b").broker_url == "redis://u:p@a"

    @pytest.mark.parametrize("value", [5, [], [5]])
    def test_a_broker_that_is_no_url(self, value: Any) -> None:
        app = make()
        app.conf.broker_url = value or [None]

        with pytest.raises(ImproperlyConfigured, match="broker_url must be a URL"):
            _ = app.broker_url

    def test_an_unknown_scheme_is_named(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="redus"):
            _ = make(broker="redus://h").broker


class TestOpened:
    def test_each_is_made_once(self) -> None:
        app = make(broker="memory://", backend="memory://")

        assert app.broker is app.broker
        assert app.backend is app.backend
        assert app.publisher is app.publisher
        assert app.waits is app.waits
        assert app.open_broker() is not app.broker
        assert app.open_backend() is not app.backend
        broker = app.broker
        app.close()
        assert app.broker is not broker

    def test_threads_get_the_same(self) -> None:
        app = make(broker="memory://")
        start, seen = threading.Barrier(8), []

        def look() -> None:
            start.wait()
            seen.append(app.broker)

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len({id(broker) for broker in seen}) == 1

    def test_a_fork_opens_its_own(self) -> None:
        script = """
            import os
            from celeriac import Celery
            app = Celery(broker="memory://", backend="memory://")
            mine = app.broker, app.backend, app.publisher, app.waits
            pid = os.fork()
            theirs = app.broker, app.backend, app.publisher, app.waits
            if pid == 0:
                os._exit(any(a is b for a, b in zip(mine, theirs)))
            _, status = os.waitpid(pid, 0)
            assert all(a is b for a, b in zip(mine, theirs))
            raise SystemExit(os.waitstatus_to_exitcode(status))
        """
        _run(script)


class TestCurrent:
    def test_the_last_one_made(self) -> None:
        Celery("one")
        app = Celery("two")
        make("three")

        assert current_app.main == "two"
        assert current_app == app
        assert isinstance(current_app, Celery)
        assert current_app._get_current_object() is app  # type: ignore[attr-defined]

    def test_other_threads_have_it_too(self) -> None:
        """Celery gives them an app that nobody configured, and their calls go to a broker nobody runs."""
        app = Celery("mine")

        assert _in_thread(current.get_current_app) is app

    def test_a_thread_may_have_its_own(self) -> None:
        one, two = Celery("one"), make("two")

        assert _in_thread(lambda: (two.set_current(), current.get_current_app())[1]) is two
        assert current.get_current_app() is one

    def test_the_default_one_may_be_named(self) -> None:
        one, two = make("one"), make("two")
        one.set_default()
        two.set_current()

        assert current.get_current_app() is two
        assert _in_thread(current.get_current_app) is one

    def test_without_any_there_is_a_default(self) -> None:
        app = current.get_current_app()

        assert app.main == "default"
        assert current.get_current_app() is app

    def test_close_steps_back(self) -> None:
        with Celery("mine") as app:
            assert current.get_current_app() is app

        assert current.get_current_app() is not app

    def test_no_task_runs(self) -> None:
        assert not current_task
        assert current.get_current_task() is None
        assert make().current_task is make().current_worker_task is None


class TestCommands:
    def test_start(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["script.py", "--version"])

        assert make().start() == make().start(["--version"]) == make().start(sys.argv) == 0
        assert capsys.readouterr().out.count("0.1.0") == 3

    def test_worker_main_needs_the_command(self) -> None:
        with pytest.raises(ValueError, match="The worker sub-command must be specified in argv"):
            make().worker_main(["--loglevel=info"])


class TestPickling:
    def test_by_name_where_it_stands_in_a_module(self) -> None:
        assert pickle.loads(pickle.dumps(standing)) is standing

    def test_else_by_what_it_was_made_of(self) -> None:
        app = make("proj", broker="redis://h", config_source={"task_serializer": "yaml"})
        app.conf.worker_concurrency = 3
        twin = pickle.loads(pickle.dumps(app))

        assert (twin.main, twin.conf.broker_url, twin.conf.worker_concurrency) == ("proj", "redis://h", 3)
        assert twin.conf.task_serializer == "yaml"

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_across_processes(self, tmp_path: Path, method: str) -> None:
        """An app and a task given to a process of any kind arrive as that process's own."""
        (tmp_path / "proj_tasks.py").write_text(
            textwrap.dedent("""
                from celeriac import Celery
                app = Celery("proj_tasks", broker="memory://")
                @app.task
                def add(x, y):
                    return x + y
            """)
        )
        (tmp_path / "run.py").write_text(
            textwrap.dedent(f"""
                import multiprocessing
                from celeriac import Celery
                import proj_tasks
                here = Celery("here", broker="memory://")
                @here.task
                def double(x):
                    return 2 * x
                def work(app, add, here, double):
                    assert app is proj_tasks.app and add.name == "proj_tasks.add" and add(2, 2) == 4
                    assert here.main == "here" and double.name == "here.double" and double(4) == 8
                if __name__ == "__main__":
                    context = multiprocessing.get_context({method!r})
                    process = context.Process(target=work, args=(proj_tasks.app, proj_tasks.add, here, double))
                    process.start()
                    process.join()
                    raise SystemExit(process.exitcode)
            """)
        )
        subprocess.run([sys.executable, "run.py"], cwd=tmp_path, check=True, timeout=60, env=_environment())


standing = make("standing")


def _in_thread(call: Any) -> Any:
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(call()))
    thread.start()
    thread.join()
    return seen[0]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _run(script: str) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60, env=_environment())
