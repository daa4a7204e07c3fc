"""`celeriac multi`: start, restart, stop, stopwait, kill, show, names, expand, get - many nodes of one machine at once.

Names, ranges, options and what is printed are those of `celery multi`. It starts nodes with `celeriac worker --detach`
and finds them by their pidfiles; it knows nothing else of them. What the words mean is `cluster`'s business.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import click

from ..worker.daemon import read_pid, runs_since
from .cluster import Cluster, Node, NoSuchNode, parse
from .session import Session

#: Seconds between looks at nodes that are to end.
_LOOK = 0.1

USAGE = """\
usage: celeriac multi start <node1 node2 nodeN|range> [worker options]
       celeriac multi stop <n1 n2 nN|range> [-SIG (default: -TERM)]
       celeriac multi stopwait <n1 n2 nN|range> [-SIG (default: -TERM)]
       celeriac multi restart <n1 n2 nN|range> [-SIG] [worker options]
       celeriac multi kill <n1 n2 nN|range>

       celeriac multi show <n1 n2 nN|range> [worker options]
       celeriac multi get hostname <n1 n2 nN|range> [-qv] [worker options]
       celeriac multi names <n1 n2 nN|range>
       celeriac multi expand template <n1 n2 nN|range>
       celeriac multi help

additional options (must appear after command name):

    * --nosplash:   Don't display program info.
    * --quiet:      Don't show as much output.
    * --verbose:    Show more output.
    * --no-color:   Don't display colors.
"""
_FLAGS = ("--nosplash", "--quiet", "-q", "--verbose", "--no-color")


class _Unparsed(click.Command):
    """Every word is ours to read: `-c:1-3 5` is no option that click knows."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params = {"words": tuple(args)}
        return []


@click.command(cls=_Unparsed, add_help_option=False, help="Start, stop and restart many nodes of this machine.")
@click.pass_obj
def multi(session: Session, words: tuple[str, ...]) -> int:
    given = [word for word in words if word not in _FLAGS]
    if not given or given[0].startswith("-"):
        print(USAGE)
        return 0 if words in (("--help",), ("-h",)) else 1
    flags = {word for word in words if word in _FLAGS}
    command, *rest = given
    tool = Multi(_before(session) + rest, quiet=session.quiet or bool(flags & {"--quiet", "-q"}), flags=flags)
    if command not in _COMMANDS:
        print(f"Invalid command: {command}", file=sys.stderr)
        print(USAGE)
        return 1
    try:
        return _COMMANDS[command](tool)
    except NoSuchNode as error:
        raise click.UsageError(str(error)) from None


def _before(session: Session) -> list[str]:
    """The options that stood before `multi`, as options of the nodes."""
    given = {"-A": session.app_name, "-b": session.broker, "--config": session.config, "--workdir": session.workdir}
    words = [word for name, value in given.items() if value for word in _option(name, value)]
    words += _option("--result-backend", session.backend) if session.backend else []
    return words + (["--no-color"] if session.no_color else [])


def _option(name: str, value: str) -> list[str]:
    return [f"{name}={value}"] if name.startswith("--") else [name, value]


class Multi:
    """One command over the words that follow it."""

    def __init__(self, words: list[str], *, quiet: bool, flags: Iterable[str]) -> None:
        self._words = words
        self._quiet = quiet
        self._verbose = "--verbose" in flags
        self._splash = "--nosplash" not in flags

    # -- commands ----------------------------------------------------------------------------------------------------

    def start(self) -> int:
        self._hello()
        self._note("> Starting nodes...")
        codes = [self._start(node, f"\t> {node.name}: ") for node in self._cluster().nodes]
        return int(any(codes))

    def stop(self) -> int:
        """Send the signal, and wait for nothing: it says so."""
        self._hello()
        self._end(self._cluster(), lambda node: None, wait=False)
        return 0

    def stopwait(self) -> int:
        self._hello()
        self._end(self._cluster(), lambda node: self._note(f"\t> {node.name}: OK"), wait=True)
        return 0

    def restart(self) -> int:
        """Each is started again as soon as it has ended."""
        self._hello()
        codes: list[int] = []
        again = lambda node: codes.append(self._start(node, f"> Restarting node {node.name}: "))  # noqa: E731
        self._end(self._cluster(), again, wait=True, down=again)
        return int(any(codes))

    def kill(self) -> int:
        self._hello()
        for node in self._cluster().nodes:
            pid = _pid(node)
            if pid is None:
                self._note(f"> {node.name}: DOWN")
                continue
            self._note(f"Sending KILL to node {node.name} ({pid})")
            self._signal(node, pid, signal.SIGKILL)
        return 0

    def names(self) -> int:
        print("\n".join(node.name for node in self._cluster().nodes))
        return 0

    def show(self) -> int:
        print("\n".join(node.shown for node in self._cluster().nodes))
        return 0

    def expand(self) -> int:
        if not self._words:
            return _usage()
        template = self._first()
        print("\n".join(node.expand(template) for node in self._cluster().nodes))
        return 0

    def get(self) -> int:
        """What one node is started with."""
        if not self._words:
            return _usage()
        wanted = self._first()
        for node in self._cluster().nodes:
            if node.name == wanted:
                print(node.arguments)
                return 0
        return 1

    # -- inside ------------------------------------------------------------------------------------------------------

    def _cluster(self) -> Cluster:
        return parse(self._words)

    def _first(self) -> str:
        """The first word that is no option, which is not a node here."""
        at = next((i for i, word in enumerate(self._words) if self._is_plain(i, word)), 0)
        return self._words.pop(at)

    def _is_plain(self, at: int, word: str) -> bool:
        before = self._words[at - 1] if at else ""
        return not word.startswith("-") and not (before.startswith("-") and not before.startswith("--"))

    def _start(self, node: Node, heading: str) -> int:
        self._note(heading, end="")
        for folder in node.folders:
            os.makedirs(folder, exist_ok=True)
        command = node.command
        if self._verbose:
            self._note(f"  {' '.join(command)}")
        sys.stdout.flush()
        code = subprocess.run(command, check=False).returncode
        if code < 0:
            self._note(f"* Child was terminated by signal {-code}")
        elif code:
            self._note(f"* Child terminated with exit code {code}")
        self._note("FAILED" if code else "OK")
        return abs(code)

    def _end(
        self, cluster: Cluster, gone: Callable[[Node], None], *, wait: bool, down: Callable[[Node], None] | None = None
    ) -> None:
        number = _signal_of(cluster.rest)
        there = [(node, pid) for node in cluster.nodes if (pid := _pid(node)) is not None]
        for node in cluster.nodes:
            if all(node is not each for each, _ in there):
                if down is None:
                    self._note(f"> {node.name}: DOWN")
                else:
                    down(node)
        if not there:
            return
        self._note("> Stopping nodes...")
        for node, pid in there:
            self._note(f"\t> {node.name}: {signal.Signals(number).name.removeprefix('SIG')} -> {pid}")
            self._signal(node, pid, number)
        if wait:
            self._wait(there, gone)
        else:
            self._note("> Not waiting: tasks that run end first, then the nodes (stopwait waits for them)")

    def _wait(self, left: list[tuple[Node, int]], gone: Callable[[Node], None]) -> None:
        self._waiting(left)
        began = time.time()
        while left:
            ended = [(node, pid) for node, pid in left if not runs_since(pid, began)]
            left = [each for each in left if each not in ended]
            for node, _ in ended:
                gone(node)
            if ended:
                self._waiting(left)
            elif left:
                time.sleep(_LOOK)

    def _waiting(self, left: list[tuple[Node, int]]) -> None:
        if left:
            pids = ", ".join(str(pid) for _, pid in left)
            self._note(f"> Waiting for {len(left)} {'node' if len(left) == 1 else 'nodes'} -> {pids}...")

    def _signal(self, node: Node, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            self._note(f"Could not signal {node.name} ({pid}): No such process")
        except PermissionError:
            self._note(f"Could not signal {node.name} ({pid}): it belongs to another user")

    def _hello(self) -> None:
        if self._splash:
            from ..foundation.version import __version__

            self._note(f"celeriac multi v{__version__}")

    def _note(self, text: str, end: str = "\n") -> None:
        if not self._quiet:
            print(text, end=end, flush=True)


_COMMANDS: dict[str, Callable[[Multi], int]] = {
    "start": Multi.start,
    "stop": Multi.stop,
    "stopwait": Multi.stopwait,
    "stop_verify": Multi.stopwait,
    "restart": Multi.restart,
    "kill": Multi.kill,
    "names": Multi.names,
    "show": Multi.show,
    "expand": Multi.expand,
    "get": Multi.get,
    "help": lambda tool: _usage(0),
}


def _usage(code: int = 1) -> int:
    print(USAGE)
    return code


def _pid(node: Node) -> int | None:
    """Of a node that runs; what a dead one has left behind does not count."""
    with suppress(OSError, ValueError):
        pid = read_pid(node.pidfile)
        if pid is not None and runs_since(pid, os.stat(node.pidfile).st_mtime):
            return pid
    return None


def _signal_of(words: Iterable[str]) -> int:
    """`-9`, `-KILL`, `-SIGKILL`: the last of them; else TERM."""
    for word in reversed(list(words)):
        name = word[1:] if word.startswith("-") else ""
        if name.isdigit() and len(name) == 1:
            return int(name)
        found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
        if isinstance(found, signal.Signals):
            return int(found)
    return int(signal.SIGTERM)
