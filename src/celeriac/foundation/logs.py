"""Logging of workers and tasks: Celery's lines, in UTF-8 whatever the locale, and a guest in the user's process.

It configures the root logger only where nobody else has (no handlers), or where the user explicitly asks to be taken
over. It knows no app and no task: who runs what right now is told by a function that `setup` is given.
Celery's guide: "Logging" in Tasks, and the `worker_log_*` settings.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

#: Celery's `worker_log_format` and `worker_task_log_format`.
PROCESS_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"

#: Returns (task name, task id) of what runs in this thread, or None.
Current = Callable[[], tuple[str, str] | None]

_RESERVED = frozenset({"celery", "celery.task"})
_LEVELS = ("DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL")
_COLOURS = {"DEBUG": 34, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}

_base = logging.getLogger("celery")
_tasks = logging.getLogger("celery.task")
_plain_record = logging.getLogRecordFactory()
#: Handlers that `setup` made: a forked process that sets up anew replaces those, and no others.
_made: list[logging.Handler] = []


def get_task_logger(name: str) -> logging.Logger:
    """The logger for a module of tasks: its lines carry the name and the id of the running task.

    Parameters: `name`, usually `__name__`. Raises: RuntimeError for `celery` and `celery.task`, which are ours.
    Celery's guide: Tasks, "Logging".
    """
    if name in _RESERVED:
        raise RuntimeError(f"Logger name {name!r} is reserved!")
    logger = logging.getLogger(name)
    if not _descends(logger, _tasks):
        logger.parent = _tasks
    return logger


def level_number(level: str | int) -> int:
    """A level by name (any case) or number. Raises: ValueError that lists the names."""
    if isinstance(level, int):
        return level
    name = level.strip().upper()
    if name.isdigit():
        return int(name)
    if name not in _LEVELS:
        raise ValueError(f"{level!r} is no log level; choose one of {', '.join(_LEVELS)}")
    number = logging.getLevelName(name)
    assert isinstance(number, int)
    return number


def setup(
    level: str | int,
    *,
    logfile: str | None = None,
    color: bool | None = None,
    format: str = PROCESS_FORMAT,
    task_format: str = TASK_FORMAT,
    datefmt: str | None = None,
    task_datefmt: str | None = None,
    hijack: bool = False,
    structured: bool = False,
    current: Current | None = None,
) -> bool:
    """Configure logging for a service. Returns whether it did: False where the user has configured it already.

    Parameters: `level`, a name or number; `logfile`, a path, else stderr; `color`, None for "on a terminal only";
    `hijack` replaces handlers that stand on the root logger; `structured` writes a JSON object a line, and no format
    counts; `current` tells the running task.
    Raises: ValueError (level), OSError (log file).
    """
    number = level_number(level)
    root = logging.getLogger()
    again = _remove_made()
    if _handled(root):
        if not (hijack or again):
            return False
        for logger in (root, _base, _tasks):
            _clear(logger)
    handler, painted = _handler(logfile, color)
    json_lines = JsonFormatter(current) if structured else None
    handler.setFormatter(json_lines or ColorFormatter(format, datefmt, painted))
    root.addHandler(handler)
    root.setLevel(number)
    if not _handled(_tasks):
        # A second handler on the same stream, since the format depends on the logger and not on the record.
        task_handler, painted = _handler(logfile, color)
        task_handler.setFormatter(json_lines or TaskFormatter(task_format, task_datefmt, painted, current))
        _tasks.addHandler(task_handler)
        _tasks.propagate = False
    _tasks.setLevel(number)
    logging.captureWarnings(True)
    return True


def name_process(name: str) -> None:
    """Make `%(processName)s` say `name` (`MainProcess`, `ForkPoolWorker-1`) in every record of this process.

    Python asks multiprocessing for it, which we do not load and which does not know our runners.
    """

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = _plain_record(*args, **kwargs)
        made.processName = name
        return made

    logging.setLogRecordFactory(record)


def utf8_streams() -> None:
    """Make stdout and stderr write UTF-8 under any locale, and never fail on a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def fill_closed_streams() -> None:
    """Where stdin, stdout or stderr was closed by whoever started us, there is the null device from here on: the next
    socket would get its number, and what we start would take that for its own stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def redirect_stdouts(level: str | int = "WARNING") -> None:
    """Send what tasks print to the log, a line a record (`worker_redirect_stdouts`)."""
    number = level_number(level)
    logger = logging.getLogger("celery.redirected")
    sys.stdout = LoggingProxy(logger, number)
    sys.stderr = LoggingProxy(logger, number)


def wants_color(stream: TextIO, color: bool | None = None) -> bool:
    """Whether to paint on `stream`: as asked, else on a terminal where NO_COLOR is not set."""
    if color is not None and not color:
        return False
    if "NO_COLOR" in os.environ and color is None:
        return False
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # a replaced or closed stream
        return False


class ColorFormatter(logging.Formatter):
    """A line in the colour of its level."""

    def __init__(self, fmt: str | None = None, datefmt: str | None = None, use_color: bool = True) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color
        self._second = -1
        self._text = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """`2030-01-01 12:00:00,123`, local time. All but the milliseconds is kept: it is most of what a line costs."""
        if datefmt:
            return super().formatTime(record, datefmt)
        second = int(record.created)
        if second != self._second:
            self._text, self._second = super().formatTime(record, self.default_time_format), second
        return f"{self._text},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        colour = _COLOURS.get(record.levelname) if self.use_color else None
        return f"\033[1;{colour}m{line}\033[0m" if colour else line


class TaskFormatter(ColorFormatter):
    """Adds `task_name` and `task_id` of the running task, `???` outside of one."""

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        use_color: bool = True,
        current: Current | None = None,
    ) -> None:
        super().__init__(fmt, datefmt, use_color)
        self._current = current

    def format(self, record: logging.LogRecord) -> str:
        running = self._current() if self._current is not None else None
        if running is not None:
            record.task_name, record.task_id = running
        else:
            record.__dict__.setdefault("task_name", "???")
            record.__dict__.setdefault("task_id", "???")
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One object a line, in ASCII: time (ISO, UTC), level, logger, message, process, task, task_id and exception (null
    where there is none), and `extra` where the caller gave some."""

    def __init__(self, current: Current | None = None) -> None:
        super().__init__()
        self._current = current

    def format(self, record: logging.LogRecord) -> str:
        running = self._current() if self._current is not None else None
        task, task_id = running or (getattr(record, "task_name", None), getattr(record, "task_id", None))
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.processName,
            "task": task,
            "task_id": task_id,
            "exception": self._exception(record),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if extra:
            line["extra"] = extra
        try:
            return json.dumps(line, default=_shown)
        except (TypeError, ValueError, RecursionError):  # keys that are no text, or an object within itself
            return json.dumps({**line, "extra": _shown(extra)}, default=_shown)

    def _exception(self, record: logging.LogRecord) -> str | None:
        if record.exc_text is None and record.exc_info and record.exc_info[0] is not None:
            return self.formatException(record.exc_info)
        return record.exc_text


_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "task_name", "task_id"})


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} without a repr>"


class LoggingProxy(io.TextIOBase):
    """A text stream whose lines become log records: one for each `print(…)`, however many pieces it is written in."""

    def __init__(self, logger: logging.Logger, level: int) -> None:
        super().__init__()
        self._logger = logger
        self._level = level
        # A line of one thread is not to be torn by another's; and a handler that fails reports on stderr, which is us.
        self._mine = threading.local()

    def write(self, text: str) -> int:
        self._mine.pending = getattr(self._mine, "pending", "") + text
        if text.endswith("\n"):
            self.flush()
        return len(text)

    def flush(self) -> None:
        rest, self._mine.pending = getattr(self._mine, "pending", ""), ""
        self._record(rest.rstrip("\n"))

    def writable(self) -> bool:
        return True

    def _record(self, lines: str) -> None:
        if not lines.strip() or getattr(self._mine, "busy", False):
            return
        self._mine.busy = True
        try:
            self._logger.log(self._level, "%s", lines)
        finally:
            self._mine.busy = False


# -- inside ------------------------------------------------------------------------------------------------------------


def _descends(logger: logging.Logger, ancestor: logging.Logger) -> bool:
    above: logging.Logger | None = logger
    while above is not None:
        if above is ancestor:
            return True
        above = above.parent
    return False


def _handled(logger: logging.Logger) -> bool:
    return any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def _clear(logger: logging.Logger) -> None:
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def _remove_made() -> bool:
    """Whether there was any: then what stands beside it was added to it, and will be again."""
    again = any(handler in logging.getLogger().handlers for handler in _made)
    for handler in _made:
        for logger in (logging.getLogger(), _tasks):
            logger.removeHandler(handler)
        handler.close()
    _made.clear()
    return again


def _handler(logfile: str | None, color: bool | None) -> tuple[logging.Handler, bool]:
    """The handler, and whether its lines are painted."""
    handler, painted = _new_handler(logfile, color)
    _made.append(handler)
    return handler, painted


def _new_handler(logfile: str | None, color: bool | None) -> tuple[logging.Handler, bool]:
    if logfile is None:
        stream = sys.__stderr__ if sys.__stderr__ is not None else sys.stderr
        return logging.StreamHandler(stream), wants_color(stream, color)
    from logging.handlers import WatchedFileHandler  # loads socket, queue and pickle; follows a rotated file

    return WatchedFileHandler(logfile, encoding="utf-8", errors="backslashreplace"), False
