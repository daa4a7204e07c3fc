"""From a URL to an adapter, and what is said where there is none."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.registry import open_backend
from celeriac.brokers.memory import MemoryBroker
from celeriac.brokers.registry import open_broker
from celeriac.errors import ImproperlyConfigured


def test_by_scheme() -> None:
    assert isinstance(open_broker("memory://"), MemoryBroker)
    assert isinstance(open_broker("memory"), MemoryBroker)
    assert isinstance(open_backend("MEMORY://x"), MemoryBackend)
    assert isinstance(open_backend("cache+memory://"), MemoryBackend)


def test_an_unknown_scheme_names_the_known_ones_and_no_password() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"redis://, .*sqlite://") as caught:
        open_broker("redsi://user:secret@host/0")
    assert "Did you mean redis://?" in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(ImproperlyConfigured, match="No result backend for the URL scheme 'amqp'"):
        open_backend("amqp://")


def test_a_missing_client_library_is_a_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_hiredis(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "hiredis":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if "redis" in name and name.startswith("celeriac.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_hiredis)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'celeriac\[redis\]'"):
        open_broker("redis://localhost")
