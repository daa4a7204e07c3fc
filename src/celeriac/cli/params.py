"""How options are read: the types of their values, those that every command has, and those that are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import click

from .session import Session

Command = TypeVar("Command", bound=Callable[..., Any])


def comma_list(value: str) -> tuple[str, ...]:
    """`a,b,c`; spaces around the commas do not count."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def json_list(value: str) -> list[Any]:
    """A JSON list. Raises: BadParameter with an example."""
    read = _json(value, "[2, 2]")
    if not isinstance(read, list):
        raise click.BadParameter(f"{value!r} is not a JSON list; write it such as '[2, 2]'")
    return read


def json_object(value: str) -> dict[str, Any]:
    """A JSON object. Raises: BadParameter with an example."""
    read = _json(value, '{"x": 2}')
    if not isinstance(read, dict):
        raise click.BadParameter(f"{value!r} is not a JSON object; write it such as '{{\"x\": 2}}'")
    return read


def instant(value: str) -> datetime:
    """An ISO 8601 instant. Raises: BadParameter with an example."""
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no ISO 8601 time such as 2030-01-31T12:00:00+00:00") from None


def instant_or_seconds(value: str) -> datetime | float:
    """An ISO 8601 instant, or a number of seconds from now. Raises: BadParameter."""
    try:
        return float(value)
    except ValueError:
        return instant(value)


def _json(value: str, example: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not JSON ({error}); write it such as '{example}'") from None


def queues_option(command: Command) -> Command:
    """`-Q a,b`, the same in every command that looks into queues."""
    return click.option(
        "-Q", "--queues", type=comma_list, default="", metavar="A,B", help="Only these queues; default: all configured."
    )(command)


def app_options(command: Command) -> Command:
    """The options about the app, for the group and for each of its commands: Celery 4 had them after, 5 before."""
    for option in reversed(_APP_OPTIONS):
        command = option(command)
    return command


def _remember(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that keeps a given value in the Session; one that was not given leaves what stands there."""

    def keep(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value not in (None, False):
            setattr(ctx.ensure_object(Session), attribute, value)

    return keep


def _text(*names: str, to: str, help: str, metavar: str) -> Callable[[Command], Command]:
    return click.option(*names, expose_value=False, callback=_remember(to), help=help, metavar=metavar)


def _flag(*names: str, to: str, help: str) -> Callable[[Command], Command]:
    return click.option(*names, is_flag=True, expose_value=False, callback=_remember(to), help=help)


def refused(*names: str, why: str, flag: bool = False) -> Callable[[Command], Command]:
    """An option of Celery's that this version does not have: refused with `why`, not with "no such option"."""

    def refuse(_ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value not in (None, False):
            raise click.UsageError(f"{param.opts[-1]} {why}")

    return click.option(*names, is_flag=flag, hidden=True, expose_value=False, callback=refuse)


def setting(name: str, *names: str, **more: Any) -> Callable[[Command], Command]:
    """An option that overrides the setting `name` where it is given (see `settings_of`)."""
    return click.option(*names, _SETTING + name, **more)


def settings_of(given: Mapping[str, Any]) -> dict[str, object]:
    """The settings among the values of a command's options."""
    return {
        key.removeprefix(_SETTING): value
        for key, value in given.items()
        if key.startswith(_SETTING) and value is not None
    }


_SETTING = "setting_"


def ignored(*names: str, flag: bool = False, type: Any = None) -> Callable[[Command], Command]:
    """An option of Celery's that asks for what is so anyway, or for something that is not needed here."""
    return click.option(*names, is_flag=flag, type=type, hidden=True, expose_value=False)


_APP_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _text("-A", "--app", to="app_name", metavar="APP", help="The application: proj, proj.module or proj.module:app."),
    _text("-b", "--broker", to="broker", metavar="URL", help="Broker, instead of the configured one."),
    _text("--result-backend", to="backend", metavar="URL", help="Result backend, instead of the configured one."),
    _text("--config", to="config", metavar="MODULE", help="Module to read settings from."),
    _text("--workdir", to="workdir", metavar="PATH", help="Change to this folder first."),
    _flag("-C", "--no-color", to="no_color", help="No colours."),
    _flag("-q", "--quiet", to="quiet", help="Say less."),
    refused("--loader", why="is not supported: configure the app with config_from_object"),
    ignored("--skip-checks", flag=True),
)
