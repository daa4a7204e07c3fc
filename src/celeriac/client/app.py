"""`Celery`: an application - its settings, its tasks, and the way to its broker and results.

It puts the parts together and decides nothing by itself: settings are `settings`' business, names `naming`'s, messages
`publisher`'s, results `result`'s. Celery's guide: Application.
"""

from __future__ import annotations

import os
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from ..errors import ImproperlyConfigured
from ..foundation import dates
from ..foundation.dispatch import Signal
from ..foundation.loading import import_module, symbol
from ..settings import Layer, Settings
from ..signals import import_modules
from . import addresses, autodiscovery, builtin_tasks, calling, construction, current, definition, pickling
from .control import Control
from .lazy import settle
from .naming import created_in, task_name
from .opened import Opened
from .registry import TaskRegistry
from .result import AsyncResult as Result  # `Celery` has attributes of these names
from .result_kinds import ResultKinds
from .task import Task as BaseTask

if TYPE_CHECKING:
    from ..backends.base import Backend
    from ..brokers.base import Broker
    from .autodiscovery import Packages
    from .dead import DeadLetters
    from .publisher import Publisher
    from .waiting import Waits

__all__ = ["App", "Celery"]

P = ParamSpec("P")
R = TypeVar("R")

_ENVVAR_NOT_SET = """\
The environment variable {0!r} is not set, and as such the configuration could not be loaded.

Please set this variable and make sure it points to a valid configuration module.

Example:
    {0}="proj.celeryconfig"
"""


class Celery(ResultKinds):
    """An application.

    `main` is the name of its module, used in task names where that runs as a script. `broker` and `backend` are URLs;
    without any, messages and results live in the embedded queue file. `include` names modules that workers import.
    Every setting may be given as a keyword too. Celery's guide: Application; Configuration and defaults.

    Raises: TypeError for an argument that is none, naming the nearest; ImproperlyConfigured for one that celeriac
    cannot honour.
    """

    #: Class of the registry, of tasks, and of the settings' source: for subclasses to replace, as in Celery.
    registry_cls: type[TaskRegistry] | str = TaskRegistry
    task_cls: type[BaseTask[..., Any]] | str = BaseTask

    #: Sent before the configuration is read; or, as in old code, a method of a subclass.
    on_configure: Any = None
    #: Sent with `source`, the settings, once it has been read; when all tasks are made; in a forked child.
    on_after_configure: Signal
    on_after_finalize: Signal
    on_after_fork: Signal

    def __init__(
        self,
        main: str | None = None,
        loader: Any = None,
        backend: str | None = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,
        tasks: Any = None,
        broker: str | Sequence[str] | None = None,
        include: str | Sequence[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        fixups: Iterable[Any] | None = None,
        task_cls: type[BaseTask[..., Any]] | str | None = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        **settings: Any,
    ) -> None:
        construction.refuse_parts(loader=loader, amqp=amqp, events=events, log=log, control=control)
        construction.refuse_unknown(type(self).__name__, settings)
        given = {"broker_url": broker, "result_backend": backend, "include": include, **settings}
        explicit = {**(changes or {}), **{name: value for name, value in given.items() if value is not None}}
        self.main = main
        #: The module that made the app, and its file (None in an interactive session): the embedded queue lies there.
        self.module, self.main_file = created_in(self)
        self.set_as_current = set_as_current
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.finalized, self._finalizing = False, False
        self.task_cls = task_cls or self.task_cls
        self.namespace = namespace or ""
        self._config_source, self._config_silent = config_source, config_source_silent
        self._make_signals()
        self._conf = Settings(self._load_config, explicit, self.namespace, self._configured)
        self._lock = threading.RLock()
        self._tasks = construction.registry(tasks, symbol(self.registry_cls))
        self._pending: deque[Any] = deque()
        self._duplicates: set[str] = set()
        self._discoveries: list[Callable[[], list[ModuleType]]] = []
        self._imported = False
        self.opened = Opened(self)
        self._fixups = [symbol(fixup)(self) for fixup in fixups or ()]
        if set_as_current:
            self.set_current()
        self.on_init()
        current.register_app(self)

    def _make_signals(self) -> None:
        self._configuring = False
        if self.on_configure is None:
            self.on_configure = Signal(name="app.on_configure")
        self.on_after_configure = Signal(("source",), name="app.on_after_configure")
        self.on_after_finalize = Signal(name="app.on_after_finalize")
        self.on_after_fork = Signal(name="app.on_after_fork")

    def on_init(self) -> None:
        """Called at the end of construction; for subclasses."""

    # -- settings ----------------------------------------------------------------------------------------------------

    @property
    def conf(self) -> Settings:
        """All settings: `app.conf.task_serializer`, `app.conf["…"]`, `app.conf.update(…)`."""
        return self._conf

    @conf.setter
    def conf(self, values: Mapping[str, Any]) -> None:
        self._conf.update(values)

    @property
    def configured(self) -> bool:
        """The configuration has been read."""
        return self._conf.configured

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> Settings | None:
        """Read settings from a module, class, object or mapping, or from what `pkg.module` or `pkg.module:attr` names.

        Read when first needed, or now with `force`. `silent`: a module that does not exist is no error. With
        `namespace` "CELERY" upper-case names count only behind `CELERY_`. What was set explicitly, before or after,
        stays; the object of an earlier call is replaced.

        Raises (at the first need, or now with `force`): ImportError, and whatever the module raises.
        """
        self._config_source, self._config_silent = obj, silent
        self.namespace = namespace or self.namespace
        if self._configuring:  # called by a receiver of `on_configure`: it is read as soon as that returns
            return None
        force = force or self._conf.configured
        self._conf.reload(self._load_config, self.namespace)
        if not force:
            return None
        self._conf.load()
        return self._conf

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> Settings | bool | None:
        """As `config_from_object`, of the module that an environment variable names.

        Raises: ImproperlyConfigured where the variable is not set, unless `silent` (then False).
        """
        name = os.environ.get(variable_name)
        if name:
            return self.config_from_object(name, silent=silent, force=force)
        if silent:
            return False
        raise ImproperlyConfigured(_ENVVAR_NOT_SET.format(variable_name))

    def add_defaults(self, fun: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Settings that count unless set explicitly; a function is asked at once, a mapping copied."""
        self._conf.add_defaults(fun() if callable(fun) else fun)

    def _load_config(self) -> Layer | None:
        self._configuring = True
        try:
            if isinstance(self.on_configure, Signal):
                self.on_configure.send(sender=self)
            else:
                self.on_configure()
        finally:
            self._configuring = False
        return construction.layer(self._config_source, self._config_silent, self.namespace)

    def _configured(self) -> None:
        self.on_after_configure.send(sender=self, source=self._conf)

    # -- tasks -------------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> TaskRegistry:
        """Every task by name. Looking at it finalizes the app.

        Raises: RuntimeError with `autofinalize=False` while the app is not finalized.
        """
        if not self.finalized:
            self.finalize(auto=True)
        return self._tasks

    @cached_property
    def Task(self) -> type[BaseTask[..., Any]]:  # noqa: N802 - Celery's name
        """The base class of this app's tasks. It may be replaced by another (`app.Task = …`)."""
        base = symbol(self.task_cls)
        body = {
            "_app": self,
            "__bound__": False,
            "abstract": True,
            "__module__": base.__module__,
            "__doc__": base.__doc__,
        }
        return type("Task", (base,), body)

    @overload
    def task(self, fun: Callable[P, R], /) -> BaseTask[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **options: Any) -> Callable[[Callable[..., R]], BaseTask[..., R]]: ...
    @overload
    def task(self, **options: Any) -> Callable[[Callable[P, R]], BaseTask[P, R]]: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: `@app.task`, or with options `@app.task(bind=True, max_retries=5)`.

        `name`, `bind` (the task is the first argument), `base` (its class), `shared` (other apps of the process get it
        too), `lazy` (make it at first use), and every attribute of `Task`. Celery's guide: Tasks.

        Raises: TypeError where the argument is not callable.
        """
        return definition.decorate(self, args, options)

    def register_task(self, task: Any, **options: Any) -> BaseTask[..., Any]:
        """Register a task class or an instance of one. Another task of that name is replaced, with a warning."""
        return definition.register(self, task, options)

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task that was given none; for subclasses to override. Celery's guide: Tasks, "Names"."""
        return task_name(self.main, name, module)

    def finalize(self, auto: bool = False) -> None:
        """Make every task that was only promised, and bind all to the settings. Happens by itself at first use.

        Raises: RuntimeError where it would happen by itself and `autofinalize` is False.
        """
        if auto and not (self.finalized or self.autofinalize):
            raise RuntimeError("Contract breach: app not finalized")
        self._conf.load()  # may import, which must not happen under a lock
        with self._lock:
            if self.finalized or self._finalizing:
                return
            self._finalizing = True
            try:
                self._finalize()
            finally:
                self._finalizing = False
            self.finalized = True  # not before: other threads must not see half a registry
        self.on_after_finalize.send(sender=self)

    def _finalize(self) -> None:
        self._settle_pending()
        # Own tasks first: a task that another app shares under the same name must not take its place.
        for share in current.finalizers():
            share(self)
        for task in list(self._tasks.values()):
            task.bind(self)
        builtin_tasks.register(self)
        self._settle_pending()  # what was decorated meanwhile

    def _settle_pending(self) -> None:
        while self._pending:
            settle(self._pending.popleft())

    # -- modules -----------------------------------------------------------------------------------------------------

    def autodiscover_tasks(
        self, packages: Packages | None = None, related_name: str | None = "tasks", force: bool = False
    ) -> list[ModuleType] | None:
        """Have workers import `<package>.<related_name>` of each package (or of what a function returns then).

        `related_name` None imports the packages themselves; `force` imports now. A package without such a module is
        passed over in silence; an error inside a module is not. Celery's guide: Configuration, "Automatic discovery".
        """

        def discover() -> list[ModuleType]:
            return autodiscovery.find_related(packages, related_name, self._fixups)

        if force:
            return discover()
        self._discoveries.append(discover)
        return None

    def import_modules(self) -> list[ModuleType]:
        """Import what defines tasks, as a worker does when it starts: autodiscovery, `imports`, `include`. Once.

        Raises: whatever a module raises, with its own traceback.
        """
        if self._imported:
            return []
        for _, answer in import_modules.send(sender=self):
            if isinstance(answer, Exception):
                raise answer
        found = [module for discover in self._discoveries for module in discover()]
        names = autodiscovery.names_of(self.conf.imports) + autodiscovery.names_of(self.conf.include)
        found += [import_module(name) for name in names]
        self._imported = True
        return found

    # -- calls and results -------------------------------------------------------------------------------------------

    def send_task(
        self, name: str, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Result[Any]:
        """Send a call by the task's name; it need not be known here. Options as for `Task.apply_async`.

        Raises: TypeError, EncodeError, OperationalError. Celery's guide: Calling tasks.
        """
        return calling.send_task(self, name, args, kwargs, options)

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def timezone(self) -> tzinfo:
        """The zone of local times: the setting `timezone`, else UTC, or the system's with `enable_utc` off.

        Raises: ImproperlyConfigured for a zone that does not exist.
        """
        conf = self._conf
        try:
            return dates.zone(conf.timezone) if conf.timezone or not conf.enable_utc else UTC
        except ValueError as error:
            raise ImproperlyConfigured(f"timezone: {error}") from None

    def now(self) -> datetime:
        """The present, in the app's zone."""
        return datetime.now(UTC).astimezone(self.timezone)

    def uses_utc_timezone(self) -> bool:
        """The app's zone is UTC."""
        return self.timezone is UTC

    # -- what is open ------------------------------------------------------------------------------------------------

    @property
    def broker_url(self) -> str:
        """Where messages go, password included: mask it before showing it."""
        return addresses.broker_url(self._conf)

    @property
    def backend_url(self) -> str | None:
        """Where results are kept, password included; None: nowhere."""
        return addresses.backend_url(self._conf)

    @property
    def broker(self) -> Broker:
        """This process's broker; it connects at first use."""
        return self.opened.broker

    @property
    def backend(self) -> Backend:
        """This process's result backend. Reading raises NotImplementedError where none is configured."""
        return self.opened.backend

    @property
    def publisher(self) -> Publisher:
        """The way out for all calls of this process."""
        return self.opened.publisher

    @cached_property
    def control(self) -> Control:
        """Orders to the workers: `app.control.revoke(task_id)`. Celery's guide: Workers."""
        return Control(self)

    @cached_property
    def dead(self) -> DeadLetters:
        """Dead letters: `app.dead.list(reason="failed")`, `app.dead.requeue(task="shop.*", rate="10/s")`."""
        from .dead import DeadLetters  # most programs never look

        return DeadLetters(self)

    @property
    def waits(self) -> Waits:
        """The common wait for results of this process."""
        return self.opened.waits

    def open_broker(self) -> Broker:
        """Another broker by the settings, not opened yet; the caller's own. Workers read from it."""
        return self.opened.new_broker(write=False)

    def open_backend(self) -> Backend:
        """Another result backend by the settings, not opened yet; the caller's own."""
        return self.opened.new_backend()

    def close(self) -> None:
        """Close what is open and step back as current app. For apps made on the fly: `with Celery(…) as app`."""
        self.opened.close()
        current.forget_app(self)

    # -- the current one ---------------------------------------------------------------------------------------------

    def set_current(self) -> None:
        """Make this the app of this thread."""
        current.set_current_app(self)

    def set_default(self) -> None:
        """Make this the app of all threads that have none of their own."""
        current.set_default_app(self)

    @property
    def current_task(self) -> BaseTask[..., Any] | None:
        """The task that runs here, or None."""
        return current.get_current_task()

    @property
    def current_worker_task(self) -> BaseTask[..., Any] | None:
        """The task that a worker runs here, whatever it calls directly; or None."""
        return current.get_current_worker_task()

    # -- commands ----------------------------------------------------------------------------------------------------

    def start(self, argv: Sequence[str] | None = None) -> Any:
        """Run the command line with this app and return the exit code. `argv` comes without the program's name."""
        # By name: commands stand floors above, and who only publishes must not pay for them.
        command = symbol("celeriac.cli.main:main")
        return command(_without_program(argv), app=self)

    def worker_main(self, argv: Sequence[str] | None = None) -> Any:
        """As `start`, for the `worker` command. Raises: ValueError where `argv` has no `worker`."""
        given = _without_program(argv)
        if "worker" not in given:
            raise ValueError(
                "The worker sub-command must be specified in argv.\n"
                "Use app.start() to programmatically start other commands."
            )
        return self.start(given)

    # -- itself ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Celery:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> Any:
        return pickling.reduce_app(self)

    __class_getitem__: Any = classmethod(types.GenericAlias)


def _without_program(argv: Sequence[str] | None) -> list[str]:
    """The arguments alone: some pass `sys.argv` itself, whose first is the script."""
    given = list(sys.argv if argv is None else argv)
    return given[1:] if given[:1] == sys.argv[:1] else given


#: The same, for who prefers it.
App = Celery

current.provide_default(lambda: construction.default_app(Celery))
