"""Which broker and which backend the settings mean: a URL and the options for its adapter. It opens nothing.

Without any setting messages and results live in the embedded queue file (`sqlite://`). With a broker of one's own and
no result backend there are no results, as in Celery.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from ..errors import ImproperlyConfigured
from ..foundation import urls
from ..settings import Settings

__all__ = ["EMBEDDED", "Address", "backend_address", "backend_url", "broker_address", "broker_url"]

#: The queue file that needs no server.
EMBEDDED = "sqlite://"

_NEXT = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.\-]*://)")
_NO_BACKEND = frozenset({"disabled", "disabled://", "disabled:///"})
#: Settings of the Redis backend that complete its options where they were set: setting -> option.
_REDIS_OPTIONS = {
    "redis_max_connections": "max_connections",
    "redis_socket_timeout": "socket_timeout",
    "redis_socket_keepalive": "socket_keepalive",
    "redis_retry_on_timeout": "retry_on_timeout",
}


class Address(NamedTuple):
    """What an adapter is opened with."""

    url: str
    options: dict[str, Any]


def broker_url(conf: Settings, *, write: bool = True) -> str:
    """The URL of the broker, completed by `broker_user` and its like."""
    value = conf.broker_write_url if write else conf.broker_read_url
    if not value:
        return EMBEDDED
    url = _first(value, "broker_url")
    if "://" not in url:
        url = f"{conf.broker_transport or 'amqp'}://{url}"
    return _completed(url, conf.broker_user, conf.broker_password, conf.broker_port, conf.broker_vhost)


def broker_address(conf: Settings, main_file: str | None, *, write: bool = True) -> Address:
    """The broker's URL and options. `main_file` is where the app was made: the embedded queue lies beside it."""
    options = dict(conf.broker_transport_options or {})
    if conf.broker_use_ssl:
        options.setdefault("ssl", conf.broker_use_ssl)
    options["main_file"] = main_file
    return Address(broker_url(conf, write=write), options)


def backend_url(conf: Settings) -> str | None:
    """The URL of the result backend; None: results are not kept."""
    value = conf.result_backend
    if value is None:
        return EMBEDDED if broker_url(conf) == EMBEDDED else None
    url = _first(value, "result_backend")
    if not url or url in _NO_BACKEND:
        return None
    if "://" not in url:
        url = f"{url}://"
    if url.startswith(("redis://", "rediss://")):
        url = _completed(url, conf.redis_username, conf.redis_password, conf.redis_port, conf.redis_db, conf.redis_host)
    return url


def backend_address(conf: Settings, main_file: str | None) -> Address | None:
    """The result backend's URL and options, or None where results are not kept."""
    url = backend_url(conf)
    if url is None:
        return None
    options = dict(conf.result_backend_transport_options or {})
    if url.startswith(("redis", "unix")):
        if conf.redis_backend_use_ssl:
            options.setdefault("ssl", conf.redis_backend_use_ssl)
        for setting, option in _REDIS_OPTIONS.items():
            if conf.value_set_for(setting):
                options.setdefault(option, conf[setting])
    options["main_file"] = main_file
    return Address(url, options)


def _first(value: Any, setting: str) -> str:
    """The first of several URLs; that the others are not tried yet is said, not hidden."""
    if isinstance(value, str):
        several = _NEXT.split(value)
    elif isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value) and value:
        several = list(value)
    else:
        raise ImproperlyConfigured(f"{setting} must be a URL such as 'redis://localhost:6379/0', not {value!r}")
    if len(several) > 1:
        warnings.warn(
            f"{setting} names {len(several)} servers: this version uses the first, {urls.mask(several[0])}, "
            "and does not fail over to the others",
            stacklevel=2,
        )
    return several[0].strip()


def _completed(url: str, user: Any, password: Any, port: Any, path: Any, host: Any = None) -> str:
    """The URL with what it does not say itself taken from settings of their own."""
    if not any((user, password, port, path, host)):
        return url
    parts = urls.parse(url)
    user, password = parts.user or user, parts.password or password
    login = ""
    if user or password:
        login = quote(str(user or ""), safe="") + (f":{quote(str(password), safe='')}" if password else "") + "@"
    place = str(parts.host or host or "localhost")
    where = f"[{place}]" if ":" in place else place
    at = f":{parts.port or port}" if parts.port or port else ""
    rest = parts.path or (str(path).removeprefix("/") if path is not None else "")
    return f"{parts.scheme}://{login}{where}{at}/{rest}{_query(parts.query)}"


def _query(query: Mapping[str, str]) -> str:
    return "?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items()) if query else ""
