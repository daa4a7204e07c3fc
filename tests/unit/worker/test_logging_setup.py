"""Who configures logging: the worker, unless the user has, or has said by a signal that they will."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, signals
from celeriac.foundation import logs
from celeriac.worker import logging_setup
from celeriac.worker.options import WorkerOptions


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(logging_setup, "_inherited", None)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    with Celery("logs", broker="memory://", set_as_current=False) as app:
        yield app.conf
    for signal in (signals.setup_logging, signals.after_setup_logger, signals.after_setup_task_logger):
        signal.receivers.clear()


@contextmanager
def bare_logging() -> Iterator[None]:
    """Logging that nobody has touched (pytest's own handlers are added as a test is called)."""
    loggers = [logging.getLogger(name) for name in ("", "celery", "celery.task")]
    kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = []
    try:
        yield
    finally:
        logs._remove_made()
        for logger, handlers, level, propagate in kept:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        logging.captureWarnings(False)


def set_up(conf: Any, path: Path, index: int = 0) -> None:
    logging_setup.set_up(conf, WorkerOptions(logfile=str(path), loglevel="INFO"), redirect=True, index=index)


@bare_logging()
def test_a_receiver_of_setup_logging_does_it_all(conf: Any, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    stream, before = io.StringIO(), sys.stdout

    @signals.setup_logging.connect
    def mine(**named: Any) -> None:
        heard.append(named)
        logging.basicConfig(stream=stream, level="INFO", format="mine %(message)s")

    set_up(conf, tmp_path / "never.log")
    logging.getLogger("celery.task").info("hello")

    assert stream.getvalue() == "mine hello\n"
    assert sys.stdout is before
    assert not (tmp_path / "never.log").exists()
    (named,) = heard
    assert {"loglevel", "logfile", "format", "colorize"} <= named.keys()
    assert (named["sender"], named["loglevel"], named["logfile"]) == (None, 20, str(tmp_path / "never.log"))


@bare_logging()
def test_what_it_raises_is_raised(conf: Any, tmp_path: Path) -> None:
    @signals.setup_logging.connect
    def broken(**named: Any) -> None:
        raise KeyError("no such handler")

    with pytest.raises(KeyError):
        set_up(conf, tmp_path / "never.log")


@bare_logging()
def test_receivers_add_to_what_was_set_up_once_for_each_file(conf: Any, tmp_path: Path) -> None:
    heard: list[tuple[str, Any, str]] = []

    @signals.after_setup_logger.connect
    def root(logger: Any, logfile: str, format: str, **named: Any) -> None:
        heard.append((logger.name, Path(logfile).name, format))

    @signals.after_setup_task_logger.connect
    def task(logger: Any, logfile: str, format: str, **named: Any) -> None:
        heard.append((logger.name, Path(logfile).name, format))

    for index in (0, 0, 1):  # the template; a runner forked from it; one with a file of its own
        set_up(conf, tmp_path / "w%I.log", index)
    logging.getLogger("any").info("once")
    print("printed")

    formats = conf.worker_log_format, conf.worker_task_log_format
    assert heard == [
        (name, file, format)
        for file in ("w.log", "w-1.log")
        for name, format in zip(("root", "celery.task"), formats, strict=True)
    ]
    assert (tmp_path / "w.log").read_text() == ""
    assert [line.split("] ")[1] for line in (tmp_path / "w-1.log").read_text().splitlines()] == ["once", "printed"]


@pytest.mark.parametrize("hijack", [True, False, None])
@bare_logging()
def test_the_root_logger_is_taken_over_where_the_user_says_so(conf: Any, tmp_path: Path, hijack: bool | None) -> None:
    logging.basicConfig(stream=(stream := io.StringIO()), level="INFO")
    if hijack is not None:
        conf.worker_hijack_root_logger = hijack
    set_up(conf, tmp_path / "w.log")
    logging.getLogger("any").info("hello")

    assert (tmp_path / "w.log").exists() is bool(hijack)
    assert ("hello" in stream.getvalue()) is not bool(hijack)


@bare_logging()
def test_json_by_setting(conf: Any, tmp_path: Path) -> None:
    conf.worker_log_json = True
    set_up(conf, tmp_path / "w.log")
    logging.getLogger("any").info("hello")

    assert json.loads((tmp_path / "w.log").read_text())["message"] == "hello"
