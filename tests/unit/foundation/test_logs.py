"""Celery's log lines, in UTF-8, without taking the user's logging away."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from celeriac.foundation import logs


@contextmanager
def bare_logging() -> Iterator[None]:
    """Logging as a new process has it; pytest's own handlers (added as a test is called) come back afterwards."""
    loggers = [logging.getLogger(name) for name in ("", "celery", "celery.task")]
    kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = []
    try:
        yield
    finally:
        for logger, handlers, level, propagate in kept:
            for handler in logger.handlers:
                handler.close()
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        logging.setLogRecordFactory(logging.LogRecord)
        logging.captureWarnings(False)


@bare_logging()
def test_lines_are_celerys(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    assert logs.setup("info", logfile=str(file), current=lambda: ("proj.add", "id-1"))
    logs.name_process("ForkPoolWorker-1")
    logging.getLogger("celery.worker").info("ready")
    logs.get_task_logger("proj.tasks").warning("短信 sent")
    logging.getLogger("celery.worker").debug("not shown")
    first, second = file.read_text(encoding="utf-8").splitlines()
    stamp = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "
    assert re.fullmatch(stamp + r"INFO/ForkPoolWorker-1\] ready", first)
    assert re.fullmatch(stamp + r"WARNING/ForkPoolWorker-1\] proj.add\[id-1\]: 短信 sent", second)


@bare_logging()
def test_the_users_own_configuration_is_left_alone(tmp_path: Path) -> None:
    stream = io.StringIO()
    logging.basicConfig(stream=stream, level="INFO", format="mine %(message)s")
    assert not logs.setup("DEBUG", logfile=str(tmp_path / "never.log"))
    logs.get_task_logger("proj.other").info("hello")
    assert stream.getvalue() == "mine hello\n"
    assert not (tmp_path / "never.log").exists()


@bare_logging()
def test_hijacking_replaces_it_when_asked(tmp_path: Path) -> None:
    stream = io.StringIO()
    logging.basicConfig(stream=stream, level="INFO")
    assert logs.setup("INFO", logfile=str(tmp_path / "w.log"), hijack=True)
    logging.getLogger("anything").info("hello")
    assert stream.getvalue() == ""
    assert (tmp_path / "w.log").read_text().endswith("hello\n")


def test_outside_a_task_there_is_no_name() -> None:
    formatter = logs.TaskFormatter("%(task_name)s[%(task_id)s] %(message)s", None, False, lambda: None)
    assert formatter.format(_record("x")) == "???[???] x"


@pytest.mark.parametrize("name", ["celery", "celery.task"])
def test_reserved_names(name: str) -> None:
    with pytest.raises(RuntimeError, match=f"Logger name '{name}' is reserved!"):
        logs.get_task_logger(name)


def test_children_of_the_task_logger_stay_where_they_are() -> None:
    logger = logs.get_task_logger("celery.task.mine")
    assert logger.parent is logging.getLogger("celery.task")


@pytest.mark.parametrize(
    ("given", "number"), [("info", 20), ("WARN", 30), ("fatal", 50), (10, 10), ("15", 15), (" error ", 40)]
)
def test_levels_by_any_name(given: str | int, number: int) -> None:
    assert logs.level_number(given) == number


def test_an_unknown_level_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'loud' is no log level; choose one of DEBUG, INFO"):
        logs.level_number("loud")


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert logs.wants_color(Terminal())
    assert not logs.wants_color(Terminal(), False)
    assert not logs.wants_color(io.StringIO())
    assert not logs.wants_color(io.StringIO(), True)
    monkeypatch.setenv("NO_COLOR", "")
    assert not logs.wants_color(Terminal())
    painted = logs.ColorFormatter("%(message)s", use_color=True)
    assert painted.format(_record("x", logging.ERROR)) == "\033[1;31mx\033[0m"
    assert painted.format(_record("x", logging.INFO)) == "x"


def test_time_is_the_same_as_loggings_own() -> None:
    ours, plain = logs.ColorFormatter("%(asctime)s"), logging.Formatter("%(asctime)s")
    for created in (1_700_000_000.25, 1_700_000_000.999, 1_700_000_001.0):
        record = _record("x")
        record.created, record.msecs = created, int(created % 1 * 1000)
        assert ours.format(record) == plain.format(record)
    assert logs.ColorFormatter("%(asctime)s", "%H").format(_record("x")).isdigit()


def test_what_a_task_prints_becomes_one_record_a_print(caplog: pytest.LogCaptureFixture) -> None:
    proxy = logs.LoggingProxy(logging.getLogger("celery.redirected"), logging.WARNING)
    print("hello", "100%", 5, file=proxy)
    print(file=proxy)
    print("two\nlines", file=proxy)
    print("a piece", end="", file=proxy)
    assert caplog.messages == ["hello 100% 5", "two\nlines"]
    proxy.flush()
    assert caplog.messages[2:] == ["a piece"]


def test_a_handler_that_prints_does_not_loop(caplog: pytest.LogCaptureFixture) -> None:
    proxy = logs.LoggingProxy(logging.getLogger("celery.redirected"), logging.WARNING)

    class Loud(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("the disk is full", file=proxy)

    handler = Loud()
    logging.getLogger("celery.redirected").addHandler(handler)
    try:
        print("hello", file=proxy)
    finally:
        logging.getLogger("celery.redirected").removeHandler(handler)
    assert caplog.messages == ["hello"]


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LANG": "C"}, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_chinese_under_any_locale(locale: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, logging\n"
        "from celeriac.foundation import logs\n"
        "logs.utf8_streams()\n"
        "logs.setup('INFO', logfile=sys.argv[1] if len(sys.argv) > 1 else None)\n"
        "logging.warning('短信已发送 \\udcff')\n"
        "print('短信已发送')\n",
        encoding="utf-8",
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    for arguments in ([], [str(tmp_path / "out.log")]):
        command = [sys.executable, "-X", "utf8=0", str(script), *arguments]
        run = subprocess.run(command, env={**environment, **locale}, capture_output=True, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout.decode("utf-8") == "短信已发送\n"
        log = run.stderr if not arguments else (tmp_path / "out.log").read_bytes()
        assert log.decode("utf-8").endswith("短信已发送 \\udcff\n")


def test_streams_that_whoever_started_us_closed_are_filled(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, subprocess, sys\n"
        "from celeriac.foundation import logs\n"
        "logs.fill_closed_streams()\n"
        "print('lost'); print('lost', file=sys.stderr)\n"
        "here = [os.readlink(f'/proc/self/fd/{number}') for number in range(3)]\n"
        "code = 'import os; [os.fstat(number) for number in range(3)]'\n"
        "code = subprocess.call([sys.executable, '-c', code])\n"
        "open(sys.argv[1], 'w').write(f'{here} {code}')\n"
    )
    told = tmp_path / "told"
    command = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable, str(script), str(told)]
    assert subprocess.call(command) == 0
    assert told.read_text() == f"{['/dev/null'] * 3} 0"


def _record(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("name", level, "file", 1, message, (), None)


@bare_logging()
def test_structured_lines_are_one_object_each(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    assert logs.setup("INFO", logfile=str(file), structured=True, current=lambda: ("proj.add", "id-1"))
    logs.name_process("ForkPoolWorker-1")
    within: list[object] = []
    within.append(within)
    try:
        raise ValueError("短信\nno")
    except ValueError:
        logging.getLogger("mine").exception("two\nlines %s", "短信", extra={"order": 7, "odd": {1: object()}})
    logs.get_task_logger("proj.tasks").warning("half %s", "\ud800", extra={"ring": within})
    first, second = map(json.loads, file.read_text(encoding="ascii").splitlines())

    assert datetime.fromisoformat(first.pop("time")).utcoffset() == timedelta(0)
    assert "ValueError: 短信" in first.pop("exception")
    assert first.pop("extra")["order"] == 7
    assert first == {
        "level": "ERROR",
        "logger": "mine",
        "message": "two\nlines 短信",
        "process": "ForkPoolWorker-1",
        "task": "proj.add",
        "task_id": "id-1",
    }
    assert (second["message"], second["exception"], second["logger"]) == ("half \ud800", None, "proj.tasks")


@bare_logging()
def test_setting_up_again_replaces_what_was_set_up_before(tmp_path: Path) -> None:
    logs.setup("INFO", logfile=str(tmp_path / "0.log"))
    added = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(added))
    assert logs.setup("INFO", logfile=str(tmp_path / "1.log"))
    logging.getLogger("mine").info("hello")
    assert (tmp_path / "0.log").read_text() == added.getvalue() == ""
    assert (tmp_path / "1.log").read_text().count("hello") == 1
