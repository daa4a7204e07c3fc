"""What `import celeriac` loads, and what it offers: who only publishes must not pay for what others need."""

from __future__ import annotations

import subprocess
import sys
import typing

import pytest

import celeriac

#: Loaded on first use only, by whoever needs them.
HEAVY = {"asyncio", "sqlite3", "redis", "hiredis", "click", "rich", "multiprocessing", "ssl", "celery", "kombu"}

PUBLIC = {
    "App",
    "AsyncResult",
    "Celery",
    "GroupResult",
    "ResultSet",
    "Signature",
    "StampingVisitor",
    "Task",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "uuid",
    "xmap",
    "xstarmap",
}


def loaded_by(statements: str) -> set[str]:
    script = f"import sys; before = set(sys.modules)\n{statements}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split())


def test_importing_the_package_loads_almost_nothing() -> None:
    loaded = loaded_by("import celeriac")

    assert {name for name in loaded if name.startswith("celeriac.")} == {
        "celeriac.foundation",
        "celeriac.foundation.version",
    }
    assert "msgspec" not in loaded


def test_making_an_app_loads_nothing_heavy() -> None:
    loaded = loaded_by("""
from celeriac import *
app = Celery("x", broker="redis://localhost")
@app.task
def add(x, y): return x + y
add(1, 1); app.conf.task_serializer; app.tasks
""")

    assert not HEAVY & loaded
    assert not {
        name for name in loaded if name.startswith(("celeriac.worker.", "celeriac.cli.", "celeriac.execution."))
    }


def test_the_public_names() -> None:
    assert set(celeriac.__all__) == PUBLIC
    assert set(celeriac._HOMES) == PUBLIC
    assert set(dir(celeriac)) >= PUBLIC
    assert celeriac.__version__ == "0.1.0"
    for name in PUBLIC:
        assert getattr(celeriac, name) is not None


def test_the_type_checkers_names_are_the_same() -> None:
    source = typing.cast("str", celeriac.__loader__.get_source("celeriac"))  # type: ignore[union-attr]

    for name, home in celeriac._HOMES.items():
        module, _, attribute = home.partition(":")
        assert f"    from .{module} import {attribute} as {name}\n" in source


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'celeriac' has no attribute 'nope'"):
        _ = celeriac.nope
