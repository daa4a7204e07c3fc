"""Which server a URL means, in the spellings of redis-py, kombu and Celery."""

from __future__ import annotations

import ssl

import pytest

from celeriac.drivers.redis_address import Address, parse
from celeriac.errors import ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis", Address()),
        ("redis://", Address()),
        ("redis://h", Address("h")),
        ("redis://h:1/2", Address("h", 1, db=2)),
        ("redis://h//", Address("h")),
        ("redis://:p@h/", Address("h", password="p")),
        ("redis://u:p@h", Address("h", user="u", password="p")),
        ("redis://h?db=4", Address("h", db=4)),
        ("redis+socket:///tmp/r.sock", Address(path="/tmp/r.sock")),
        ("redis+socket:///tmp/r.sock?virtual_host=5", Address(path="/tmp/r.sock", db=5)),
        ("unix:///tmp/r.sock?db=5", Address(path="/tmp/r.sock", db=5)),
        ("redis+socket://:p@/tmp/r.sock", Address(path="/tmp/r.sock", password="p")),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", Address("h", tls={"cert_reqs": "CERT_NONE"})),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert parse(url) == address


def test_options_complete_the_url() -> None:
    address = parse("redis://h", {"ssl": {"ssl_cert_reqs": ssl.CERT_NONE}, "client_name": "mine"})
    assert address.tls == {"cert_reqs": ssl.CERT_NONE}
    assert address.client_name == "mine"


@pytest.mark.parametrize("url", ["redis://h/one", "redis://h/-1", "amqp://h", "rediss://h?ssl_cert_reqs=maybe"])
def test_what_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        parse(url)


def test_loopback_has_one_name() -> None:
    names = {parse(f"redis://{host}:1/{db}").server for db, host in enumerate(["localhost", "127.0.0.1", "[::1]"])}
    assert len(names) == 1
    assert parse("redis://h:1").server != parse("redis://h:2").server


def test_texts_hold_no_password() -> None:
    address = parse("redis://u:secret@[::1]:7/3")
    assert address.text == "[::1]:7/3"
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("value", "mode", "checks"),
    [
        ("required", ssl.CERT_REQUIRED, True),
        ("CERT_OPTIONAL", ssl.CERT_OPTIONAL, True),
        ("none", ssl.CERT_NONE, False),
        (ssl.CERT_NONE, ssl.CERT_NONE, False),
    ],
)
def test_certificates_are_checked_as_asked(value: object, mode: ssl.VerifyMode, checks: bool) -> None:
    context = parse("rediss://h", {"ssl": {"ssl_cert_reqs": value}}).tls_context()
    assert (context.verify_mode, context.check_hostname) == (mode, checks)


def test_a_tls_server_is_checked_unless_told_otherwise() -> None:
    assert parse("rediss://h").tls_context().verify_mode is ssl.CERT_REQUIRED
