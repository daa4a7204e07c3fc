"""When a runner's life is over, and when its successor is asked for."""

from __future__ import annotations

from typing import Any

from celeriac.worker.runner.lifespan import Lifespan


class Said(list[str]):
    def say(self, word: str, **more: Any) -> None:
        self.append(word)


def test_it_runs_exactly_as_many_tasks_and_asks_for_a_successor_before_the_end() -> None:
    said = Said()
    life = Lifespan(10, None, said.say)
    assert life.allow(128, held=3) == 7
    life.ran(6, "t", mean=0.2)
    assert (life.over, said) == (False, [])
    life.ran(3, "t", mean=0.2)
    assert (life.over, said) == (False, ["spent"])
    assert life.allow(128, held=1) == 0
    assert said == ["spent", "over"]
    life.ran(1, "t", mean=0.2)
    assert (life.over, said) == (True, ["spent", "over"])


def test_of_short_tasks_the_successor_is_asked_for_earlier() -> None:
    said = Said()
    Lifespan(100, None, said.say).begin(mean=0.001)
    assert said == ["spent"]


def test_memory_is_looked_at_after_tasks() -> None:
    said, rss = Said(), [50]
    life = Lifespan(None, 100, said.say, rss=lambda: rss[0])
    life.ran(1, "t", 0.1)
    assert not life.over
    rss[0] = 101
    life.ran(1, "t", 0.1)
    assert life.over
    assert said == ["spent", "over"]


def test_who_is_too_large_before_the_first_task_is_not_replaced_for_it() -> None:
    said = Said()
    life = Lifespan(None, 100, said.say, rss=lambda: 101)
    life.ran(1, "t", 0.1)
    assert not life.over
    assert said == ["heavy"]
