"""Finding modules, symbols and the app of `-A`; what is said when there is none, and what is never hidden."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac.foundation import loading
from celeriac.foundation.loading import AppNotFound, find_app, import_module, module_name_of, symbol
from celeriac.foundation.suggest import did_you_mean, nearest

Project = Callable[[dict[str, str]], None]


class Thing:
    """What counts as an app here."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Writes files into the working directory, which is not on `sys.path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = set(sys.modules)

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "things", sys.modules[__name__])


def make(name: str) -> str:
    return f"from things import Thing\n{name} = Thing()\n"


class TestFindApp:
    @pytest.mark.parametrize(
        ("files", "text", "place"),
        [
            ({"proj.py": make("app")}, "proj", "proj:app"),
            ({"proj.py": make("celery")}, "proj", "proj:celery"),
            ({"proj.py": make("whatever")}, "proj", "proj:whatever"),
            ({"proj.py": make("other") + "app = Thing()\n"}, "proj", "proj:app"),
            ({"proj.py": make("other") + "app = Thing()\n"}, "proj:other", "proj:other"),
            ({"proj.py": make("other") + "app = Thing()\n"}, "proj.other", "proj:other"),
            ({"proj/__init__.py": "", "proj/celery.py": make("app")}, "proj", "proj.celery:app"),
            ({"proj/__init__.py": "", "proj/celery.py": make("app")}, "proj.celery", "proj.celery:app"),
            ({"proj/__init__.py": "", "proj/app.py": make("queue")}, "proj.app", "proj.app:queue"),
            ({"proj/__init__.py": "from .app import app\n", "proj/app.py": make("app")}, "proj", "proj.app:app"),
            # the package's attribute `celery` is a module
            ({"proj/__init__.py": "from . import celery\n", "proj/celery.py": make("x")}, "proj", "proj.celery:x"),
            ({"proj.py": "from things import Thing\nclass Ns:\n    inner = Thing()\n"}, "proj:Ns.inner", None),
        ],
    )
    def test_places(self, project: Project, files: dict[str, str], text: str, place: str | None) -> None:
        project(files)

        found = find_app(text, Thing)

        assert isinstance(found, Thing)
        if place is not None:
            assert found is symbol(place)

    def test_an_app_is_itself(self) -> None:
        thing = Thing()

        assert find_app(thing, Thing) is thing

    def test_nothing_found_lists_what_was_tried(self, project: Project) -> None:
        project({"proj/__init__.py": "app = 5\n"})

        with pytest.raises(AppNotFound) as caught:
            find_app("proj", Thing)

        text = str(caught.value)
        assert "No app was found for 'proj'" in text
        assert "proj:app: not an app but int" in text
        assert "proj:celery: no such attribute" in text
        assert "module proj.celery: No module named 'proj.celery'" in text
        assert "any Thing instance in module proj: none" in text

    @pytest.mark.parametrize("text", ["nowhere", "nowhere:app", "nowhere.inside", "proj:nope", "proj.nope"])
    def test_no_such_place(self, project: Project, text: str) -> None:
        project({"proj.py": make("app")})

        with pytest.raises(AppNotFound, match="Tried:"):
            find_app(text, Thing)

    def test_a_file_name_is_explained(self, project: Project) -> None:
        project({"proj/__init__.py": "", "proj/tasks.py": make("app")})

        with pytest.raises(AppNotFound, match=r"did you mean 'proj\.tasks'"):
            find_app("proj/tasks.py", Thing)

    @pytest.mark.parametrize("text", ["proj", "proj:app", "proj.app"])
    def test_an_import_error_inside_is_shown_as_it_is(self, project: Project, text: str) -> None:
        project({"proj.py": "def f():\n    import not_installed\nf()\n"})

        with pytest.raises(ModuleNotFoundError, match="not_installed") as caught:
            find_app(text, Thing)

        assert any(str(entry.path).endswith("proj.py") for entry in caught.traceback)

    @pytest.mark.parametrize("error", ["ImportError", "AttributeError", "ValueError", "TypeError", "SystemExit"])
    def test_any_error_inside_is_shown_as_it_is(self, project: Project, error: str) -> None:
        project({"proj/__init__.py": "", "proj/celery.py": f"raise {error}('inside')\n"})

        with pytest.raises(BaseException, match="inside") as caught:
            find_app("proj", Thing)

        assert caught.type.__name__ == error

    def test_a_syntax_error_is_shown_as_it_is(self, project: Project) -> None:
        project({"proj.py": "def\n"})

        with pytest.raises(SyntaxError):
            find_app("proj", Thing)


class TestModules:
    def test_the_working_directory_counts_and_does_not_stay(self, project: Project) -> None:
        project({"beside.py": "x = 1\n"})
        before = list(sys.path)

        assert import_module("beside").x == 1
        assert sys.path == before

    def test_cwd_on_path_stays(self, project: Project, tmp_path: Path) -> None:
        loading.cwd_on_path()
        loading.cwd_on_path()

        assert sys.path.count(str(tmp_path)) == 1

    def test_a_name_that_is_no_name(self) -> None:
        for name in ("", ".relative"):
            with pytest.raises(ModuleNotFoundError, match="not an absolute module name"):
                import_module(name)

    def test_symbol(self, project: Project) -> None:
        project({"pkg/__init__.py": "", "pkg/mod.py": "class A:\n    b = 3\n"})

        assert symbol("pkg.mod").__name__ == "pkg.mod"
        assert symbol("pkg.mod:A.b") == 3
        assert symbol("pkg.mod.A").b == 3
        assert symbol(5) == 5
        with pytest.raises(AttributeError, match=r"module 'pkg\.mod' has no attribute 'C'"):
            symbol("pkg.mod:C")
        with pytest.raises(ModuleNotFoundError):
            symbol("pkg.none.A.b")


class TestMain:
    def test_other_modules_have_their_own_names(self) -> None:
        assert module_name_of("proj.tasks") == "proj.tasks"

    @pytest.mark.parametrize(
        ("file", "expected"),
        [("tasks.py", "tasks"), ("pkg/sub/jobs.py", "pkg.sub.jobs"), ("pkg/__main__.py", "pkg")],
    )
    def test_a_script_is_named_after_its_file(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, expected: str
    ) -> None:
        project({"pkg/__init__.py": "", "pkg/sub/__init__.py": "", file: ""})
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
        monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / file), raising=False)

        assert module_name_of("__main__") == module_name_of("__mp_main__") == expected

    def test_interactive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
        monkeypatch.delattr(sys.modules["__main__"], "__file__")

        assert module_name_of("__main__") == "__main__"


class TestSuggest:
    def test_best_first(self) -> None:
        assert nearest("counts", ["count", "countdown", "eta"]) == ["count", "countdown"]

    def test_the_last_part_finds_the_whole(self) -> None:
        assert nearest("send_mail", ["proj.tasks.send_mail", "proj.tasks.other"])[0] == "proj.tasks.send_mail"

    def test_text(self) -> None:
        assert did_you_mean("ad", ["add", "zzz"]) == " (did you mean 'add'?)"
        assert did_you_mean("ad", ["zzz"]) == ""
