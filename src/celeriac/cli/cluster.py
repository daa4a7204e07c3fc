"""The words of `celeriac multi` as nodes: which there are, and the command of each. It starts and asks nothing.

Options, ranges and the commands made of them are those of `celery multi` 5.7, compared with it in a test:
`3`, `a b c`, `-c 3 -c:1 5 -Q:1-3 images`, `--hostname`, `--prefix`, `--suffix`, `--range-prefix`, `--cmd`, `--append`.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping

from msgspec import Struct

from ..foundation.identifiers import hostname

#: Options of the command `celeriac`, which stand before `worker`.
_GLOBAL = ("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir")
_GLOBAL_FLAGS = ("-C", "--no-color", "-q", "--quiet")
#: Options for which `~` is the home of whoever starts the nodes.
_PATHS = ("--pidfile", "-p", "--logfile", "-f", "--workdir")
_PIDFILE, _LOGFILE = "/var/run/celery/%n.pid", "/var/log/celery/%n%I.log"

#: Option and value; None for one without.
Options = dict[str, str | None]


class NoSuchNode(Exception):
    """An option names a node that is not there."""


class Words(Struct):
    """What was written, sorted: options for all, options for some, names."""

    options: Options = {}
    some: dict[str, Options] = {}
    names: list[str] = []
    passed_on: str = ""


class Cluster(Struct):
    """The nodes, and the words after their names: the signal is among them."""

    nodes: list[Node]
    rest: list[str]


class Node:
    """One worker: its name and the command that starts it."""

    def __init__(self, name: str, options: Options, *, cmd: str | None, append: str | None, passed_on: str) -> None:
        self.name = name
        self._options = _completed(name, options)
        self._cmd = cmd or "-m celeriac worker --detach"
        self._append = append
        self._passed_on = passed_on

    def expand(self, text: str) -> str:
        """`%n %h %d …` as celery multi has them: here `%h` is the node's whole name, `%d` its host."""
        short, _, host = self.name.partition("@")
        keys = {"n": short or "celery", "N": short, "h": self.name, "p": self.name, "d": host, "i": "%i", "I": "%I"}
        return _substitute(text, keys)

    @property
    def arguments(self) -> str:
        """All but the interpreter, as a shell would take it."""
        head = self.expand(self._cmd).split(" ")
        at = next((i for i, word in enumerate(head) if word in ("celeriac", "celery")), -1) + 1
        tail: list[str] = []
        for name, value in self._options.items():
            shown = _shown(name, self._value(name, value))
            if name in _GLOBAL or name in _GLOBAL_FLAGS:
                head.insert(at, shown)
            else:
                tail.append(shown)
        words = [*head, *tail, self._passed_on, self.expand(self._append) if self._append else ""]
        return " ".join(words).rstrip()

    @property
    def shown(self) -> str:
        return f"{self._executable} {self.arguments}"

    @property
    def command(self) -> list[str]:
        return [self._executable, *shlex.split(self.arguments)]

    @property
    def pidfile(self) -> str:
        """As the worker will expand it once more."""
        short, _, host = self.name.partition("@")
        path = self._value("--pidfile", self._either("--pidfile", "-p"))
        keys = {"n": short, "h": host, "p": self.name, "d": host.partition(".")[2], "i": "0", "I": ""}
        path = _substitute(path or "", keys)
        return os.path.join(os.path.expanduser(self._options.get("--workdir") or ""), path)

    @property
    def folders(self) -> list[str]:
        """Those of pidfile and log, which are made before the start."""
        logfile = self._value("--logfile", self._either("--logfile", "-f"))
        return [folder for path in (self.pidfile, logfile) if path and (folder := os.path.dirname(path))]

    @property
    def _executable(self) -> str:
        return self._options["--executable"] or sys.executable

    def _either(self, long: str, short: str) -> str | None:
        return self._options[long] if long in self._options else self._options[short]

    def _value(self, name: str, value: str | None) -> str | None:
        if value is None:
            return None
        expanded = self.expand(value)
        return os.path.expanduser(expanded) if name in _PATHS else expanded


def parse(words: list[str]) -> Cluster:
    """Raises: NoSuchNode, ValueError for a range that is none or an unknown `%x`."""
    read = _sorted(words)
    options = dict(read.options)

    def take(*names: str) -> str | None:
        found = [options.pop(name, None) for name in names]
        return next((value for value in found if value), None)

    cmd, append, prefix = take("--cmd"), take("--append"), take("--prefix") or ""
    host = take("-n", "--hostname") or hostname()
    suffix = take("--suffix") or host
    suffix = "" if suffix in ('""', "''") else suffix
    range_prefix = take("--range-prefix") or "celery"
    names = read.names
    counted = len(names) == 1 and names[0].lstrip("-").isdigit()
    if counted:
        names, prefix = [str(number) for number in range(1, int(names[0]) + 1)], range_prefix
    some = _by_name(read.some, names, counted)
    nodes = []
    for name in names:
        full = _full_name(name, prefix, suffix)
        own = some.get(full) or some.get(name if "@" not in name else full.partition("@")[0], {})
        merged = {**options, **own}
        nodes.append(Node(full, merged, cmd=cmd, append=append, passed_on=read.passed_on))
    return Cluster(nodes, words)


def _sorted(words: list[str]) -> Words:
    """Names, options for all, options for some. A short option takes the next word if that is none."""
    read, rest = Words(), [word for word in words if word]
    while rest:
        word = rest.pop(0)
        if word == "--":
            read.passed_on = " ".join([word, *rest])
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            _keep(read, name, value if equals else None)
        elif word.startswith("-"):
            _keep(read, word, rest.pop(0) if rest and not rest[0].startswith("-") else None)
        else:
            read.names.append(word)
    return read


def _keep(read: Words, name: str, value: str | None) -> None:
    """`-c 3` is for all, `-c:1-3 5` for some."""
    option, colon, whom = name.partition(":")
    target = read.some.setdefault(whom, {}) if colon else read.options
    target[option] = value


def _by_name(some: Mapping[str, Options], names: list[str], counted: bool) -> dict[str, Options]:
    """Lists, ranges and numbers resolved. A number is a place in the list of names."""
    found: dict[str, Options] = {}
    for whom, options in some.items():
        parts = _parts(whom, counted)
        for part in parts:
            found.setdefault(_named(part, names, strict=len(parts) == 1 or not counted), {}).update(options)
    return found


def _named(part: str, names: list[str], *, strict: bool) -> str:
    if not part.isdigit():
        return part
    at = int(part) - 1
    if at < 0:
        raise NoSuchNode(f"Indexes start at 1 got: {part!r}")
    if at < len(names):
        return names[at]
    if strict:
        raise NoSuchNode(f"No node at index {part!r}")
    return part


def _parts(whom: str, counted: bool) -> list[str]:
    found: list[str] = []
    for part in whom.split(","):
        first, dash, last = part.partition("-")
        if counted and dash:
            found += [str(number) for number in range(int(first), int(last) + 1)]
        else:
            found.append(part)
    return found


def _full_name(name: str, prefix: str, suffix: str) -> str:
    short, _, domain = hostname().partition(".")
    text = name if "@" in name else f"{prefix}{name}@{suffix}"
    return _substitute(text, {"h": hostname(), "n": short, "d": domain, "i": "0", "I": "", "%": "%"})


def _completed(name: str, options: Options) -> Options:
    """With its name, and where pid and log go if nobody said."""
    done = {**options, "-n": name}
    for long, short, default in (("--pidfile", "-p", _PIDFILE), ("--logfile", "-f", _LOGFILE)):
        if long not in done and short not in done:
            done[long] = default
        for each in (long, short):
            if done.get(each):
                done[each] = os.path.expanduser(done[each] or "")
    done.setdefault("--executable", sys.executable)
    return done


def _shown(name: str, value: str | None) -> str:
    if not value:
        return name
    return f"{name}={value}" if name.startswith("--") else f"{name} {value}"


def _substitute(text: str, keys: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        try:
            return keys[match[1]]
        except KeyError:
            raise ValueError(f"Unknown format %{match[1]} in string {text!r}: there are %h %n %d %i %I") from None

    return re.sub(r"%(\w)", value, text)
