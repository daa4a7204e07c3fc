"""`Settings`: the one view of all settings of an app, whatever they come from and in whichever order.

Layers, the upper wins: `override` (the command line) > environment (`CELERY_BROKER_URL`, `CELERY_RESULT_BACKEND`, …) >
what was set explicitly (constructor, attribute, item, `update`) > added defaults > the config object > Celery's
defaults. The config object is read on first need. Nothing here opens, imports or interprets anything.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from ..foundation.suggest import did_you_mean
from ..foundation.urls import mask
from .old_names import canonical
from .reading import Layer, warn_if_misspelt
from .table import SETTINGS, default_of

__all__ = ["Settings"]

_T = TypeVar("_T")
_MISSING: Any = object()
_NOTHING = Layer({}, {})
_SECRET = ("API", "TOKEN", "KEY", "SECRET", "PASS", "SIGNATURE")


class Settings(MutableMapping[str, Any]):
    """`app.conf`: attribute and item access, `update()`; old names and the namespace's are understood everywhere.

    `source` gives the config object's layer; it is called once, at the first read. `loaded` is called after that.
    Values read are kept as attributes of the instance, so that `conf.task_serializer` costs an attribute.
    """

    _namespace: str
    #: Grows with every change: who keeps something derived from settings compares it.
    _version: int

    def __init__(
        self,
        source: Callable[[], Layer | None] | None = None,
        explicit: Mapping[str, Any] | None = None,
        namespace: str = "",
        loaded: Callable[[], None] | None = None,
    ) -> None:
        kept = self.__dict__
        kept["_load"], kept["_namespace"], kept["_version"] = source, namespace, 0
        kept["_loaded"] = loaded
        kept["_layer"] = None if source is not None else _NOTHING
        kept["_changes"], kept["_added"], kept["_defaults"] = {}, {}, {}
        kept["_overrides"] = {}
        kept["_keeping"], kept["_loading"] = threading.Lock(), set()
        for key, value in (explicit or {}).items():
            self[key] = value

    # -- reading -----------------------------------------------------------------------------------------------------

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):  # no setting; and while an instance is being rebuilt its own state is not there yet
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"there is no setting {key!r}{did_you_mean(key, SETTINGS)}") from None

    def __getitem__(self, key: str) -> Any:
        name = self._name(key)
        computed = _COMPUTED.get(name)
        # Not by getattr: an AttributeError of the config object's own would come back here through __getattr__.
        return self._value(name) if computed is None else computed(self)

    def _value(self, name: str) -> Any:
        """The value by the layers, kept for attribute access. Raises: KeyError."""
        layer, version = self._configured(), self._version
        for values in (self._overrides, self._changes, self._added, layer.values, layer.extras):
            if name in values:
                value = values[name]
                break
        else:
            value = self._default(name)
        if name not in _COMPUTED and not self._loading:
            with self._keeping:
                if self._version == version:  # else another thread has just changed a setting, perhaps this one
                    self.__dict__[name] = value
        return value

    def _default(self, name: str) -> Any:
        # A default that is changed in place (`conf.beat_schedule["x"] = …`) must be the same object next time.
        defaults: dict[str, Any] = self._defaults
        if name not in defaults:
            defaults[name] = default_of(name)
        return defaults[name]

    def _configured(self) -> Layer:
        layer: Layer | None = self.__dict__["_layer"]
        if layer is not None:
            return layer
        me = threading.get_ident()
        if me in self._loading:  # what runs during the load may read settings: it sees those that need no load
            return _NOTHING
        # Threads that come at once each load: nobody waits, so nobody deadlocks with the locks of imports, and nobody
        # takes a default for an answer.
        source = self._load
        self._loading.add(me)
        try:
            layer = source() or _NOTHING
        finally:
            self._loading.discard(me)
        with self._keeping:
            first = self._load is source and self.__dict__["_layer"] is None
            if first:
                self.__dict__["_layer"] = layer
        if first:
            self._forget_kept()
            if self._loaded is not None:
                self._loaded()
        return layer

    def load(self) -> None:
        """Read the config object now. Raises: what reading it raises."""
        self._configured()

    @property
    def configured(self) -> bool:
        """The config object has been read."""
        return self.__dict__["_layer"] is not None

    @property
    def version(self) -> int:
        """Grows with every change, in place changes of dicts excepted."""
        return self._version

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in _COMPUTED or self.get(key, _MISSING) is not _MISSING)

    def __iter__(self) -> Iterator[str]:
        layer = self._configured()
        yield from dict.fromkeys((*SETTINGS, *layer.extras, *self._added, *self._changes, *self._overrides))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def first(self, *keys: str) -> Any:
        """The first of these that has a value other than None."""
        return next((value for value in map(self.get, keys) if value is not None), None)

    def value_set_for(self, key: str) -> bool:
        """Somebody set it: it is not a default."""
        return self.origin(key) != "default"

    def origin(self, key: str) -> str:
        """Where the value comes from: `override`, `environment`, `explicit`, `added default`, the config object's
        description, or `default`."""
        name = self._name(key)
        if name in self._overrides:
            return "override"
        if os.environ.get(_ENVIRONMENT.get(name, "")):
            return "environment"
        if name in self._changes:
            return "explicit"
        if name in self._added:
            return "added default"
        layer = self._configured()
        return layer.origin or "config" if name in layer.values or name in layer.extras else "default"

    def without_defaults(self) -> dict[str, Any]:
        """What was set, by whomever."""
        return {key: self[key] for key in self if self.value_set_for(key)}

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Names and values for people; with `censored`, secrets are shown as asterisks."""
        shown = dict(self) if with_defaults else self.without_defaults()
        shown = {key: value for key, value in shown.items() if not key.startswith("_")}
        return {key: _censored(key, value) for key, value in shown.items()} if censored else shown

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """One line a setting."""
        return "\n".join(f"{key}: {value!r}" for key, value in self.table(with_defaults, censored).items())

    def __repr__(self) -> str:
        return f"<Settings: {self.table()!r}>"

    # -- writing -----------------------------------------------------------------------------------------------------

    def __setattr__(self, key: str, value: Any) -> None:
        self._set(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        self._set(key, value)

    def _set(self, key: str, value: Any) -> None:
        name = self._name(key)
        if name not in SETTINGS:
            warn_if_misspelt(key, self._namespace)
        self._changes[name] = value
        self._forget_kept()

    def __delitem__(self, key: str) -> None:
        """Forget what was set explicitly. Raises: KeyError where nothing was."""
        del self._changes[self._name(key)]
        self._forget_kept()

    def __delattr__(self, key: str) -> None:
        try:
            del self[key]
        except KeyError:
            raise AttributeError(key) from None

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Set it explicitly unless somebody has."""
        if self._name(key) not in self._changes and (not self.configured or not self.value_set_for(key)):
            self[key] = default
            return default
        return self[key]

    def clear(self) -> None:
        """Forget everything that was set explicitly."""
        self._changes.clear()
        self._forget_kept()

    @property
    def changes(self) -> dict[str, Any]:
        """What was set explicitly: with the config object it rebuilds these settings elsewhere."""
        return dict(self._changes)

    def add_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Put these under what is set explicitly and, as in Celery, over the config object."""
        self.__dict__["_added"] = {self._name(key): value for key, value in defaults.items()} | self._added
        self._forget_kept()

    def override(self, settings: Mapping[str, Any]) -> None:
        """Put these over everything, the environment included: for what somebody says on a command line."""
        self._overrides.update((self._name(key), value) for key, value in settings.items())
        self._forget_kept()

    def reload(self, source: Callable[[], Layer | None], namespace: str) -> None:
        """Take the config object's layer from elsewhere from now on. What was set explicitly stays."""
        self.__dict__.update(_load=source, _namespace=namespace, _layer=None)
        self._forget_kept()

    def copy(self) -> Settings:
        """Settings of their own with the same values."""
        layer = self._configured()
        twin = Settings(lambda: layer, namespace=self._namespace)
        twin._changes.update(self._changes)
        twin._added.update(self._added)
        twin._overrides.update(self._overrides)
        twin._defaults.update(
            (key, dict(value) if isinstance(value, dict) else value) for key, value in self._defaults.items()
        )
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Settings:
        return self.copy()

    def _name(self, key: str) -> str:
        if key in SETTINGS:
            return key
        match = canonical(key, self._namespace) or canonical(key)
        return key if match is None else match.name

    def _forget_kept(self) -> None:
        kept = self.__dict__
        with self._keeping:
            kept["_version"] += 1
            for key in [key for key in list(kept) if not key.startswith("_")]:
                del kept[key]

    # -- settings that depend on others, or on the environment of the moment -------------------------------------------

    @property
    def broker_url(self) -> Any:
        """Where messages go; None: nothing was set. `CELERY_BROKER_URL` overrides."""
        return self._environment("broker_url") or self._value("broker_url") or self._value("broker_host")

    @property
    def broker_read_url(self) -> Any:
        """Where workers consume: `broker_url` unless set."""
        return self._environment("broker_read_url") or self._value("broker_read_url") or self.broker_url

    @property
    def broker_write_url(self) -> Any:
        """Where producers publish: `broker_url` unless set."""
        return self._environment("broker_write_url") or self._value("broker_write_url") or self.broker_url

    @property
    def result_backend(self) -> Any:
        """Where results are kept; None: nothing was set. `CELERY_RESULT_BACKEND` overrides."""
        return self._environment("result_backend") or self._value("result_backend")

    @property
    def task_default_exchange(self) -> Any:
        """The default queue's name unless set."""
        return self._value("task_default_exchange") or self.task_default_queue

    @property
    def task_default_routing_key(self) -> Any:
        """The default queue's name unless set."""
        return self._value("task_default_routing_key") or self.task_default_queue

    @property
    def timezone(self) -> Any:
        """The zone's name, or Django's `TIME_ZONE`, or None."""
        own = self._value("timezone")
        return own if own is not None else self.get("TIME_ZONE")

    def _environment(self, name: str) -> str | None:
        return None if name in self._overrides else os.environ.get(_ENVIRONMENT[name]) or None


_ENVIRONMENT = {
    "broker_url": "CELERY_BROKER_URL",
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}
_COMPUTED: dict[str, Callable[[Settings], Any]] = {
    name: member.fget
    for name, member in vars(Settings).items()
    if isinstance(member, property) and member.fget and name in SETTINGS
}


def _censored(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {inner: _censored(str(inner), one) for inner, one in value.items()}
    if value and any(word in key.upper() for word in _SECRET) and isinstance(value, (str, bytes)):
        return "********"
    return mask(value) if isinstance(value, str) and "://" in value else value
