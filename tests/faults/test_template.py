"""The template dies, and the app cannot be loaded any more, or takes for ever: what a bad deployment does to a node."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.nodes import kill, parent_of
from tests.faults.world import HERE, World
from tests.processes import Node, until


@pytest.fixture
def node(tmp_path: Path, new_world: Callable[..., World], new_node: Callable[..., Node]) -> Node:
    """A node whose app may be changed: `faulty.py` in its working directory."""
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    world = new_world(url, url)
    shutil.copy(HERE / "faulty.py", tmp_path)
    node = new_node("faulty", "-c", "8", cwd=tmp_path, env=world.environment)
    node.start()
    return node


def lose_template(node: Node) -> None:
    kill([pid for pid in node.members() if parent_of(pid) == node.pid])


def test_it_dies_before_its_runners_are_ready(node: Node) -> None:
    """Eight runners that go with it are one false start, not eight."""
    lose_template(node)
    node.expect("starting anew")
    until(lambda: len(node.members()) == 10, what="template and runners are there again")
    assert node.stop(within=10) == 0


def test_the_app_cannot_be_loaded_any_more(node: Node) -> None:
    node.cwd.joinpath("faulty.py").write_text("raise RuntimeError('a bad deployment')")
    lose_template(node)
    node.expect("a bad deployment", times=2)
    assert node.wait(within=30) == 70
    assert node.output().count("starting anew") <= 10, "attempts have pauses between them"


def test_the_app_is_mended_meanwhile(node: Node) -> None:
    app = node.cwd / "faulty.py"
    good = app.read_text()
    app.write_text("raise RuntimeError('a bad deployment')")
    lose_template(node)
    node.expect("a bad deployment")
    app.write_text(good)
    until(lambda: len(node.members()) == 10, what="template and runners are there again")
    assert node.stop(within=10) == 0


def test_loading_hangs(node: Node) -> None:
    """The node hears its signals all the same."""
    node.cwd.joinpath("faulty.py").write_text("print('hanging', flush=True)\nimport time\ntime.sleep(1000)")
    lose_template(node)
    node.expect("^hanging")
    assert node.stop(within=10) == 0
