"""`celeriac demo` is the first thing that anybody runs: it must work, tell the truth, and leave nothing running."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.processes import Process


def test_the_demo_shows_every_end_and_leaves_no_process(new_process: Callable[..., Process], tmp_path: Path) -> None:
    demo = new_process([sys.executable, "-m", "celeriac", "demo", "--folder", str(tmp_path / "demo")])
    demo.start()
    assert demo.wait(within=60) == 0, demo.output()
    text = demo.output()
    for line in (
        "sent to +49 171: 您的订单已发货",
        "RETRY     charge.delay(1001)",
        "order 1001 paid at try 3",
        "ValueError: order 1002 was never paid",
        "20 labels printed",
        "Go on with it:",
    ):
        assert line in text
    demo.assert_gone(within=0.5)


def test_a_demo_whose_worker_dies_says_so_with_its_log(new_process: Callable[..., Process], tmp_path: Path) -> None:
    # A module of the standard library's name, broken, in the worker's folder: the worker cannot start.
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "sqlite3.py").write_text("raise RuntimeError('no database here')\n")
    demo = new_process([sys.executable, "-m", "celeriac", "demo", "--folder", str(folder)])
    demo.start()
    assert demo.wait(within=60) == 1
    assert "celeriac: error:" in demo.output()
    demo.assert_gone(within=0.5)
