"""The budget of the hot path: own Python calls per message from `delay` to the stored result. Calls do not vary."""

from __future__ import annotations

from benchmarks.calls import hot_path

#: DESIGN: at most 150 at batch 16, through some 15 files.
MOST_CALLS = 150


def test_a_message_takes_no_more_calls_than_its_budget() -> None:
    counted = hot_path()
    print(counted)
    assert 0 < counted.per_message <= MOST_CALLS
