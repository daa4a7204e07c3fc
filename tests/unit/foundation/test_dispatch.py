"""`Signal` beside Celery's own: what connects, what is called, what is forgotten."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest
from celery.utils.dispatch import Signal as CelerySignal

import celeriac.signals
import celeriac.utils.dispatch
from celeriac.client.proxy import Proxy
from celeriac.foundation import dispatch
from celeriac.foundation.dispatch import Signal

KINDS = pytest.mark.parametrize("kind", [Signal, CelerySignal])


def note(**named: Any) -> str:
    return f"note {named['sender']} {named.get('a')}"


class Listener:
    def hear(self, **named: Any) -> str:
        return "heard"


@KINDS
def test_decorator_and_call_with_and_without_a_sender(kind: Any) -> None:
    signal = kind(providing_args={"a"}, name="tried")

    @signal.connect
    def first(sender: Any, signal: Any, **named: Any) -> Any:
        return signal

    @signal.connect(sender="one")
    def second(**named: Any) -> str:
        return "second"

    signal.connect(note, sender="two")

    assert signal.send("one", a=1) == [(first, signal), (second, "second")]
    assert signal.send(sender="two", a=1) == [(first, signal), (note, "note two 1")]
    assert "tried" in repr(signal)
    assert signal.has_listeners("one")


@KINDS
def test_a_receiver_is_connected_once_per_sender_and_uid(kind: Any) -> None:
    signal = kind()
    for _ in range(2):
        signal.connect(note)
        signal.connect(note, sender="a")
        signal.connect(lambda **named: 1, weak=False, dispatch_uid="mine")

    assert len(signal.receivers) == 3
    assert signal.disconnect(note)
    assert not signal.disconnect(note)
    assert signal.disconnect(dispatch_uid="mine")
    assert len(signal.send("a")) == 1


@KINDS
def test_weak_by_default_bound_methods_too(kind: Any) -> None:
    signal = kind()
    one, other = Listener(), Listener()
    signal.connect(one.hear)
    signal.connect(other.hear)
    signal.connect(lambda **named: "gone")
    signal.connect(lambda **named: "kept", weak=False)
    assert [answer for _, answer in signal.send(None)] == ["heard", "heard", "kept"]

    del one
    gc.collect()

    assert [answer for _, answer in signal.send(None)] == ["heard", "kept"]
    assert signal.disconnect(other.hear)
    assert len(signal.receivers) == 1


@KINDS
def test_what_a_receiver_raises_is_its_answer(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    signal = kind()

    @signal.connect
    def broken(**named: Any) -> None:
        raise ValueError("no")

    signal.connect(note)
    with caplog.at_level(logging.ERROR):
        (_, error), (_, answer) = signal.send("x")

    assert isinstance(error, ValueError)
    assert answer == "note x None"
    assert "Signal handler" in caplog.text
    assert "ValueError" in caplog.text


@KINDS
def test_receivers_must_take_keywords(kind: Any) -> None:
    def deaf(sender: Any) -> None: ...

    with pytest.raises(ValueError, match="keyword"):
        kind().connect(deaf)


def test_retry_calls_it_until_it_does_not_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(dispatch.time, "sleep", pauses.append)
    tries: list[int] = []

    def flaky(**named: Any) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return len(tries)

    signal = Signal()
    signal.connect(flaky, retry=True)

    assert [answer for _, answer in signal.send(None)] == [3]
    assert pauses == [2.0, 4.0]
    assert signal.disconnect(flaky)


def test_a_proxy_stands_for_its_object() -> None:
    target = Listener()
    signal = Signal()
    signal.connect(note, sender=Proxy(lambda: target))

    assert len(signal.send(target)) == 1
    assert signal.send(Listener()) == []


def test_a_sender_that_died_has_no_heir() -> None:
    """Identities are used again; the sender that was asked for is kept while its receiver is."""
    signal = Signal()
    signal.connect(note, sender=Listener())

    assert all(signal.send(Listener()) == [] for _ in range(100))


def test_every_name_of_celery_with_its_arguments() -> None:
    import celery.signals as theirs

    for name, signal in vars(theirs).items():
        if isinstance(signal, CelerySignal):
            ours = getattr(celeriac.signals, name)
            assert ours.name == signal.name
            assert signal.providing_args <= ours.providing_args
    assert celeriac.utils.dispatch.Signal is Signal


def test_a_name_that_is_none_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"no signal 'task_prerunn'.*task_prerun"):
        celeriac.signals.task_prerunn  # noqa: B018
