"""`Task`: a callable with a name and options, and every way to call it.

It merges options and hands over: messages are made and sent by `publisher`, retries decided by `retrying`, inline runs
done by `execution` (through `inline_hook`). It stores nothing and waits for nothing.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Token
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, ParamSpec, TypeVar, cast

from ..errors import MaxRetriesExceededError, OperationalError, Retry
from ..foundation.identifiers import uuid4_text
from . import asynchronous, calling, current, inline_hook, reporting, retrying
from .arguments import checker
from .composing import Composing
from .eager_result import EagerResult
from .progress import state_record
from .request import Context
from .result import AsyncResult
from .template import Template, as_list

if TYPE_CHECKING:
    from .app import Celery
    from .canvas.signature import Signature

__all__ = ["Task", "make_task"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

#: Attributes that are None until the app's settings fill them in, with the setting's name.
_FROM_SETTINGS = (
    ("serializer", "task_serializer"),
    ("rate_limit", "task_default_rate_limit"),
    ("priority", "task_default_priority"),
    ("time_limit", "task_time_limit"),
    ("soft_time_limit", "task_soft_time_limit"),
    ("track_started", "task_track_started"),
    ("acks_late", "task_acks_late"),
    ("acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"),
    ("acks_on_failure", "task_acks_on_failure"),
    ("acks_on_timeout", "task_acks_on_timeout"),
    ("reject_on_worker_lost", "task_reject_on_worker_lost"),
    ("retry_on_worker_lost", "task_retry_on_worker_lost"),
    ("ignore_result", "task_ignore_result"),
    ("store_eager_result", "task_store_eager_result"),
    ("store_errors_even_if_ignored", "task_store_errors_even_if_ignored"),
    ("dead_letter", "task_dead_letter"),
    ("dead_letter_requeue_after", "task_dead_letter_requeue_after"),
    ("dead_letter_max_requeues", "task_dead_letter_max_requeues"),
)


class Task(Generic[P, R_co], Composing):
    """Base of all tasks. Attributes, their defaults and the methods are Celery's (guide: Tasks).

    `@app.task` makes a subclass per function. A class of one's own is given by `base=`, or registered by
    `app.register_task`; it then defines `run`.
    """

    MaxRetriesExceededError: ClassVar[type[Exception]] = MaxRetriesExceededError
    OperationalError: ClassVar[type[Exception]] = OperationalError
    Strategy: ClassVar[str] = "celery.worker.strategy:default"
    Request: ClassVar[str] = "celery.worker.request:Request"

    _app: ClassVar[Celery | None] = None
    #: Unique in the app; the message carries it.
    name: str = cast("str", None)
    #: Check arguments against the signature of `run` before sending. None: the app's `strict_typing`.
    typing: bool | None = None
    #: None: for ever.
    max_retries: int | None = 3
    #: Seconds.
    default_retry_delay: float = 3 * 60
    rate_limit: str | int | float | None = None
    ignore_result: bool | None = None
    #: Results of tasks called by this one are listed in its result's `children`.
    trail: bool = True
    send_events: bool = True
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    serializer: str | None = None
    #: Seconds; the process is killed.
    time_limit: float | None = None
    #: Seconds; `SoftTimeLimitExceeded` is raised in the task.
    soft_time_limit: float | None = None
    track_started: bool | None = None
    #: None: after the run; False: before it, as Celery does where nothing is set.
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    #: A failure that is final is kept as a dead letter too; sent again after so many seconds (None: by nobody but an
    #: operator), so many times.
    dead_letter: bool | None = None
    dead_letter_requeue_after: timedelta | float | None = None
    dead_letter_max_requeues: int | None = None
    #: Exceptions that are part of normal operation: stored as failures, logged without a traceback.
    throws: tuple[type[BaseException], ...] = ()
    #: Seconds or an instant.
    expires: Any = None
    priority: int | None = None
    resultrepr_maxsize: int = 1024
    abstract: bool = True

    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] = types.MappingProxyType({})
    #: True, or the factor in seconds: wait 1, 2, 4, 8 … times as long.
    retry_backoff: bool | float = False
    #: Seconds.
    retry_backoff_max: float = 600
    retry_jitter: bool = True

    __bound__: ClassVar[bool] = False
    __header__: Callable[..., Any] | None = None
    _decorated = False
    _backend: Any = None
    #: What `calling` has worked out once: the template of a call without options, and the options of every call.
    _plain: Template | None = None
    _defaults: Mapping[str, Any] | None = None
    #: `shadow_name` was overridden.
    _shadows = False

    from_config: ClassVar[tuple[tuple[str, str], ...]] = _FROM_SETTINGS

    # -- the app ---------------------------------------------------------------------------------------------

    @classmethod
    def bind(cls, app: Celery) -> Celery:
        """Connect the class to an app: what is not set on it is taken from the app's settings, now."""
        cls._app = app
        cls.__bound__ = True
        cls._defaults = cls._plain = None
        cls._shadows = cls.shadow_name is not Task.shadow_name
        conf = app.conf
        if cls.typing is None:
            cls.typing = getattr(app, "strict_typing", True)
        for attribute, setting in cls.from_config:
            if getattr(cls, attribute, None) is None:
                setattr(cls, attribute, conf.get(setting))
        fallback = cls.acks_on_failure_or_timeout
        for attribute in ("acks_on_failure", "acks_on_timeout"):
            if getattr(cls, attribute) is None:
                setattr(cls, attribute, True if fallback is None else fallback)
        cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Called when the class has been bound to an app; for subclasses to extend."""

    @property
    def app(self) -> Celery:
        """The app that the task belongs to; the current one for a class that was never registered."""
        cls = type(self)
        if cls._app is None or not cls.__bound__:
            cls.bind(cls._app or current.get_current_app())
        return cast("Celery", cls._app)

    @app.setter
    def app(self, app: Celery) -> None:
        type(self).bind(app)

    @property
    def backend(self) -> Any:
        """Where the results go: the app's backend, unless one was set here."""
        return self.app.backend if self._backend is None else self._backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    # -- the run ---------------------------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body of the task."""
        raise NotImplementedError("Tasks must define the run method.")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the body as the function that it is: here, now, with exceptions raised."""
        token = current.push(self, self._request_of_call(args, kwargs))
        try:
            return cast("R_co", self.run(*args, **kwargs))
        finally:
            current.pop(token)

    def _request_of_call(self, args: Any, kwargs: Any) -> Context:
        # As in Celery a task that calls itself directly keeps its request, with the new arguments.
        outer = current.request_of(self)
        request = Context.__new__(Context)
        if outer is not None:
            request.__dict__.update(outer.__dict__)
        request.args, request.kwargs = args, kwargs
        return request

    @property
    def request(self) -> Context:
        """What is known about the present run; an empty one outside of runs."""
        request = current.request_of(self)
        if request is not None:
            return request
        idle: Context | None = self.__dict__.get("_idle_request")
        if idle is None:
            idle = self.__dict__["_idle_request"] = Context()
        return idle

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Enter a run with this request, over the present one. For tests of bound tasks; `pop_request` leaves it."""
        request = Context(*args, **{**self.request.__dict__, **kwargs})
        tokens: list[Token[Any]] = self.__dict__.setdefault("_tokens", [])
        tokens.append(current.push(self, request))

    def pop_request(self) -> None:
        """Leave what `push_request` entered."""
        current.pop(self.__dict__["_tokens"].pop())

    # -- calling ---------------------------------------------------------------------------------------------

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Send a message that has the task run in a worker: `apply_async(args, kwargs)`.

        Raises: TypeError (arguments do not fit), EncodeError (they cannot be written), OperationalError.
        Celery's guide: Calling tasks.
        """
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R_co]:
        """Send a message that has the task run in a worker, with options for this call.

        `countdown` and a numeric `expires` are seconds from now, `eta` and `expires` may be aware datetimes, limits
        are seconds; `link` and `link_error` take a signature or a list. Options as in Celery's guide, Calling tasks;
        the ones that this version cannot honour are refused, and so are those that do not exist.

        Raises: TypeError (arguments do not fit, no such option), ValueError, ImproperlyConfigured (option not
        supported), EncodeError (arguments cannot be written), OperationalError (broker away; within
        `publish_timeout`).
        """
        if self.typing:
            check = self.__header__
            if check is not None:
                check(*(args or ()), **(kwargs or {}))
        named = {"task_id": task_id, "producer": producer, "link": link, "link_error": link_error, "shadow": shadow}
        if any(value is not None for value in named.values()):
            options.update((name, value) for name, value in named.items() if value is not None)
        return calling.call(self, args, kwargs, options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """`delay` for coroutines: `await (await add.adelay(2, 2))` is 4. Not in Celery."""
        return await asynchronous.send(self, args, kwargs, {})

    async def aapply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[R_co]:
        """`apply_async` for coroutines, with its arguments and errors. Not in Celery."""
        return await asynchronous.send(self, args, kwargs, options)

    def send_many(self, calls: Iterable[Any], **options: Any) -> list[AsyncResult[R_co]]:
        """Send many calls in as few round trips as the broker allows. Not in Celery.

        `calls` yields `(args, kwargs)`, `(args,)` or bare argument tuples, e.g. `[((2, 2), {}), ((4,), {"y": 4})]` or
        `zip(range(9), range(9))`: a pair of a sequence and a mapping is args and kwargs, a one-tuple holding a
        sequence is args, and any other tuple or list is the arguments. All of them are checked and encoded before the
        first is sent. `options` as for `apply_async`, for all calls alike.

        Returns the results in order. Raises: as `apply_async`; an OperationalError says how many had been sent.
        """
        return calling.send_many(self, calls, options)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: str | None = None,
        loglevel: int | None = None,
        headers: dict[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R_co]:
        """Run the task here, as a worker would, and return its result when it has ended. Retries run here too.

        `throw`: raise the task's exception (default: the setting `task_eager_propagates`).
        Celery's guide: Calling tasks; Testing.
        """
        app = self.app
        request = self._eager_request(
            args, kwargs, task_id, link=link, link_error=link_error, options=options,
            retries=retries or 0, logfile=logfile, loglevel=loglevel or 0, headers=headers,
        )  # fmt: skip
        if throw is None:
            throw = bool(app.conf.task_eager_propagates)
        return cast("EagerResult[R_co]", inline_hook.run_inline(app.tasks[self.name], request, throw))

    def _eager_request(
        self,
        args: Any,
        kwargs: Any,
        task_id: str | None,
        *,
        link: Any,
        link_error: Any,
        options: Mapping[str, Any],
        **fields: Any,
    ) -> Context:
        task_id = task_id or uuid4_text()
        run = current.running()
        limits = (self.time_limit, self.soft_time_limit)
        request = Context(
            args=args or (),
            kwargs=kwargs or {},
            id=task_id,
            parent_id=run.request.id if run else None,
            root_id=(run.request.root_id if run else None) or task_id,
            is_eager=True,
            called_directly=False,
            callbacks=as_list(link),
            errbacks=as_list(link_error),
            timelimit=None if limits == (None, None) else list(limits),
            ignore_result=options.get("ignore_result", self.ignore_result),
            delivery_info={
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
            **fields,
        )
        stamped = options.get("stamped_headers")
        if stamped is not None:
            request.stamped_headers = list(stamped)
            request.stamps = {name: options.get(name, []) for name in stamped}
        return request

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Another name to show in logs and monitors, or None; for subclasses to override."""
        return None

    # -- retrying --------------------------------------------------------------------------------------------

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Have the task tried again, with the same id: `raise self.retry(exc=error, countdown=3)`.

        Without `countdown` (seconds) or `eta` the wait is `retry_backoff`'s where the task has that (Celery looks at it
        in automatic retries only), else `default_retry_delay`. `exc` is what is raised once `max_retries` is reached.
        The new message is published together with the acknowledgement of this one, when the run ends.

        Raises: Retry, unless `throw` is False (then it is returned, and the run goes on); `exc` or
        MaxRetriesExceededError past the limit; `exc` itself where the task was called directly; Reject where the new
        message cannot be made. Celery's guide: Tasks, "Retrying".
        """
        return retrying.retry(self, args, kwargs, exc, throw, eta, countdown, max_retries, options)

    def autoretry(self, exc: BaseException) -> NoReturn:
        """Judge an exception that `run` raised: raises Retry where `autoretry_for` says so, else `exc` or its like."""
        retrying.autoretry(self, exc)

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | None = None,
        **extra_options: Any,
    ) -> Signature:
        """The present call as a signature, with what is given here in place of its own."""
        return retrying.signature_from_request(self, request or self.request, args, kwargs, queue, extra_options)

    subtask_from_request = signature_from_request

    # -- states ----------------------------------------------------------------------------------------------

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state on the way, at once: `self.update_state(state="PROGRESS", meta={"done": 3})`.

        Raises: EncodeError, OperationalError. Celery's guide: Tasks, "Custom states".
        """
        record = state_record(self.app, task_id or self.request.id, state, meta, self.request)
        self.backend.put_many((record,))

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far this run is: `self.progress(3, 10, "third file")`. Call it as often as you like. Not in Celery.

        Callers see `result.progress`; a stock client the state PROGRESS with current, total and message. It costs the
        run no waiting and cannot fail it; where no result is kept, and outside of a run, it does nothing.
        """
        reporting.progress(self, done, total, message)

    def add_trail(self, result: Any) -> Any:
        """Note a result as a child of the present run, where `trail` is on."""
        if self.trail:
            self.request.children.append(result)
        return result

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R_co]:  # noqa: N802 - Celery's name
        """The result of a call of this task, by its id."""
        return AsyncResult(task_id, backend=self._backend, app=self.app, **kwargs)

    # -- hooks -----------------------------------------------------------------------------------------------

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the worker before the body."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the worker after a run that succeeded."""

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker when the task is to be tried again."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker after a run that failed."""

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker after every run that comes to a result: not for one that is to be retried."""

    # -- the rest --------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        module = type(self).__module__
        return _by_name, (self.name, module if module in sys.modules else None)

    def __repr__(self) -> str:
        if self._app is None:
            return f"<unbound {self.__name__}>"
        return f"<@task: {self.name} of {self._app.main or '__main__'} at {id(self._app):#x}>"

    @property
    def __name__(self) -> str:
        cls: type = type(self)
        return cls.__name__


def make_task(
    app: Celery,
    fun: Callable[P, R_co],
    *,
    name: str,
    bind: bool = False,
    base: type[Task[..., Any]] | None = None,
    **options: Any,
) -> Task[P, R_co]:
    """A task around `fun`, bound to `app` and not yet registered. Unknown options become attributes, as in Celery."""
    kind = base or Task
    body = fun if bind else staticmethod(fun)
    attributes: dict[str, Any] = {
        "name": name,
        "run": body,
        "_decorated": True,
        "_decorated_fun": staticmethod(fun),
        "__doc__": fun.__doc__,
        "__module__": fun.__module__,
        "__annotations__": getattr(fun, "__annotations__", {}),
        "__header__": staticmethod(checker(fun, bound=bind)),
        "__wrapped__": body,
        "__qualname__": getattr(fun, "__qualname__", fun.__name__),
        **options,
    }
    cls = cast("type[Task[P, R_co]]", type(fun.__name__, (kind,), attributes))
    cls.bind(app)
    return cls()


def _by_name(name: str, module: str | None = None) -> Task[..., Any]:
    """Unpickle a task: it is looked up in the current app, after importing the module that defines it."""
    if module is not None and module not in sys.modules:
        __import__(module)
    return cast("Task[..., Any]", current.get_current_app().tasks[name])
