"""Where a Redis server is and how to get in: URL and options -> `Address`. Connects to nothing.

The spellings are those of redis-py, kombu and Celery: `redis://user:password@host:port/db`, `rediss://…?ssl_cert_reqs=required`,
`redis+socket:///path?virtual_host=db`, `unix:///path?db=db`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import ImproperlyConfigured
from ..foundation import urls

if TYPE_CHECKING:
    from ssl import SSLContext

_TCP = frozenset({"redis", "rediss"})
_UNIX = frozenset({"redis+socket", "socket", "unix", "redis+unix"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CERT_REQS = {"required": "required", "optional": "optional", "none": "none"}


class Address(Struct, frozen=True):
    """One server, one database, one user."""

    host: str = "localhost"
    port: int = 6379
    #: Of the unix socket; then host and port mean nothing.
    path: str | None = None
    db: int = 0
    user: str | None = None
    password: str | None = None
    #: TLS options by their redis-py names, without `ssl_`; None: no TLS.
    tls: Mapping[str, Any] | None = None
    client_name: str | None = None
    #: The setting that this came from, for error texts.
    setting: str = "broker_url"

    @property
    def text(self) -> str:
        """`host:port/db`, for logs and errors; holds no secret."""
        if self.path is not None:
            return f"{self.path}/{self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.db}"

    @property
    def server(self) -> tuple[str, int]:
        """The same for every address of one server, as far as text can tell."""
        if self.path is not None:
            return self.path, 0
        host = self.host.lower()
        return "localhost" if host in _LOOPBACK else host, self.port

    def __repr__(self) -> str:
        return f"Address({self.text!r}, tls={self.tls is not None})"

    def tls_context(self) -> SSLContext:
        """Raises: ImproperlyConfigured if the options cannot work (a file that is not there, an unknown word)."""
        import ssl  # 8 ms, and most connections have no TLS

        tls = self.tls or {}
        context = ssl.create_default_context(cafile=tls.get("ca_certs"), capath=tls.get("ca_path"))
        wanted = _cert_reqs(tls.get("cert_reqs", "required"))
        context.check_hostname = wanted != "none" and _truth(tls.get("check_hostname", True))
        context.verify_mode = {
            "required": ssl.CERT_REQUIRED,
            "optional": ssl.CERT_OPTIONAL,
            "none": ssl.CERT_NONE,
        }[wanted]
        if tls.get("certfile"):
            context.load_cert_chain(tls["certfile"], tls.get("keyfile"), tls.get("password"))
        if tls.get("ciphers"):
            context.set_ciphers(tls["ciphers"])
        return context


def parse(url: str, options: Mapping[str, Any] | None = None, *, setting: str = "broker_url") -> Address:
    """The address in `url`, completed by transport `options` (`ssl`, `client_name`).

    Raises: ImproperlyConfigured.
    """
    options = options or {}
    parts = urls.parse(url if "://" in url else f"{url}://")
    tls = _tls(parts, options)
    query = parts.query
    if parts.scheme in _UNIX:
        database = query.get("virtual_host", query.get("db"))
        path, tls = "/" + parts.path.lstrip("/"), None
    elif parts.scheme in _TCP:
        database = parts.path or query.get("virtual_host", query.get("db"))
        path = None
    else:
        raise ImproperlyConfigured(f"{urls.mask(url)!r} is no Redis URL; known are {', '.join(sorted(_TCP | _UNIX))}")
    return Address(
        host=parts.host or "localhost",
        port=parts.port or 6379,
        path=path,
        db=_database(database, url),
        user=parts.user or query.get("username"),
        password=parts.password or query.get("password"),
        tls=tls,
        client_name=options.get("client_name") or query.get("client_name"),
        setting=setting,
    )


def _database(text: str | None, url: str) -> int:
    text = (text or "0").strip("/") or "0"
    if not (text.isascii() and text.isdigit()):
        raise ImproperlyConfigured(f"Database is int between 0 and limit - 1, not {text} (in {urls.mask(url)!r})")
    return int(text)


def _tls(parts: urls.Url, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """TLS options of the URL over those of the settings (`broker_use_ssl`, `redis_backend_use_ssl`)."""
    configured = options.get("ssl")
    if parts.scheme != "rediss" and not configured:
        return None
    given = dict(configured) if isinstance(configured, Mapping) else {}
    given.update((key, value) for key, value in parts.query.items() if key.startswith("ssl_"))
    tls = {key.removeprefix("ssl_"): value for key, value in given.items()}
    _cert_reqs(tls.get("cert_reqs", "required"))
    return tls


def _cert_reqs(value: Any) -> str:
    """`required`, `optional` or `none`, from a word, a constant's name or a constant of `ssl`."""
    if value is None:
        return "none"
    name = getattr(value, "name", value)
    word = _CERT_REQS.get(str(name).lower().removeprefix("cert_"))
    if word is None:
        raise ImproperlyConfigured(
            f"ssl_cert_reqs is {value!r}; it must be one of CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE "
            "or required, optional, none"
        )
    return word


def _truth(value: Any) -> bool:
    return value.strip().lower() not in {"false", "0", "no", ""} if isinstance(value, str) else bool(value)
