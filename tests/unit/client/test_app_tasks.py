"""How an app comes by its tasks: decorators, names, promises, sharing, discovery."""

from __future__ import annotations

import inspect
import runpy
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, Task, current_app, shared_task
from celeriac.client import current
from celeriac.client.definition import DuplicateTaskNameWarning, UnknownOptionWarning
from celeriac.client.lazy import LazyTask
from celeriac.client.registry import TaskRegistry
from celeriac.errors import ImproperlyConfigured, InvalidTaskError, NotRegistered


@pytest.fixture(autouse=True)
def _no_shared_state() -> Iterator[None]:
    """Sharing is for the whole process; a test's tasks must not reach the next."""
    current.set_default_app(None)
    current.set_current_app(None)
    before = dict(current._finalizers)
    current._apps.clear()
    yield
    current._finalizers.clear()
    current._finalizers.update(before)
    current.set_default_app(None)
    current.set_current_app(None)


@pytest.fixture
def app() -> Celery:
    return Celery("proj", broker="memory://", backend="memory://")


class TestDecorator:
    def test_bare_and_with_options(self, app: Celery) -> None:
        @app.task
        def add(x: int, y: int) -> int:
            """Adds."""
            return x + y

        @app.task(bind=True, name="named", max_retries=7, own=4)
        def bound(self: Task[..., Any], x: int) -> tuple[str, int]:
            return self.name, x

        assert add(2, 2) == 4
        assert add.__doc__ == "Adds."
        assert add.__name__ == "add"
        assert bound(3) == ("named", 3)
        assert (bound.max_retries, bound.own) == (7, 4)  # type: ignore[attr-defined]
        assert str(inspect.signature(add)) == "(x: 'int', y: 'int') -> 'int'"

    @pytest.mark.parametrize("args", [(5,), ("name",), (None,)])
    def test_what_is_no_function_is_refused(self, app: Celery, args: Any) -> None:
        with pytest.raises(TypeError, match=r"argument 1 to @task\(\) must be a callable"):
            app.task(*args)

    def test_two_arguments_are_refused(self, app: Celery) -> None:
        with pytest.raises(TypeError, match=r"@task\(\) takes exactly 1 argument \(2 given\)"):
            app.task(print, print)  # type: ignore[call-overload]

    def test_base_class(self, app: Celery) -> None:
        class Base(Task[..., Any]):
            abstract = True
            mine = 5

        @app.task(base=Base)
        def a() -> None: ...

        assert isinstance(a, Base)
        assert a.mine == 5

    def test_the_apps_own_base_class_may_be_set_later(self, app: Celery) -> None:
        """Flask's pattern: `celery.Task = ContextTask`, after tasks were decorated."""

        @app.task
        def a() -> int:
            return 1

        class Context(app.Task):  # type: ignore[name-defined, misc]
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                return "in context", super().__call__(*args, **kwargs)

        app.Task = Context  # type: ignore[method-assign, assignment]
        assert a() == ("in context", 1)

    def test_task_cls(self) -> None:
        class Mine(Task[..., Any]):
            abstract = True

        app = Celery(task_cls=Mine)
        assert issubclass(app.Task, Mine)
        assert isinstance(app.task(lambda: None, name="x") if False else app.task(name="x")(lambda: None), Mine)

    def test_filter(self, app: Celery) -> None:
        assert app.task(filter=lambda task: ("filtered", task.name), name="x")(lambda: None) == ("filtered", "x")

    def test_a_misspelt_option_is_said_to_be_one(self, app: Celery) -> None:
        with pytest.warns(UnknownOptionWarning, match="did you mean 'max_retries'") as caught:
            assert app.task(max_retrys=1)(_function()).max_retrys == 1
        assert caught[0].filename == __file__

    def test_pydantic_is_refused(self, app: Celery) -> None:
        with pytest.raises(ImproperlyConfigured, match="pydantic"):
            app.task(pydantic=True)(_function())()

    def test_not_lazy(self, app: Celery) -> None:
        assert type(app.task(lazy=False)(_function())) is not LazyTask


class TestPromises:
    def test_nothing_is_read_before_first_use(self, app: Celery) -> None:
        app.config_from_object("no_such_module_here")

        @app.task
        def a() -> None: ...

        assert not app.configured
        assert type(a) is LazyTask
        app.config_from_object({"task_serializer": "yaml"})
        assert a.serializer == "yaml"

    def test_is_a_task_from_the_first_look(self, app: Celery) -> None:
        a = app.task(_function())

        assert isinstance(a, Task)
        assert callable(a)

    @pytest.mark.parametrize(
        "look",
        [
            lambda task: task.name,
            lambda task: task(),
            repr,
            lambda task: isinstance(task, Task) and task.name,
            lambda task: setattr(task, "own", 1),
            dir,
        ],
        ids=["attribute", "call", "repr", "isinstance", "set", "dir"],
    )
    def test_the_object_itself_becomes_the_task(self, app: Celery, look: Callable[[Any], Any]) -> None:
        a = app.task(_function())
        look(a)

        assert type(a) is not LazyTask
        assert app.tasks["proj.fun"] is a
        assert app._tasks["proj.fun"] is a

    def test_finalizing_makes_them_all(self, app: Celery) -> None:
        a = app.task(_function())

        assert app.tasks["proj.fun"] is a
        assert type(a) is not LazyTask

    def test_a_class_with_another_layout_is_forwarded_to(self, app: Celery) -> None:
        class Slotted(Task[..., Any]):
            __slots__ = ("x",)
            abstract = True

        a = app.task(base=Slotted)(_function())

        assert isinstance(a, Slotted)
        assert a() == "ran"
        a.max_retries = 9
        assert app.tasks["proj.fun"].max_retries == 9

    def test_many_threads_make_it_once(self, app: Celery) -> None:
        made: list[int] = []

        class Counting(Task[..., Any]):
            abstract = True

            def __init__(self) -> None:
                made.append(1)

        a = app.task(base=Counting)(_function())
        start, seen = threading.Barrier(8), []

        def look() -> None:
            start.wait()
            seen.append((a.name, a()))

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert made == [1]
        assert set(seen) == {("proj.fun", "ran")}

    def test_what_fails_is_tried_again(self, app: Celery) -> None:
        app.config_from_object("no_such_module_here")
        a = app.task(_function())
        with pytest.raises(ModuleNotFoundError):
            a()
        app.config_from_object({})

        assert a() == "ran"

    def test_without_autofinalize(self) -> None:
        app = Celery("proj", autofinalize=False)
        a = app.task(_function())
        for look in (lambda: app.tasks, lambda: a.name):
            with pytest.raises(RuntimeError, match="Contract breach: app not finalized"):
                look()
        app.finalize()

        assert app.tasks["proj.fun"] is a

    def test_other_threads_wait_for_a_whole_registry(self, app: Celery) -> None:
        binding, go_on = threading.Event(), threading.Event()

        class Slow(Task[..., Any]):
            abstract = True

            @classmethod
            def on_bound(cls, app: Celery) -> None:
                binding.set()
                assert go_on.wait(10)

        app.task(base=Slow, name="first")(_function())
        app.task(name="second")(_function())
        seen: list[set[str]] = []
        threads = [threading.Thread(target=lambda: seen.append(set(app.tasks))) for _ in range(2)]
        threads[0].start()
        assert binding.wait(10)
        threads[1].start()
        go_on.set()
        for thread in threads:
            thread.join()

        assert [{name for name in names if not name.startswith(("celery.", "celeriac."))} for names in seen] == [
            {"first", "second"}
        ] * 2


class TestNames:
    def test_in_a_module(self, app: Celery) -> None:
        fun = _function("pkg.tasks")

        assert app.task(fun).name == "pkg.tasks.fun"

    @pytest.mark.parametrize(("main", "expected"), [("proj", "proj.fun"), (None, "script_of_mine.fun")])
    def test_in_a_script(
        self, tmp_path: Path, main: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = tmp_path / "script_of_mine.py"
        script.write_text(
            "from celeriac import Celery\n"
            f"app = Celery({main!r}, set_as_current=False)\n"
            "@app.task\ndef fun(): pass\nname = fun.name\n"
        )

        assert runpy.run_path(str(script), run_name="__main__")["name"] == expected

    def test_a_subclass_may_decide(self) -> None:
        class Mine(Celery):
            def gen_task_name(self, name: str, module: str) -> str:
                return f"mine.{name}"

        assert Mine().task(_function()).name == "mine.fun"


class TestDuplicates:
    def test_the_first_is_kept_with_a_warning_that_shows_both(self, app: Celery) -> None:
        first, second = app.task(_function()), app.task(_function())
        with pytest.warns(DuplicateTaskNameWarning) as caught:
            app.finalize()

        assert app.tasks["proj.fun"] is first
        assert second.name == first.name
        assert isinstance(second, Task)
        text = str(caught[0].message)
        assert "'proj.fun' is already registered to a different callable" in text
        assert text.count("test_app_tasks.py:") == 2

    def test_one_warning_a_name(self, app: Celery) -> None:
        for _ in range(3):
            app.task(_function())
        with pytest.warns(DuplicateTaskNameWarning) as caught:
            app.finalize()

        assert len(caught) == 1

    def test_the_same_function_twice_is_no_collision(self, app: Celery) -> None:
        fun = _function()

        assert app.task(fun).name == app.task(fun).name


class TestRegistry:
    def test_not_registered_names_the_nearest(self, app: Celery) -> None:
        app.task(name="proj.tasks.send_mail")(_function())

        with pytest.raises(NotRegistered, match=r"'send_mail' \(did you mean 'proj\.tasks\.send_mail'\?\)"):
            app.tasks["send_mail"]
        with pytest.raises(KeyError):
            app.tasks["x"]

    def test_unregister(self, app: Celery) -> None:
        task = app.task(_function())
        app.tasks.unregister(task)
        app.tasks.register(task)
        app.tasks.unregister("proj.fun")

        with pytest.raises(NotRegistered):
            app.tasks.unregister("proj.fun")

    def test_a_task_needs_a_name(self) -> None:
        class Nameless(Task[..., Any]): ...

        with pytest.raises(InvalidTaskError, match=r"Task class 'Nameless' must specify \.name attribute"):
            TaskRegistry().register(Nameless)

    def test_task_classes(self, app: Celery) -> None:
        class Adder(Task[..., Any]):
            def run(self, x: int) -> int:
                return x + 1

        task = app.register_task(Adder)

        assert task.name == f"{__name__}.Adder"
        assert task is app.tasks[task.name]
        assert task(1) == 2
        assert task.app is app
        with pytest.warns(DuplicateTaskNameWarning, match="The new callable replaced the existing one"):
            assert app.register_task(Adder()) is app.tasks[task.name]

    def test_a_registry_may_be_given(self) -> None:
        task = types.SimpleNamespace(name="x", bind=lambda app: None)

        assert Celery(tasks={"x": task}).tasks["x"] is task


class TestSharing:
    def test_shared_tasks_are_the_current_apps(self) -> None:
        @shared_task
        def add(x: int, y: int) -> int:
            return x + y

        @shared_task(name="other", bind=True)
        def other(self: Task[..., Any]) -> str:
            return self.app.main or ""

        one = Celery("one")
        assert add.app is one
        assert add(2, 2) == 4
        two = Celery("two")
        assert add.app is two
        assert add.name == f"{__name__}.add"
        assert other() == "two"
        assert isinstance(add, Task)
        assert add.name in one.tasks

    def test_an_app_that_is_finalized_gets_it_too(self, app: Celery) -> None:
        app.finalize()
        task = shared_task(_function())

        assert app.tasks["proj.fun"] == task

    def test_twice_is_refused(self) -> None:
        with pytest.raises(TypeError, match="@shared_task was applied more than once"):
            shared_task(shared_task(_function()))

    def test_what_is_no_function_is_refused(self) -> None:
        with pytest.raises(TypeError, match="must be a callable"):
            shared_task("name")

    def test_tasks_of_one_app_are_shared_with_others_and_never_replace_theirs(self, app: Celery) -> None:
        app.task(name="a")(_function())
        app.task(name="alone", shared=False)(_function())
        other = Celery("other")
        own = other.task(name="a")(_function())
        third = Celery("third")

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert other.tasks["a"] is own
            assert third.tasks["a"].app is third
            assert "alone" not in third.tasks

    def test_the_apps_of_a_task_do_not_mix(self, app: Celery) -> None:
        task = app.task(name="a")(_function())
        Celery("other").finalize()

        assert task.app is app
        assert current_app.main == "other"


class TestDiscovery:
    @pytest.fixture(autouse=True)
    def _fresh(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.syspath_prepend(str(tmp_path))
        before = set(sys.modules)
        yield
        for name in set(sys.modules) - before:
            del sys.modules[name]

    def write(self, tmp_path: Path, **files: str) -> None:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)

    def test_packages(self, app: Celery, tmp_path: Path) -> None:
        self.write(tmp_path, pkg__sms__tasks="x = 1", pkg__mail__other="x = 1")
        (tmp_path / "pkg/__init__.py").touch()
        app.autodiscover_tasks(["pkg.sms", "pkg.mail"])
        app.autodiscover_tasks(lambda: ["pkg.mail"], related_name="other")
        app.autodiscover_tasks(["pkg.mail"], related_name=None)
        assert "pkg.sms" not in sys.modules

        names = [module.__name__ for module in app.import_modules()]
        assert names == ["pkg.sms.tasks", "pkg.mail.other", "pkg.mail"]
        assert app.import_modules() == []

    def test_now(self, app: Celery, tmp_path: Path) -> None:
        self.write(tmp_path, pkg__tasks="x = 1")

        assert [module.x for module in app.autodiscover_tasks(["pkg"], force=True) or []] == [1]

    def test_imports_and_include_come_after(self, tmp_path: Path) -> None:
        self.write(tmp_path, pkg__tasks="", pkg__one="", pkg__two="")
        app = Celery(include="pkg.two", imports=("pkg.one",))
        app.autodiscover_tasks(["pkg"])

        assert [module.__name__ for module in app.import_modules()] == ["pkg.tasks", "pkg.one", "pkg.two"]

    @pytest.mark.parametrize(
        "text", ["import not_installed", "from pkg import nothing_there", "raise ValueError('inside')", "1 /"]
    )
    def test_an_error_inside_is_never_swallowed(self, app: Celery, tmp_path: Path, text: str) -> None:
        self.write(tmp_path, pkg__tasks=text)
        app.autodiscover_tasks(["pkg"])

        with pytest.raises((ImportError, ValueError, SyntaxError)) as caught:
            app.import_modules()
        assert "tasks.py" in str(caught.getrepr())

    def test_a_package_that_does_not_exist_is_an_error(self, app: Celery) -> None:
        app.autodiscover_tasks(["no_such_package"])

        with pytest.raises(ModuleNotFoundError, match="no_such_package"):
            app.import_modules()

    def test_a_module_of_include_that_does_not_exist_is_an_error(self) -> None:
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            Celery(include=["no_such_module"]).import_modules()

    def test_a_class_beside_the_tasks(self, app: Celery, tmp_path: Path) -> None:
        """Django's INSTALLED_APPS may hold `pkg.apps.Config`."""
        self.write(tmp_path, pkg__tasks="x = 1", pkg__apps="class Config: ...")

        assert app.autodiscover_tasks(["pkg.Config"], force=True)

    def test_without_packages_the_fixups_are_asked(self, tmp_path: Path) -> None:
        self.write(tmp_path, pkg__tasks="x = 1")
        fixup = types.SimpleNamespace(autodiscover_tasks=lambda: ["pkg"])
        app = Celery(fixups=[lambda app: fixup])

        assert app.autodiscover_tasks(force=True)

    def test_without_packages_and_fixups_it_says_so(self, app: Celery) -> None:
        with pytest.warns(UserWarning, match="without packages finds nothing"):
            app.autodiscover_tasks(force=True)


def _function(module: str = "__main__") -> Callable[[], str]:
    def fun() -> str:
        return "ran"

    fun.__module__ = module
    return fun


@pytest.mark.parametrize(("main", "module"), [("proj", "pkg.tasks"), (None, "pkg.tasks"), ("proj", "__main__")])
def test_names_are_those_of_celery(main: str | None, module: str) -> None:
    from celery import Celery as StockCelery  # the reference; 100 ms, for this test alone

    stock, ours = StockCelery(main, set_as_current=False), Celery(main, set_as_current=False)

    assert ours.gen_task_name("fun", module) == stock.gen_task_name("fun", module)
