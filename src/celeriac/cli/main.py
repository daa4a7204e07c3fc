"""The command `celeriac`: finds the sub-command, and turns every error into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. A traceback is shown only for the user's own modules that
fail to import. Sub-commands load on use: `--version` and a worker's start pay for nothing else.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from click.exceptions import NoArgsIsHelpError

from ..errors import CeleriacError
from ..foundation.logs import utf8_streams
from ..foundation.suggest import did_you_mean
from ..foundation.tracebacks import users_part
from ..foundation.version import __version__
from .params import app_options
from .session import LoadError, Session

if TYPE_CHECKING:
    from ..client.app import Celery

#: Name and the line in `--help`. The module of the same name in this package has the command, under the same name.
_COMMANDS = {
    "worker": "Run tasks.",
    "multi": "Start, stop and restart many workers of this machine.",
    "call": "Send a task by name; prints its id.",
    "result": "Wait for the result of a task and print it.",
    "queues": "Count the messages of each queue.",
    "purge": "Delete all messages that wait.",
    "dead": "Messages that could not run: list, show, requeue, edit, export, import, purge.",
    "delayed": "Messages that wait for their time: list, hand back.",
    "demo": "See it work: a small app and a worker in a temporary folder.",
}


class Commands(click.Group):
    """Loads a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{did_you_mean(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table above: help must not load every command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@app_options
@click.version_option(__version__, message="celeriac %(version)s")
def celeriac() -> None:
    """A distributed task queue: Celery's API and wire protocol."""


def main(argv: Sequence[str] | None = None, *, app: Celery | None = None) -> int:
    """Run a command in this process: the console script, and `app.start()`.

    Parameters: `argv` without the program's name (None: `sys.argv`); `app`, the one to use where `-A` names none.
    Returns the exit code.
    """
    utf8_streams()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # the documented way to redirect them
            code = celeriac.main(argv, prog_name="celeriac", standalone_mode=False, obj=Session(app))
    except LoadError as error:
        print(users_part(error.cause), end="", file=sys.stderr)
        return 1
    except NoArgsIsHelpError as error:  # a group of commands was named, and none of them
        print(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        return _complain(_one_line(error), error.exit_code)
    except click.Abort as error:
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        return 130 if interrupted else _complain("aborted", 1)
    except CeleriacError as error:
        return _complain(str(error) or type(error).__name__, 1)
    except Exception as error:
        # Ours to mend, so the traceback must be to be had; but a screenful of it helps no user.
        if os.environ.get("CELERIAC_TRACEBACK"):
            raise
        return _complain(f"{type(error).__name__}: {error} (CELERIAC_TRACEBACK=1 shows where)", 1)
    return code if isinstance(code, int) else 0


def _complain(text: str, code: int) -> int:
    print(f"celeriac: error: {text}", file=sys.stderr)
    return code


def _one_line(error: click.ClickException) -> str:
    """The message, and for wrong usage where to look."""
    text = " ".join(error.format_message().split("\n")).rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text} (see {error.ctx.command_path} --help)"
    return text


def _show_warning(message: Warning | str, *_where: object) -> None:
    """A warning is for the person at the terminal: what it says, not the line of ours that raised it."""
    print(f"celeriac: warning: {message}", file=sys.stderr)
