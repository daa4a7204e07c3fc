"""`celeriac multi` finds the nodes and makes the commands that `celery multi` does."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest

from celeriac.cli.main import main

WORDS = [
    "names 3",
    "names a b c -n h.x.y",
    "names foo@%h bar@host",
    "expand /v/%n-%h-%d-%N%I.log 2 --suffix=ab.cd",
    "show 3 -A proj -c 3 -c:1 10 {files} -Q:1-2 img,vid -Q def",
    "show a b c -l INFO -c:a,b 7 -L:3 DEBUG --workdir=~/x {files} -- broker.x=1",
    "show 10 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG {files}",
    "show 2 --range-prefix=w --prefix=p -E {files}",
    "get b@h a b c -n h -c 3 {files}",
]


@pytest.mark.parametrize("words", WORDS)
def test_it_says_what_celery_multi_says(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    multi = pytest.importorskip("celery.bin.multi")
    files = f"--pidfile={tmp_path}/%n.pid --logfile={tmp_path}/%n%I.log --executable=python"
    split = words.format(files=files).split(" ")
    theirs = io.StringIO()
    assert multi.MultiTool(stdout=theirs).execute_from_commandline(["multi", *split]) == 0
    assert main(["multi", *split]) == 0
    expected = [line.rstrip().replace("-m celery", "-m celeriac") for line in theirs.getvalue().splitlines()]
    assert capsys.readouterr().out.splitlines() == expected
    assert expected


def test_what_stands_before_multi_is_for_every_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-A", "proj", "multi", "get", f"a@{socket.gethostname()}", "a", "b", "-c", "3"]) == 0
    assert capsys.readouterr().out.startswith("-m celeriac -A proj worker --detach -c 3 ")


@pytest.mark.parametrize("words", ["get x@h a b -n h", "dance 3"])
def test_what_is_not_there_is_an_error(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multi", *words.split(" ")]) == 1


def test_an_option_for_a_node_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multi", "show", "a", "b", "-c:3", "1"]) == 2
    assert "No node at index '3'" in capsys.readouterr().err
