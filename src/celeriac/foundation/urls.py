"""Reads and masks the URLs of brokers and backends. Pure text: resolves nothing, connects to nothing.

The rules are those of Celery's URLs: user and password are percent-decoded, the one slash after the host is not
part of the path (`sqlite:///a.db` is the relative file `a.db`, `sqlite:////a.db` the absolute one), and a query key
that comes twice counts once, the last.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from msgspec import Struct, field

from ..errors import ImproperlyConfigured

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*)://(.*)$", re.DOTALL)
#: A password may hold a `;`, so only one that starts another URL separates.
_NEXT_URL = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.\-]*://)")
_SECRET = re.compile(r"(?<=[?&])([^=&]*(?:password|passwd|secret|token)[^=&]*)=([^&]*)", re.IGNORECASE)


class Url(Struct, frozen=True):
    """A URL in its parts; what is absent is None, an absent path is empty."""

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | None = None
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Without the password: URLs end up in tracebacks and logs."""
        hidden = None if self.password is None else "**"
        return (
            f"Url(scheme={self.scheme!r}, user={self.user!r}, password={hidden!r}, host={self.host!r}, "
            f"port={self.port!r}, path={self.path!r}, query={sorted(self.query)!r})"
        )


def parse(url: str) -> Url:
    """The parts of `url`.

    Raises: ImproperlyConfigured if it has no `scheme://` or a port that is no port; the text never holds the password.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise ImproperlyConfigured(f"not a URL: {mask(url)!r}; it should look like 'redis://localhost:6379/0'")
    scheme, rest = match.groups()
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    userinfo, _, address = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    host, port = _address(address, url)
    return Url(
        scheme=scheme.lower(),
        user=unquote(user) or None,
        password=unquote(password) or None,
        host=unquote(host) or None,
        port=port,
        path=unquote(path),
        query=dict(parse_qsl(query)),
    )


def _address(address: str, url: str) -> tuple[str, int | None]:
    """Host and port; IPv6 addresses stand in brackets."""
    if address.startswith("["):
        host, bracket, tail = address[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ImproperlyConfigured(f"the address in {mask(url)!r} is not '[IPv6]:port'")
        text = tail[1:]
    else:
        host, _, text = address.partition(":")
    if not text:
        return host, None
    # isascii: str.isdigit also accepts digits that int() would take for a port nobody meant.
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ImproperlyConfigured(
            f"the port in {mask(url)!r} is not a number from 1 to 65535; "
            "characters such as '/', '@', '#' or '?' in a password must be percent-encoded"
        )
    return host, int(text)


def mask(url: str) -> str:
    """`url` for a log: the password, and secrets in the query, as `**`. Never raises; takes URLs joined by `;`, too."""
    return ";".join(_mask_one(part) for part in _NEXT_URL.split(url))


def _mask_one(url: str) -> str:
    match = _SCHEME.match(url)
    if match is None:
        # No URL. A stray user:password@host may still be in it: better to hide too much.
        head, at, tail = url.rpartition("@")
        return f"**@{tail}" if at else head or tail
    scheme, rest = match.groups()
    userinfo, host = _split_userinfo(rest)
    if userinfo is not None:
        user, colon, _ = userinfo.partition(":")
        rest = f"{user}{colon}{'**' if colon else ''}@{host}"
    if "?" in rest:
        rest = _SECRET.sub(r"\1=**", rest)
    return f"{scheme}://{rest}"


def _split_userinfo(rest: str) -> tuple[str | None, str]:
    """User information and what follows; tolerant, since a password may hold what it should have encoded."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        userinfo, _, host = authority.rpartition("@")
        return userinfo, host + rest[len(authority) :]
    _, colon, port = authority.partition(":")
    if colon and not port.isdigit() and not authority.startswith("[") and "@" in rest:
        # `user:pa/ss@host`: the part before the slash is no port, so the last @ ends the password.
        userinfo, _, host = rest.rpartition("@")
        return userinfo, host
    return None, rest
