"""Options: every one of Celery's is known, what cannot be honoured is refused, and so is what does not exist."""

from __future__ import annotations

import inspect
from typing import Any

import celery
import pytest
from celery.app.amqp import AMQP
from kombu import Producer

from celeriac.client import options
from celeriac.errors import ImproperlyConfigured


def _celerys() -> set[str]:
    """Every name that `apply_async(**options)` reaches in Celery and kombu."""
    # What amqp hands to the sender is not visible in a signature: asked of the function itself.
    app = celery.Celery("proj", set_as_current=False)
    names: set[str] = set()
    for function in (celery.Task.apply_async, celery.Celery.send_task, AMQP.as_task_v2, app.amqp.send_task_message):
        names |= set(inspect.signature(function).parameters)
    names |= set(inspect.signature(Producer.publish).parameters)
    return names - {
        "self", "args", "kwargs", "options", "name", "message", "body", "properties", "callbacks", "errbacks",
        # what send_task fills in itself, or says about the body that it has made
        "create_sent_event", "now", "timezone", "content_type", "content_encoding",
    }  # fmt: skip


def test_every_option_of_celery_is_known() -> None:
    assert _celerys() <= options.KNOWN


def test_an_option_that_does_not_exist_is_refused_naming_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"unexpected option 'prioritty' \(did you mean 'priority'\?\)"):
        options.read({"prioritty": 1})
    with pytest.raises(TypeError, match=r"unexpected option 'xyzzy'$"):
        options.read({"xyzzy": 1})


@pytest.mark.parametrize("name", ["connection", "producer", "publisher", "router", "declare", "mandatory"])
def test_what_cannot_be_honoured_is_refused_unless_it_is_none(name: str) -> None:
    options.read({name: None})
    with pytest.raises(ImproperlyConfigured, match=f"^{name}="):
        options.read({name: object()})


def test_a_call_wins_over_the_task_and_none_clears() -> None:
    merged = options.read({"time_limit": None, "priority": 2}, {"time_limit": 5, "priority": 1, "serializer": "json"})
    assert (merged.time_limit, merged.priority, merged.serializer) == (None, 2, "json")


class _Queue:
    name = "q"


@pytest.mark.parametrize(
    ("given", "queue"),
    [
        ({}, None),
        ({"queue": "q"}, "q"),
        ({"queue": _Queue()}, "q"),
        ({"exchange": "q", "routing_key": "q"}, "q"),
        ({"exchange": "", "routing_key": "ignored"}, None),
        ({"queue": "q", "routing_key": "any"}, "q"),
    ],
)
def test_destinations(given: dict[str, Any], queue: str | None) -> None:
    assert options.read(given).queue == queue


def test_an_exchange_of_its_own_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="exchange='logs'"):
        options.read({"exchange": "logs", "routing_key": "error.#"})


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"time_limit": 5, "soft_time_limit": 6}, ValueError),
        ({"delivery_mode": "sometimes"}, ValueError),
        ({"countdown": "soon"}, TypeError),
        ({"priority": "high"}, TypeError),
    ],
)
def test_values_that_cannot_be_meant(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        options.read(given)


def test_stamps_are_options_by_their_own_names() -> None:
    made = options.read({"stamped_headers": ["colour"], "colour": "red"})
    assert (made.stamped_headers, made.stamps) == (["colour"], {"colour": "red"})


def test_properties_of_amqp_pass() -> None:
    assert options.read({"user_id": "u"}).properties == {"user_id": "u"}
