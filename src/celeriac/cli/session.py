"""What the command line said about the app, and the app once it is loaded. One object a command, passed on by click."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from ..errors import CeleriacError
from ..foundation.loading import cwd_on_path, find_app, module_name_of

if TYPE_CHECKING:
    from ..client.app import Celery


class LoadError(click.ClickException):
    """The user's own code failed while it was imported; `cause` has the traceback that says where."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Session:
    """The options that every command has, given before or after its name: the latter win."""

    def __init__(self, app: Celery | None = None) -> None:
        self._app = app
        self.app_name: str | None = None
        self.broker: str | None = None
        self.backend: str | None = None
        self.workdir: str | None = None
        self.config: str | None = None
        self.no_color = False
        self.quiet = False

    @property
    def app_text(self) -> str:
        """What `-A` names, or the module of the app whose `start` was called, or CELERY_APP; empty if none does."""
        if self.app_name is None and self._app is not None:
            return module_name_of(self._app.module)
        return self.app_name or os.environ.get("CELERY_APP", "")

    def load(self, *, tasks: bool = False) -> Celery:
        """The app, with the options of the command line laid over its settings; `tasks` imports its task modules too.

        Without `-A` a broker must be named: the app is then an empty one on that broker.
        Raises: UsageError, LoadError.
        """
        from ..client.app import Celery  # not before a command needs it: `--version` and `--help` do not

        self.enter_workdir()
        if not self.app_text and not self.broker:
            raise click.UsageError("name your application with -A (-A proj, -A proj.module:app), or a broker with -b")
        try:
            app = self._find(Celery)
            if self.config:
                app.config_from_object(self.config)
            given = {"broker_url": self.broker, "result_backend": self.backend}
            app.conf.update({name: value for name, value in given.items() if value})
            app.conf.broker_url  # noqa: B018 - settings are read on first use: let them fail here, where it is told well
            if tasks:
                app.import_modules()
        except (CeleriacError, click.ClickException):
            raise
        except Exception as error:  # importing runs the user's code: it may raise anything
            raise LoadError(error) from error
        return app

    def _find(self, kind: type[Celery]) -> Celery:
        if self._app is not None and self.app_name is None:
            return self._app
        return find_app(self.app_text, kind) if self.app_text else kind("celeriac", set_as_current=False)

    def enter_workdir(self) -> None:
        """Change to `--workdir`, and let the app be imported from there."""
        if self.workdir is not None:
            try:
                os.chdir(self.workdir)
            except OSError as error:
                raise click.UsageError(f"--workdir {self.workdir}: {error.strerror}") from None
        cwd_on_path()


def queue_names(app: Celery, named: Iterable[str] = (), exclude: Iterable[str] = ()) -> list[str]:
    """The queues that a command is about: those named, else all that are configured; never those excluded."""
    left_out = set(exclude)
    return [name for name in dict.fromkeys(named or configured_queues(app)) if name not in left_out]


def configured_queues(app: Celery) -> list[str]:
    """`task_queues` (a mapping, or a list of names or of objects with a name), else the default queue."""
    queues = app.conf.task_queues
    if not queues:
        return [app.conf.task_default_queue]
    return [queue if isinstance(queue, str) else queue.name for queue in queues]
