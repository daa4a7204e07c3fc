"""What the command line says to wrong usage: one line, what to do, exit code 2. It needs no app and no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from celeriac.cli.main import main
from celeriac.foundation.version import __version__


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"celeriac {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["wroker"], "no command 'wroker' (did you mean 'worker'?)"),
        (["worker"], "name your application with -A: celeriac -A proj worker"),
        (["call", "add"], "name your application with -A (-A proj, -A proj.module:app), or a broker with -b"),
        (["-A", "x", "worker", "-l", "loud"], "'loud' is no log level; choose one of DEBUG, INFO"),
        (["-A", "x", "worker", "-P", "nonsense"], "'nonsense' is no pool; choose prefork, solo, threads"),
        (["-A", "x", "worker", "-c", "many"], "'many' is neither a number nor auto"),
        (["-A", "x", "worker", "--umask", "9x"], "'9x' is no umask; write it such as 027"),
        (["-A", "x", "worker", "-B"], "--beat comes with a later version"),
        (["-A", "x", "worker", "--autoscale=ten"], "'ten'"),
        (["-A", "x", "worker", "-P", "custom"], "a pool class of your own cannot be used here"),
        (["-A", "x", "worker", "-P", "fast"], "'fast' is no pool; choose prefork, solo, threads, asyncio, gevent or"),
        (["-A", "x", "worker", "--processes=0"], "0 is not in the range x>=1"),
        (["-A", "x", "worker", "--time-limit=0"], "0.0 is not in the range x>0"),
        (["-A", "x", "worker", "--hostnam", "n"], "Did you mean '--hostname'?"),
        (["-A", "x", "call", "add", "--args", "2"], "'2' is not a JSON list; write it such as '[2, 2]'"),
        (["-A", "x", "call", "add", "--args", "[2,"], "is not JSON"),
        (["-A", "x", "call", "add", "--kwargs", "[]"], "'[]' is not a JSON object"),
        (["-A", "x", "call", "add", "--eta", "soon"], "'soon' is no ISO 8601 time such as 2030-01-31T12:00:00+00:00"),
        (["-A", "x", "call", "add", "--expires", "soon"], "'soon' is no ISO 8601 time"),
        (["-A", "x", "call", "add", "--countdown", "soon"], "'soon' is not a valid float"),
        (["-A", "x", "call", "add", "--routing-key", "k"], "--routing-key is not supported: name the --queue"),
        (["-A", "x", "dead", "requeue"], "say which: ids, --task, --reason, --older, --newer, or --all"),
        (["-A", "x", "--workdir", "/no/such/place", "queues"], "--workdir /no/such/place: No such file or directory"),
        (["--loader=mine", "queues"], "--loader is not supported"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    said = capsys.readouterr()
    assert text in said.err
    assert said.err.startswith("celeriac: error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_no_command_shows_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out = capsys.readouterr().out
    for command in ("worker", "call", "result", "queues", "purge", "dead", "delayed", "demo"):
        assert f"\n  {command}" in out


@pytest.mark.parametrize("command", ["worker", "call", "result", "queues", "purge", "dead", "delayed", "demo"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: celeriac {command}" in capsys.readouterr().out


def test_heavy_modules_are_not_loaded_for_the_version() -> None:
    script = (
        "import sys\n"
        "from celeriac.cli.main import main\n"
        "main(['--version'])\n"
        "heavy = {'rich', 'asyncio', 'sqlite3', 'hiredis', 'redis', 'multiprocessing', 'msgspec'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
