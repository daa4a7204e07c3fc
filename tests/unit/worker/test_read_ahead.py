"""Tiny tasks travel in big batches, long ones alone."""

from __future__ import annotations

from celeriac.worker.runner.read_ahead import ReadAhead


def test_the_unknown_is_taken_alone_and_counts_as_long() -> None:
    ahead = ReadAhead(64)
    assert ahead.limit() == 1
    assert ahead.is_long("never.seen")
    assert not ahead.is_brief(1)


def test_tiny_tasks_grow_the_batch_step_by_step_up_to_the_most() -> None:
    ahead = ReadAhead(64)
    for _ in range(100):
        ahead.learn("tiny", 0.00002)
    assert [ahead.limit() for _ in range(8)] == [2, 4, 8, 16, 32, 64, 64, 64]
    assert not ahead.is_long("tiny")
    assert ahead.is_brief(64)


def test_long_tasks_shrink_it_at_once() -> None:
    ahead = ReadAhead(64)
    for _ in range(100):
        ahead.learn("tiny", 0.00002)
    while ahead.limit() < 64:
        pass
    ahead.learn("long", 30.0)
    assert ahead.limit() == 1
    assert ahead.is_long("long")
    assert not ahead.is_brief(1)


def test_a_bound_of_what_is_reserved_counts_what_runs() -> None:
    ahead = ReadAhead(64, reserved=4)
    for _ in range(100):
        ahead.learn("tiny", 0.00002)
    assert [ahead.limit() for _ in range(4)] == [2, 4, 4, 4]
    assert ahead.limit(held=3) == 1
    assert ahead.is_brief(3)
    assert not ahead.is_brief(4)


def test_messages_that_are_not_to_run_let_it_take_more() -> None:
    ahead = ReadAhead(64)
    for _ in range(40):
        ahead.passed()
    assert [ahead.limit() for _ in range(7)] == [2, 4, 8, 16, 32, 64, 64]
