"""`Settings`: layers, orders, spellings, and what is said about slips of the pen."""

from __future__ import annotations

import copy
import threading
import types
import warnings
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from celeriac.settings import Layer, Settings, UnknownSettingWarning, read


def configured(source: Any, explicit: dict[str, Any] | None = None, namespace: str = "") -> Settings:
    return Settings(lambda: read(source, namespace), explicit, namespace)


class TestReading:
    def test_defaults(self) -> None:
        conf = Settings()

        assert conf.task_default_queue == conf["task_default_queue"] == conf.get("task_default_queue") == "celery"
        assert conf.result_expires == timedelta(days=1)

    def test_old_and_upper_case_names_read_the_same_value(self) -> None:
        conf = Settings(explicit={"worker_concurrency": 3})

        assert conf.CELERYD_CONCURRENCY == conf["WORKER_CONCURRENCY"] == conf.get("CELERY_WORKER_CONCURRENCY") == 3

    def test_an_unknown_name_is_an_attribute_error_with_the_nearest(self) -> None:
        with pytest.raises(AttributeError, match=r"no setting 'task_serialize' \(did you mean 'task_serializer'"):
            _ = Settings().task_serialize

    def test_an_unknown_key_is_a_key_error(self) -> None:
        conf = Settings()

        with pytest.raises(KeyError):
            conf["nope"]
        assert conf.get("nope", 5) == 5
        assert "nope" not in conf

    def test_iterates_over_everything(self) -> None:
        conf = configured({"mine": 1}, {"yours": 2})

        assert {"mine", "yours", "task_serializer"} <= set(conf)
        assert len(conf) == len(list(conf)) == len(dict(conf))

    def test_a_default_changed_in_place_stays_changed_here_and_nowhere_else(self) -> None:
        conf, other = Settings(), Settings()

        conf.beat_schedule["x"] = {"task": "t"}
        conf.task_serializer = "pickle"  # forgets what was kept

        assert conf.beat_schedule == {"x": {"task": "t"}}
        assert other.beat_schedule == {}

    def test_names_of_the_default_queue_follow_it(self) -> None:
        conf = Settings(explicit={"task_default_queue": "q"})

        assert conf.task_default_exchange == conf["task_default_routing_key"] == "q"

    def test_django_time_zone(self) -> None:
        assert configured({"TIME_ZONE": "Asia/Shanghai"}, namespace="CELERY").timezone == "Asia/Shanghai"

    def test_the_config_is_read_once_and_late(self) -> None:
        reads: list[int] = []

        def source() -> Layer:
            reads.append(1)
            return read({"task_serializer": "yaml"})

        conf = Settings(source, {"task_default_queue": "q"})
        conf.worker_concurrency = 2
        conf.update(task_track_started=True)
        assert not reads
        assert not conf.configured

        assert conf.task_serializer == conf["task_serializer"] == "yaml"
        assert reads == [1]

    def test_a_thread_that_comes_during_the_load_does_not_take_defaults_for_answers(self) -> None:
        loading, go_on = threading.Event(), threading.Event()

        def source() -> Layer:
            if not loading.is_set():
                loading.set()
                assert go_on.wait(10)
            return read({"task_serializer": "yaml"})

        conf, seen = Settings(source), []
        threads = [threading.Thread(target=lambda: seen.append(conf.task_serializer)) for _ in range(2)]
        threads[0].start()
        assert loading.wait(10)
        threads[1].start()
        threads[1].join()
        go_on.set()
        threads[0].join()

        assert seen == ["yaml", "yaml"]

    def test_what_runs_during_the_load_may_read(self) -> None:
        conf: Settings

        def source() -> Layer:
            assert conf.task_serializer == "json"
            assert conf.task_default_queue == "q"
            return read({"task_serializer": "yaml"})

        conf = Settings(source, {"task_default_queue": "q"})
        assert conf.task_serializer == "yaml"

    @pytest.mark.parametrize("name", ["broker_url", "task_serializer"])
    def test_an_attribute_error_of_the_config_is_shown_as_it_is(self, name: str) -> None:
        def load() -> Layer:
            raise AttributeError("module 'proj' has no attribute 'config'")

        with pytest.raises(AttributeError, match="module 'proj' has no attribute 'config'"):
            getattr(Settings(load), name)
        with pytest.raises(AttributeError, match="module 'proj' has no attribute 'config'"):
            Settings(load)[name]

    def test_a_config_that_fails_is_tried_again(self) -> None:
        answers = iter([ImportError("not yet"), None])

        def source() -> Layer:
            answer = next(answers)
            if answer is not None:
                raise answer
            return read({"task_serializer": "yaml"})

        conf = Settings(source)
        with pytest.raises(ImportError, match="not yet"):
            _ = conf.task_serializer
        assert conf.task_serializer == "yaml"


class TestLayers:
    @pytest.mark.parametrize("order", list(permutations(["attribute", "update", "config"])))
    def test_any_order_gives_the_same(self, order: tuple[str, ...]) -> None:
        conf = Settings(lambda: None)
        steps = {
            "attribute": lambda: setattr(conf, "task_serializer", "yaml"),
            "update": lambda: conf.update({"task_default_queue": "q"}),
            "config": lambda: conf.reload(
                lambda: read({"task_serializer": "json", "task_default_queue": "x", "worker_concurrency": 7}), ""
            ),
        }

        for step in order:
            steps[step]()
            _ = conf.task_track_started  # reading in between changes nothing

        assert (conf.task_serializer, conf.task_default_queue, conf.worker_concurrency) == ("yaml", "q", 7)

    def test_environment_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        conf = Settings(explicit={"broker_url": "redis://a", "result_backend": "redis://b"})
        monkeypatch.setenv("CELERY_BROKER_URL", "redis://c")
        monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://d")

        assert conf.broker_url == conf["broker_url"] == conf.broker_read_url == conf.broker_write_url == "redis://c"
        assert conf.result_backend == "redis://d"
        assert conf.origin("broker_url") == "environment"

    def test_the_command_line_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        conf = Settings(explicit={"broker_url": "redis://a", "worker_concurrency": 1})
        monkeypatch.setenv("CELERY_BROKER_URL", "redis://c")
        conf.override({"broker_url": "redis://d", "CELERYD_CONCURRENCY": 8})

        assert (conf.broker_url, conf["broker_url"], conf.worker_concurrency) == ("redis://d", "redis://d", 8)
        assert conf.origin("broker_url") == "override"

    def test_read_and_write_urls(self) -> None:
        conf = Settings(explicit={"broker_url": "redis://a", "broker_write_url": "redis://w"})

        assert (conf.broker_read_url, conf.broker_write_url) == ("redis://a", "redis://w")

    def test_added_defaults_stand_over_the_config_as_in_celery(self) -> None:
        conf = configured({"task_serializer": "yaml", "worker_concurrency": 1}, {"worker_concurrency": 9})
        conf.add_defaults({"task_serializer": "pickle", "CELERYD_CONCURRENCY": 2})

        assert (conf.task_serializer, conf.worker_concurrency) == ("pickle", 9)

    def test_deleting_uncovers(self) -> None:
        conf = configured({"task_serializer": "yaml"}, {"task_serializer": "pickle"})

        del conf.task_serializer
        assert conf.task_serializer == "yaml"
        with pytest.raises(KeyError):
            del conf["task_serializer"]

    def test_setdefault(self) -> None:
        conf = configured({"task_serializer": "yaml"}, {"worker_concurrency": 2})

        assert conf.setdefault("worker_concurrency", 5) == 2
        assert conf.setdefault("task_track_started", True) is True
        assert conf.task_track_started is True

    def test_clear_forgets_what_was_explicit(self) -> None:
        conf = configured({"task_serializer": "yaml"}, {"task_serializer": "pickle", "own": 1})
        conf.clear()

        assert conf.task_serializer == "yaml"
        assert "own" not in conf

    def test_origins(self) -> None:
        conf = configured(types.SimpleNamespace(task_serializer="yaml"), {"worker_concurrency": 2})
        conf.add_defaults({"task_track_started": True})

        assert conf.origin("task_serializer") == "a SimpleNamespace"
        assert conf.origin("CELERYD_CONCURRENCY") == "explicit"
        assert conf.origin("task_track_started") == "added default"
        assert conf.origin("task_default_queue") == "default"
        assert conf.value_set_for("task_serializer")
        assert not conf.value_set_for("task_default_queue")
        assert conf.without_defaults().keys() == {"task_serializer", "worker_concurrency", "task_track_started"}

    def test_the_version_grows_with_each_change(self) -> None:
        conf = Settings()
        versions = [conf.version]
        for change in (
            lambda: setattr(conf, "task_serializer", "yaml"),
            lambda: conf.update(worker_concurrency=1),
            lambda: conf.reload(lambda: None, ""),
            conf.clear,
        ):
            change()
            versions.append(conf.version)

        assert versions == sorted(set(versions))

    def test_a_copy_is_its_own(self) -> None:
        conf = configured({"task_serializer": "yaml"}, {"worker_concurrency": 2})
        twin = conf.copy()
        twin.worker_concurrency = 3
        twin.beat_schedule["x"] = 1

        assert (twin.task_serializer, conf.worker_concurrency, conf.beat_schedule) == ("yaml", 2, {})
        assert copy.deepcopy(conf).task_serializer == copy.copy(conf).task_serializer == "yaml"


class TestSources:
    def test_module(self) -> None:
        module = types.ModuleType("conf_module")
        vars(module).update(broker_url="redis://h", os=types, helper=lambda: 1, Extra=int, own_thing=4)

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            conf = configured(module)
            assert conf.broker_url == "redis://h"
        assert conf.own_thing == 4
        assert conf.origin("broker_url") == "module conf_module"

    def test_class_with_a_base(self) -> None:
        class Base:
            task_serializer = "yaml"
            CELERYD_CONCURRENCY = 4

        class Production(Base):
            task_serializer = "pickle"

        conf = configured(Production)

        assert (conf.task_serializer, conf.worker_concurrency) == ("pickle", 4)

    def test_object_whose_dir_promises_too_much(self) -> None:
        class Lazy:
            task_serializer = "yaml"

            def __dir__(self) -> list[str]:
                return ["task_serializer", "result_backend"]

        assert configured(Lazy()).task_serializer == "yaml"

    def test_old_and_new_names_may_be_mixed(self) -> None:
        conf = configured({"BROKER_URL": "redis://h", "task_serializer": "yaml", "CELERY_TASK_RESULT_EXPIRES": 9})

        assert (conf.broker_url, conf.task_serializer, conf.result_expires) == ("redis://h", "yaml", 9)

    def test_the_new_name_wins_over_the_old_one_in_one_source(self) -> None:
        conf = configured({"task_serializer": "yaml", "CELERY_TASK_SERIALIZER": "pickle"})

        assert conf.task_serializer == "yaml"

    def test_namespace(self) -> None:
        source = {"CELERY_TASK_SERIALIZER": "yaml", "DEBUG": True, "DATABASE_URL": "x", "TASK_DEFAULT_QUEUE": "no"}
        conf = configured(source, namespace="CELERY")

        assert conf.task_serializer == conf.CELERY_TASK_SERIALIZER == "yaml"
        assert conf.task_default_queue == "celery"
        assert conf.database_url is None
        assert conf.DEBUG is True

    def test_a_lower_case_namespace(self) -> None:
        assert configured({"celery_task_serializer": "yaml"}, namespace="celery_").task_serializer == "yaml"


class TestSlips:
    def test_in_a_config(self) -> None:
        with pytest.warns(UnknownSettingWarning, match="no setting 'task_serialiser'; did you mean 'task_serializer'"):
            assert configured({"task_serialiser": "yaml"}).task_serialiser == "yaml"

    def test_under_a_namespace(self) -> None:
        conf = configured({"CELERY_TASK_SERIALISER": "yaml"}, namespace="CELERY")

        with pytest.warns(UnknownSettingWarning, match="did you mean 'CELERY_TASK_SERIALIZER'"):
            conf.load()

    def test_a_name_that_the_namespace_hides(self) -> None:
        conf = configured({"BROKER_URL": "redis://h"}, namespace="CELERY")

        with pytest.warns(UnknownSettingWarning, match="its name is 'CELERY_BROKER_URL'"):
            assert conf.broker_url is None

    def test_set_by_hand(self) -> None:
        with pytest.warns(UnknownSettingWarning, match="did you mean 'task_serializer'"):
            Settings().task_serialiser = "yaml"

    @pytest.mark.parametrize("key", ["my_own_setting", "DEBUG", "CELERY_SOMETHING_OF_A_PLUGIN", "x"])
    def test_other_names_are_nobodys_business(self, key: str) -> None:
        assert configured({key: 1})[key] == 1


class TestShowing:
    def test_secrets_are_hidden(self) -> None:
        conf = Settings(
            explicit={
                "broker_url": "redis://user:pw@host/0",
                "redis_password": "pw",
                "broker_transport_options": {"sentinel_kwargs": {"password": "pw"}},
                "worker_concurrency": 2,
            }
        )
        shown = conf.humanize()

        assert "pw" not in shown.replace("redis_password", "")
        assert "redis://user:**@host/0" in shown
        assert "worker_concurrency: 2" in shown
        assert "pw" not in repr(conf).replace("redis_password", "")
