"""A thin Redis client: one connection (`Link`) and a set of them for threads (`Pool`). It knows the protocol and its
errors, never queues, tasks or results.

redis-py costs 95 ms of import and twice the time a call; what is needed of it fits here. Rules: every read and write
has a deadline; whatever goes wrong closes the link for good (an answer that comes late would be taken for the answer of
the next call); links are never shared by a fork.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, TypeAlias

import hiredis

from ..errors import BrokerError, CeleriacError, OperationalError
from ..foundation.polling import poller
from .redis_address import Address

Word: TypeAlias = str | int | float | bytes
Command: TypeAlias = tuple[Word, ...]
Refusals: TypeAlias = Mapping[str, type[CeleriacError]]

#: An error that the server answered. Links return it as a value, so that one bad reply in a pipeline hides no other.
ReplyError = hiredis.ReplyError
_Push = hiredis.PushNotification
# Its stub has the type of a tuple of one.
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command

_CHUNK = 1 << 16
#: Seconds that `stay_awake` looks; with one processor the server could not run meanwhile.
_AWAKE = 0.00008 if (os.cpu_count() or 1) > 1 else 0.0
_REFUSALS: Refusals = {"": BrokerError}
#: Between two questions to a server that is loading its data set.
_LOADING_PAUSE = 0.05

#: Refusals that pass: the same command may succeed later, so they are outages and not mistakes.
_PASSING = {
    "LOADING": "is still loading its data",
    "BUSY": "is busy with a script; see `SCRIPT KILL` in its manual",
    "READONLY": "is a read-only replica; has there been a failover, and does the URL name the master?",
    "MASTERDOWN": "is a replica without its master",
    "OOM": "is out of memory (`maxmemory`): make room, or let it have more",
    "MISCONF": "refuses writes because it cannot save to disk; see its log",
    "NOREPLICAS": "refuses writes because it has too few replicas",
    "TRYAGAIN": "is moving its keys to another node",
    "CLUSTERDOWN": "belongs to a cluster that is down",
    "UNBLOCKED": "dropped a blocked call in a failover",
}
#: After these the connection itself is of no use any more: the server it leads to is the wrong one.
_FATAL_TO_LINK = frozenset({"READONLY", "MASTERDOWN", "UNBLOCKED"})
#: How servers before 6.0 word it.
_AUTH_TEXTS = ("ERR AUTH", "ERR Client sent AUTH", "ERR invalid password", "ERR invalid username")


class Link:
    """One connection. Not thread-safe; `send` and `read` are apart so that a call can be in flight."""

    __slots__ = ("_pid", "_poll", "_reader", "_refusals", "_socket", "_tls", "address", "known", "pushes", "resp3")

    def __init__(self, address: Address, timeout: float, *, refusals: Refusals = _REFUSALS) -> None:
        """Connect, introduce ourselves, wait while the server loads its data: all within `timeout` seconds.

        `refusals` says what an answered error is raised as, by its first word; `""` stands for all others.
        Raises: OperationalError; what `refusals` names.
        """
        self.address = address
        self.resp3 = True
        #: Out-of-band messages, in order of arrival; whoever reads takes them away.
        self.pushes: list[list[Any]] = []
        #: Free for the owner: what this connection has already told the server.
        self.known: set[str] = set()
        self._refusals = refusals
        self._pid = os.getpid()
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._poll: Any = poller()
        deadline = monotonic() + timeout
        sock = self._connect(deadline)
        self._socket: socket.socket | None = sock
        self._tls = address.tls is not None
        if not self._tls:
            # Python's own timeouts cost a system call to set and one to wait before each send and receive.
            sock.setblocking(False)
        self._poll.register(sock, select.POLLIN)
        try:
            self._greet(deadline)
        except BaseException:
            self.close()
            raise

    # -- calls ----------------------------------------------------------------------------------------------

    def send(self, *commands: Command, deadline: float) -> None:
        """Write all commands at once. `deadline` is an instant of `time.monotonic`. Raises: OperationalError."""
        data = _pack(commands[0]) if len(commands) == 1 else b"".join(map(_pack, commands))
        sock = self._open_socket()
        try:
            if self._tls:
                sock.settimeout(max(deadline - monotonic(), 0.0001))
                sock.sendall(data)
            else:
                _send_all(sock, data, deadline)
        except OSError as error:
            raise self._lost(error) from error
        except BaseException:
            # Half a command may have been written (a signal handler raised): nothing can follow it.
            self.close()
            raise

    def read(self, count: int, deadline: float) -> list[Any]:
        """The next `count` answers; errors among them are `ReplyError` values. Raises: OperationalError."""
        answers: list[Any] = []
        gets = self._reader.gets
        try:
            while len(answers) < count:
                answer = gets()
                if answer is _NOTHING:
                    self._feed(deadline)
                elif type(answer) is _Push:
                    self.pushes.append(answer)
                else:
                    answers.append(answer)
        except hiredis.ProtocolError as error:
            raise self._lost(error) from error
        except BaseException:
            self.close()
            raise
        return answers

    def stay_awake(self) -> None:
        """Look for the answer for a moment without going to sleep: being woken costs a short call more than the rest of
        it (measured: 62 us instead of 100 for one LPUSH, for 10 us more of the processor)."""
        poll, until = self._poll.poll, monotonic() + _AWAKE
        while not poll(0) and monotonic() < until:
            pass

    def call(self, *words: Word, timeout: float) -> Any:
        """Send one command, return its answer. Raises: OperationalError, or what the link raises for a refusal."""
        deadline = monotonic() + timeout
        self.send(words, deadline=deadline)
        return self.check(self.read(1, deadline)[0])

    def check(self, answer: Any) -> Any:
        """The answer, or its error raised."""
        if isinstance(answer, ReplyError):
            raise self.error(answer)
        return answer

    def error(self, answer: Exception) -> CeleriacError:
        """Our error for one that the server answered; closes the link where it is of no more use."""
        text = str(answer)
        code = text.split(" ", 1)[0]
        where = f"Redis at {self.address.text}"
        refused = self._refusals.get(code) or self._refusals[""]
        if code in _PASSING:
            if code in _FATAL_TO_LINK:
                self.close()
            return OperationalError(f"{where} {_PASSING[code]} ({text})")
        if code in ("MOVED", "ASK", "CROSSSLOT"):
            return refused(f"{where} is a node of a Redis Cluster, which is not supported yet ({text})")
        if code in ("NOAUTH", "WRONGPASS") or text.startswith(_AUTH_TEXTS):
            return refused(f"{where} refuses the user or password in {self.address.setting} ({text})")
        if code == "NOPERM":
            return refused(f"{where} does not allow this to the user in {self.address.setting} ({text})")
        return refused(f"{where} answered: {text}")

    # -- pushes ---------------------------------------------------------------------------------------------

    def absorb(self) -> list[Any]:
        """Take what has arrived, without waiting: pushes to `pushes`, answers are returned.

        Raises: OperationalError if the connection is gone.
        """
        answers: list[Any] = []
        try:
            self._feed(monotonic(), at_most_once=True)
            while (answer := self._reader.gets()) is not _NOTHING:
                (self.pushes if type(answer) is _Push else answers).append(answer)
        except hiredis.ProtocolError as error:
            raise self._lost(error) from error
        return answers

    def has_buffered(self) -> bool:
        """Bytes wait on this side of the kernel, where `poll` does not see them."""
        sock: Any = self._socket
        return self._reader.has_data() or bool(self._tls and sock is not None and sock.pending())

    def fileno(self) -> int:
        return self._open_socket().fileno()

    # -- life -----------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Open, of this process, and silent: a connection that can be read from while nothing was asked is lost."""
        sock = self._socket
        if sock is None or self._pid != os.getpid():
            return False
        return not self._poll.poll(0)

    @property
    def closed(self) -> bool:
        return self._socket is None

    def close(self) -> None:
        """For good. Safe twice."""
        sock, self._socket, self._poll = self._socket, None, None
        if sock is not None:
            with contextlib.suppress(OSError):  # somebody has closed its descriptor
                sock.close()

    def __del__(self) -> None:
        # Nobody closes an app: what is dropped is closed without a ResourceWarning. (Unset if connecting failed.)
        if getattr(self, "_socket", None) is not None:
            self.close()

    def _open_socket(self) -> socket.socket:
        sock = self._socket
        if sock is None:
            raise OperationalError(f"the connection to Redis at {self.address.text} is closed")
        return sock

    def _feed(self, deadline: float, at_most_once: bool = False) -> None:
        """Bytes from the socket into the parser."""
        sock = self._open_socket()
        remaining = deadline - monotonic()
        # Even past the deadline what has already arrived is taken: a slow caller is not a slow server.
        try:
            if self._tls:
                sock.settimeout(remaining if remaining > 0.0001 else 0.0001)
            elif not self._poll.poll(1000 * remaining if remaining > 0 else 0):
                raise TimeoutError
            data = sock.recv(_CHUNK)
        except TimeoutError as error:
            if at_most_once:
                return
            raise self._lost(error) from error
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            raise self._lost(None)
        self._reader.feed(data)

    def _lost(self, error: BaseException | None) -> OperationalError:
        """Close, and the error to raise."""
        self.close()
        where = f"Redis at {self.address.text}"
        if error is None:
            return OperationalError(f"{where} closed the connection")
        if isinstance(error, TimeoutError):
            return OperationalError(f"{where} did not answer in time: is it overloaded, stopped or cut off?")
        return OperationalError(f"the connection to {where} was lost ({_reason(error)})")

    # -- connecting -----------------------------------------------------------------------------------------

    def _connect(self, deadline: float) -> socket.socket:
        """A socket to the first address that answers."""
        failure: Exception | None = None
        try:
            for family, target in _targets(self.address):
                try:
                    return self._connect_to(family, target, deadline)
                except OSError as error:  # ssl.SSLError is one
                    # The first failure tells most (`localhost` is tried as ::1 and then as 127.0.0.1), except that
                    # "refused" at one address says nothing about a server that answers badly at the other.
                    if failure is None or isinstance(failure, ConnectionRefusedError):
                        failure = error
        except OSError as error:  # the name does not resolve
            failure = error
        advice = f"is the server running there, and is {self.address.setting} right?"
        if self.address.tls is not None and not isinstance(failure, ConnectionRefusedError):
            advice = f"does it speak TLS there, and are ssl_ca_certs and ssl_cert_reqs of {self.address.setting} right?"
        raise OperationalError(f"cannot reach Redis at {self.address.text} ({_reason(failure)}): {advice}") from failure

    def _connect_to(self, family: int, target: Any, deadline: float) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(deadline - monotonic(), 0.001))
            sock.connect(target)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                _probe_often(sock)
            if self.address.tls is not None:
                sock = self.address.tls_context().wrap_socket(sock, server_hostname=self.address.host)
            return sock
        except BaseException:
            sock.close()
            raise

    def _greet(self, deadline: float) -> None:
        """Protocol version, user, name, database."""
        address = self.address
        hello: list[Word] = ["HELLO", 3]
        if address.password is not None:
            hello += ["AUTH", address.user or "default", address.password]
        if address.client_name:
            hello += ["SETNAME", address.client_name]
        commands: list[Command] = [tuple(hello)]
        if address.db:
            commands.append(("SELECT", address.db))
        commands.append(("PING",))
        self.send(*commands, deadline=deadline)
        answers = self.read(len(commands), deadline)
        if isinstance(answers[0], ReplyError) and _is_old(str(answers[0])):
            answers = self._greet_old(deadline)
        for answer in answers[:-1]:
            self.check(answer)
        self._await_ready(answers[-1], deadline)

    def _greet_old(self, deadline: float) -> list[Any]:
        """The same for servers before 6.0, which speak RESP2 only."""
        self.resp3 = False
        address = self.address
        commands: list[Command] = []
        if address.password is not None:
            commands.append(("AUTH", address.user, address.password) if address.user else ("AUTH", address.password))
        if address.client_name:
            commands.append(("CLIENT", "SETNAME", address.client_name))
        commands += [("SELECT", address.db), ("PING",)]
        self.send(*commands, deadline=deadline)
        return self.read(len(commands), deadline)

    def _await_ready(self, pong: Any, deadline: float) -> None:
        """A server that was just started is there, but must read its data first: that is worth waiting for."""
        while isinstance(pong, ReplyError) and str(pong).startswith(("LOADING", "BUSY")):
            if monotonic() + _LOADING_PAUSE >= deadline:
                break
            sleep(_LOADING_PAUSE)
            self.send(("PING",), deadline=deadline)
            pong = self.read(1, deadline)[0]
        self.check(pong)


class Pool:
    """Links for the threads of a process: each call has one to itself. Holds as many as ever were in use at once."""

    def __init__(self, address: Address, connect_timeout: float, *, refusals: Refusals = _REFUSALS) -> None:
        self.address = address
        self._connect_timeout = connect_timeout
        self._refusals = refusals
        # A plain list: append and pop are atomic, and with no lock there is none that a fork could copy while taken.
        self._idle: list[Link] = []

    def connect(self, timeout: float | None = None) -> Link:
        """A new link that the pool does not own. Raises: OperationalError, or the pool's error for a refusal."""
        limit = self._connect_timeout if timeout is None else min(timeout, self._connect_timeout)
        return Link(self.address, limit, refusals=self._refusals)

    def take(self, timeout: float) -> Link:
        """A link that works as far as can be told without asking; `give` it back."""
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return self.connect(timeout)
            if link.usable:
                return link
            link.close()

    def give(self, link: Link) -> None:
        """Back into the pool, unless it is closed."""
        if not link.closed:
            self._idle.append(link)

    def run(self, *commands: Command, timeout: float) -> list[Any]:
        """All commands in one round trip; the answers.

        Raises: OperationalError; for an error among the answers, the first one.
        """
        deadline = monotonic() + timeout
        link = self.take(timeout)
        # An exception leaves the link out of the pool: `send` and `read` have closed it.
        link.send(*commands, deadline=deadline)
        answers = link.read(len(commands), deadline)
        self.give(link)
        for answer in answers:
            if isinstance(answer, ReplyError):
                raise link.error(answer)
        return answers

    def close(self) -> None:
        """Close what is idle. Safe twice; a later call connects anew."""
        while self._idle:
            self._idle.pop().close()


def _send_all(sock: socket.socket, data: bytes, deadline: float) -> None:
    """All of it through a socket that does not block. Raises: OSError, TimeoutError at the deadline."""
    sent = 0
    while True:
        try:
            sent += sock.send(memoryview(data)[sent:] if sent else data)
        except BlockingIOError:
            pass
        if sent == len(data):
            return
        poll = poller()  # rare: the server reads more slowly than we write
        poll.register(sock, select.POLLOUT)
        if not poll.poll(1000 * max(deadline - monotonic(), 0)):
            raise TimeoutError


class _Nothing:
    """What the parser returns while an answer is incomplete; Redis itself can answer False and None."""


_NOTHING: Any = _Nothing()


def chunks(sizes: Sequence[int], most_items: int = 1000, most_bytes: int = 1 << 20) -> Iterator[tuple[int, int]]:
    """Cut a row of items of these sizes into (start, stop) pieces that each stay within both bounds.

    An item that is too big alone is a piece of its own. Redis serves nobody else while it runs a command: several
    middling ones keep the others' latency low.
    """
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start >= most_items or total + size > most_bytes):
            yield start, index
            start, total = index, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def _targets(address: Address) -> list[tuple[int, Any]]:
    """(family, socket address) to try, in order."""
    if address.path is not None:
        return [(socket.AF_UNIX, address.path)]
    if address.host == "localhost":
        # Whatever /etc/hosts says, a server on this machine may listen on either; a refusal costs nothing.
        return [(socket.AF_INET6, ("::1", address.port)), (socket.AF_INET, ("127.0.0.1", address.port))]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return [(int(family), target) for family, _, _, _, target in found]


def _probe_often(sock: socket.socket) -> None:
    """Keepalive that notices a dead peer within about a minute, where the system lets us say so."""
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _is_old(text: str) -> bool:
    return text.startswith("NOPROTO") or "unknown command" in text.lower()


def _reason(error: BaseException | None) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
