"""Where the embedded queue file lies: the same place for a script and for the module it is, whatever the directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from celeriac.foundation.home import embedded_path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of no importance, and no CELERIAC_HOME."""
    monkeypatch.delenv("CELERIAC_HOME", raising=False)
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def _module(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_beside_a_module(tmp_path: Path, nowhere: Path) -> None:
    module = _module(tmp_path / "project/tasks.py")
    assert embedded_path(str(module)) == tmp_path / "project/.celeriac/queue.sqlite3"


def test_beside_the_top_level_package(tmp_path: Path, nowhere: Path) -> None:
    for package in ("project/shop", "project/shop/jobs"):
        _module(tmp_path / package / "__init__.py")
    module = _module(tmp_path / "project/shop/jobs/mail.py")
    expected = tmp_path / "project/.celeriac/queue.sqlite3"
    assert embedded_path(str(module)) == expected
    assert embedded_path(str(tmp_path / "project/shop/__init__.py")) == expected


@pytest.mark.parametrize("main_file", [None, "<stdin>", "<string>"])
def test_interactive_use_means_the_working_directory(nowhere: Path, main_file: str | None) -> None:
    assert embedded_path(main_file) == nowhere / ".celeriac/queue.sqlite3"


def test_the_variable_overrides(tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_HOME", str(tmp_path / "elsewhere"))
    assert embedded_path(str(_module(tmp_path / "project/tasks.py"))) == tmp_path / "elsewhere/queue.sqlite3"
    assert (tmp_path / "elsewhere").is_dir()


def test_the_folder_is_made_and_ignored_by_git(tmp_path: Path, nowhere: Path) -> None:
    path = embedded_path(str(_module(tmp_path / "project/tasks.py")))
    assert (path.parent / ".gitignore").read_text() == "*\n"
    (path.parent / ".gitignore").write_text("mine")
    embedded_path(str(tmp_path / "project/tasks.py"))
    assert (path.parent / ".gitignore").read_text() == "mine"


def test_a_script_and_the_module_that_it_is_mean_the_same_file(tmp_path: Path, nowhere: Path) -> None:
    module = tmp_path / "project/jobs.py"
    _module(module).write_text("from celeriac.foundation.home import embedded_path\nprint(embedded_path(__file__))\n")
    where = {"as script": ["jobs.py"], "as module": ["-m", "jobs"], "imported": ["-c", "import jobs"]}
    found = {
        subprocess.run([sys.executable, *how], cwd=module.parent, capture_output=True, text=True, check=True).stdout
        for how in where.values()
    }
    elsewhere = subprocess.run([sys.executable, module], cwd="/", capture_output=True, text=True, check=True).stdout
    assert found == {elsewhere}


def test_a_link_to_a_script_means_the_script(tmp_path: Path, nowhere: Path) -> None:
    module = _module(tmp_path / "project/tasks.py")
    link = tmp_path / "link.py"
    link.symlink_to(module)
    assert embedded_path(str(link)) == embedded_path(str(module))


def test_installed_code_keeps_no_queue_beside_it(tmp_path: Path, nowhere: Path) -> None:
    module = _module(tmp_path / "lib/python3.12/site-packages/shop/__init__.py")
    with pytest.warns(RuntimeWarning, match="is installed code.*CELERIAC_HOME"):
        assert embedded_path(str(module)) == nowhere / ".celeriac/queue.sqlite3"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_code_that_cannot_be_written_beside(tmp_path: Path, nowhere: Path) -> None:
    module = _module(tmp_path / "project/tasks.py")
    module.parent.chmod(0o555)
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        assert embedded_path(str(module)) == nowhere / ".celeriac/queue.sqlite3"
