"""`Signal`: calls whoever has connected, and never lets them harm whoever sends. Celery's `utils.dispatch`.

It knows no signal by name and no app. `receivers` is empty where nobody listens: places on a hot path ask for that
one attribute before they make the arguments. Receivers run in the thread that sends, one after the other.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Receiver", "Signal"]

logger = logging.getLogger("celery.utils.dispatch.signal")

Receiver = Callable[..., Any]
#: What a receiver is recognised by, and the sender that it asked for (0: any).
_Key = tuple[Any, Any]

_ANYBODY = 0
_WEAK = weakref.ReferenceType
#: Seconds before a receiver that asked to be retried is called again: the first wait, what is added, the longest.
_RETRY = (2.0, 2.0, 30.0)


class Signal:
    """One kind of event.

    Parameters: `providing_args`, the names of what it is sent with, for people; `use_caching` does nothing, and
    stands for code written against Celery; `name`, for its repr. Celery's guide: Signals.
    """

    def __init__(
        self, providing_args: Iterable[str] | None = None, use_caching: bool = False, name: str | None = None
    ) -> None:
        self.providing_args = set(providing_args or ())
        self.use_caching = use_caching
        self.name = name
        #: (key, receiver or weak reference to it), in the order of connection.
        self.receivers: list[tuple[_Key, Any]] = []
        #: The senders that keys name by their identity: while one lives, no other object has it.
        self._senders: dict[_Key, Any] = {}
        self._lock = threading.Lock()
        self._dead = False

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Have a receiver called: `connect(receiver, sender=…)`, `@signal.connect` or `@signal.connect(sender=…)`.

        Parameters: `receiver`, which takes keyword arguments; `sender`, the only one it is to hear (a string is
        compared, anything else is meant itself); `weak` (default) forgets the receiver when nobody else holds it;
        `dispatch_uid`, under which it is connected once; `retry` calls it again until it does not raise.
        Returns the receiver, as a decorator does. Raises: ValueError where it takes no keyword arguments, TypeError
        where it cannot be called. Celery's guide: Signals.
        """
        if args and callable(args[0]):
            return self._connect(*args, **kwargs)
        return lambda receiver: self._connect(receiver, *args, **kwargs)

    def _connect(
        self,
        receiver: Receiver,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Receiver:
        if not callable(receiver):
            raise TypeError(f"a signal's receiver must be callable, not {receiver!r}")
        if not _takes_keywords(receiver):
            raise ValueError("Signal receiver must accept keyword arguments.")
        sender = _itself(sender)
        key = _key(receiver, sender, dispatch_uid)
        kept: Any = receiver
        if retry:
            kept = _Retried(receiver)
        elif weak:
            kept = self._weakly(receiver)
        with self._lock:
            self._forget_dead()
            if all(known != key for known, _ in self.receivers):
                self.receivers.append((key, kept))
                self._senders[key] = sender
        return receiver

    def _weakly(self, receiver: Receiver) -> Any:
        if inspect.ismethod(receiver):
            return weakref.WeakMethod(receiver, self._died)
        return weakref.ref(receiver, self._died)

    def _died(self, reference: object) -> None:
        # Collected at any moment, perhaps while we hold the lock: it is only noted here.
        self._dead = True

    def disconnect(
        self, receiver: Receiver | None = None, sender: Any = None, weak: bool | None = None, dispatch_uid: Any = None
    ) -> bool:
        """Call it no more; named as it was connected. Returns whether it was."""
        if weak is not None:
            warnings.warn("Passing `weak` to disconnect has no effect.", DeprecationWarning, stacklevel=2)
        key = _key(receiver, _itself(sender), dispatch_uid)
        with self._lock:
            self._forget_dead()
            for index, (known, _) in enumerate(self.receivers):
                if known == key:
                    del self.receivers[index]
                    self._senders.pop(key, None)
                    return True
        return False

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would be called."""
        identity = _identity(_itself(sender))
        return any(wanted in (_ANYBODY, identity) and not _is_dead(kept) for (_, wanted), kept in self.receivers)

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call every receiver. Returns (receiver, answer) of each; what one raises is logged, and is its answer."""
        if not self.receivers:
            return []
        answers: list[tuple[Receiver, Any]] = []
        identity: Any = None  # worked out where a receiver asks for one sender only
        for (_, wanted), kept in tuple(self.receivers):
            if wanted != _ANYBODY:
                if identity is None:
                    identity = _identity(_itself(sender))
                if wanted != identity:
                    continue
            receiver = kept() if isinstance(kept, _WEAK) else kept
            if receiver is None:
                continue
            try:
                answer = receiver(signal=self, sender=sender, **named)
            except Exception as error:
                logger.exception("Signal handler %r raised: %r", receiver, error)
                answer = error
            answers.append((receiver, answer))
        if self._dead:
            with self._lock:
                self._forget_dead()
        return answers

    send_robust = send

    def _forget_dead(self) -> None:
        """Under the lock."""
        if self._dead:
            self._dead = False
            # In place: whoever keeps the list to see whether it is empty goes on seeing it.
            self.receivers[:] = [entry for entry in self.receivers if not _is_dead(entry[1])]
            self._senders = {key: self._senders.get(key) for key, _ in self.receivers}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name} providing_args={self.providing_args!r}>"


class _Retried:
    """Calls a receiver until it does not raise, with pauses that grow."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __call__(self, **named: Any) -> Any:
        pause, step, longest = _RETRY
        while True:
            try:
                return self._receiver(**named)
            except Exception as error:
                text = "Could not process signal receiver %r: %r. Retrying in %g seconds..."
                logger.error(text, self._receiver, error, pause)
            time.sleep(pause)
            pause = min(longest, pause + step)

    def __repr__(self) -> str:
        return repr(self._receiver)


def _key(receiver: Receiver | None, sender: Any, dispatch_uid: Any) -> _Key:
    return dispatch_uid or _identity(_itself(receiver)), _identity(sender)


def _identity(target: Any) -> Any:
    if target is None:
        return _ANYBODY
    if isinstance(target, (str, bytes)):
        return target
    if inspect.ismethod(target):
        return id(target.__self__), id(target.__func__)
    return id(target)


def _itself(target: Any) -> Any:
    """What a proxy stands for. By its type: looking at an instance may be what makes it look anything up."""
    find = getattr(type(target), "_get_current_object", None)
    return target if find is None else find(target)


def _is_dead(kept: Any) -> bool:
    return isinstance(kept, _WEAK) and kept() is None


def _takes_keywords(receiver: Receiver) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):  # of C, which says nothing: it is believed
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
