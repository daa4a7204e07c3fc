"""Private servers for the tests: each on a free loopback port (or a socket file) with a folder of its own.

Nothing here imports celeriac: a server must be startable and askable when celeriac is what is broken. A server that
cannot be had on this machine skips the test with a printed reason; with CELERIAC_REQUIRE_SERVERS=1 (as in CI) it
fails it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.processes import until

_handed_out: set[int] = set()


def require(program: str, package: str) -> str:
    """The path of `program`; without it the test is skipped with the reason, or fails where servers are required."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"{program} is not installed (apt-get install {package}; CI runs these tests)"
    if os.environ.get("CELERIAC_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{reason}, and CELERIAC_REQUIRE_SERVERS=1", pytrace=False)
    pytest.skip(reason)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `host` that nobody listens on, never the same one twice in this process."""
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def ends_with_us(command: Sequence[str]) -> list[str]:
    """The command, killed by the kernel should this process die without tidying up (a timeout, a kill)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


class RedisError(Exception):
    """An error reply of the server."""


class RedisServer:
    """One redis-server that a test may stop, kill, freeze and start again: same port, same folder, same data.

    `appendfsync` is `always`, `everysec`, `no`, or None for a server that keeps nothing on disk. `tls` and `unix`
    replace the TCP port by a TLS port or by a socket file. `password` is of `user` (the default user if that is None).
    """

    def __init__(
        self,
        directory: Path,
        *,
        appendfsync: str | None = "everysec",
        password: str | None = None,
        user: str | None = None,
        tls: bool = False,
        unix: bool = False,
        bind: Sequence[str] = ("127.0.0.1",),
        databases: int = 64,
    ) -> None:
        self.directory = directory
        self.password = password
        self.user = user
        self.host = bind[0]
        self.port = 0 if unix else free_port(bind[0])
        self.socket_path = directory / "redis.sock" if unix else None
        self.certificate = self._certificate() if tls else None
        self._settings = self._configure(appendfsync, tuple(bind), databases)
        self._process: subprocess.Popen[bytes] | None = None

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, and return when a command was answered."""
        assert self._process is None, "already started"
        program = require("redis-server", "redis-server")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ends_with_us([program, *self._settings]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,
            )
        until(self._answers, within=15, what=f"redis-server answers PING (its log: {self.log})")

    def stop(self) -> None:
        """Shut down in order. Safe twice, unstarted and while frozen."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`: what was not yet written to disk may be gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in order, and start with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze: connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        return self.directory / "redis.log"

    # -- talking to it --------------------------------------------------------------------------------------

    def url(self, db: int = 0) -> str:
        """As a user would write it in `broker_url`."""
        secret = f"{self.user or ''}:{self.password}@" if self.password else ""
        if self.socket_path is not None:
            return f"redis+socket://{secret}{self.socket_path}?virtual_host={db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.certificate is not None:
            return f"rediss://{secret}{host}:{self.port}/{db}?ssl_cert_reqs=required&ssl_ca_certs={self.certificate[0]}"
        return f"redis://{secret}{host}:{self.port}/{db}"

    def ask(self, *command: str | int | bytes, db: int = 0) -> Any:
        """One command on a connection of its own, with the reply as bytes, int, list or None.

        Raises: RedisError for an error reply, OSError where the server does not answer within 5 s.
        """
        with self._connect() as connection, connection.makefile("rwb") as stream:
            if self.password:
                _command(stream, "AUTH", *([self.user] if self.user else []), self.password)
            if db:
                _command(stream, "SELECT", db)
            return _command(stream, *command)

    # -- inside ---------------------------------------------------------------------------------------------

    def _configure(self, appendfsync: str | None, bind: tuple[str, ...], databases: int) -> list[str]:
        settings = ["--dir", str(self.directory), "--daemonize", "no", "--save", "", "--databases", str(databases)]
        settings += ["--bind", *bind, "--appendonly", "no" if appendfsync is None else "yes"]
        if appendfsync is not None:
            settings += ["--appendfsync", appendfsync]
        if self.certificate is not None:
            certificate, key = map(str, self.certificate)
            settings += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            settings += ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
        else:
            settings += ["--port", str(self.port)]
        if self.socket_path is not None:
            settings += ["--unixsocket", str(self.socket_path)]
        if self.password and self.user:
            settings += ["--user", self.user, "on", f">{self.password}", "~*", "&*", "+@all"]
        elif self.password:
            settings += ["--requirepass", self.password]
        return settings

    def _certificate(self) -> tuple[Path, Path]:
        """A certificate for loopback that signs itself, and its key."""
        certificate, key = self.directory / "server.crt", self.directory / "server.key"
        subprocess.run(
            [require("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
            + ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
            + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        return certificate, key

    def _connect(self) -> socket.socket:
        if self.socket_path is not None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket_path))
            except OSError:
                connection.close()
                raise
            return connection
        plain = socket.create_connection((self.host, self.port), timeout=5)
        if self.certificate is None:
            return plain
        context = ssl.create_default_context(cafile=str(self.certificate[0]))
        return context.wrap_socket(plain, server_hostname="localhost")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"redis-server ended: {self.log.read_text()}")
        try:
            return bool(self.ask("PING") == b"PONG")
        except (OSError, RedisError):  # not listening yet; or still loading its data
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
        self._process.wait(timeout=20)
        self._process = None


def _command(stream: Any, *command: str | int | bytes) -> Any:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    stream.flush()
    return _reply(stream)


def _reply(stream: BinaryIO) -> Any:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    size = int(rest)
    if size < 0:
        return None
    if kind == b"*":
        return [_reply(stream) for _ in range(size)]
    return stream.read(size + 2)[:-2]
