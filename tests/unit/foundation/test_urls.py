"""URLs as Celery reads them, and never a password in a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import ImproperlyConfigured
from celeriac.foundation import urls
from celeriac.foundation.urls import Url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("redis://", Url("redis")),
        ("redis://localhost", Url("redis", host="localhost")),
        ("REDIS://localhost:6379/1", Url("redis", host="localhost", port=6379, path="1")),
        ("redis://:p%40ss@h/0", Url("redis", password="p@ss", host="h", path="0")),
        ("redis://u:p@[::1]:7/2", Url("redis", "u", "p", "::1", 7, "2")),
        ("redis://[fe80::1]/2", Url("redis", host="fe80::1", path="2")),
        ("redis://u@h", Url("redis", "u", host="h")),
        ("sqlite:///a.db", Url("sqlite", path="a.db")),
        ("sqlite:////var/a b.db", Url("sqlite", path="/var/a b.db")),
        ("sqlite://", Url("sqlite")),
        (
            "redis+socket:///tmp/r.sock?virtual_host=3",
            Url("redis+socket", path="tmp/r.sock", query={"virtual_host": "3"}),
        ),
        ("amqp://guest:guest@h:5672//", Url("amqp", "guest", "guest", "h", 5672, "/")),
        (
            "rediss://h?ssl_cert_reqs=none&ssl_cert_reqs=required",
            Url("rediss", host="h", query={"ssl_cert_reqs": "required"}),
        ),
    ],
)
def test_parts(text: str, parts: Url) -> None:
    assert urls.parse(text) == parts


@pytest.mark.parametrize("text", ["", "redis", "localhost:6379", "redis:/x", "://h", "redis://h:port", "redis://h:0"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        urls.parse(text)


@pytest.mark.parametrize("text", ["redis://u:secret@h:99999/0", "redis://u:sec/secret@h", "redis://u:secret@[::1"])
def test_errors_do_not_show_the_password(text: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        urls.parse(text)
    assert "secret" not in str(caught.value)


def test_repr_does_not_show_the_password() -> None:
    assert "secret" not in repr(urls.parse("redis://u:secret@h/0?password=secret"))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://u:p@h:1/0", "redis://u:**@h:1/0"),
        ("redis://:p@h/0", "redis://:**@h/0"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://u@h/0", "redis://u@h/0"),
        ("redis://u:a@b@h/0", "redis://u:**@h/0"),
        ("redis://u:a/b@h/0", "redis://u:**@h/0"),
        ("redis://u:a;b@h/0;redis://:c@i/0", "redis://u:**@h/0;redis://:**@i/0"),
        ("redis://h/0?password=p&x=1", "redis://h/0?password=**&x=1"),
        ("rediss://h/0?ssl_keyfile=k&ssl_password=p", "rediss://h/0?ssl_keyfile=k&ssl_password=**"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("memory", "memory"),
        ("u:p@h", "**@h"),
    ],
)
def test_mask(text: str, masked: str) -> None:
    assert urls.mask(text) == masked


@given(st.text(max_size=40))
def test_mask_never_raises(text: str) -> None:
    urls.mask(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=3, max_size=20))
def test_a_quoted_password_comes_back_and_never_shows(password: str) -> None:
    from urllib.parse import quote

    quoted = quote(password, safe="")
    url = f"redis://user:{quoted}@some.host:6379/0"
    assert urls.parse(url).password == password
    assert urls.mask(url) == "redis://user:**@some.host:6379/0"
