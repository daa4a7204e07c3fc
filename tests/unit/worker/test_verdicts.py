"""What becomes of the deliveries of the dead: neighbours of a message that kills are never convicted with it."""

from __future__ import annotations

from celeriac.brokers.base import Delivery, Settlement, Shelf, Verdict
from celeriac.worker.supervisor import verdicts
from celeriac.worker.supervisor.fates import Lost, Terminated, TimedOut


class Judge:
    """Convicts and does no more."""

    max_strikes = 3

    def convict(self, delivery: Delivery, strikes: int, how: str) -> Settlement:
        return Settlement(delivery, Verdict.DEAD, reason="lost", detail=how, strikes=strikes)

    def lost(self, delivery: Delivery, fate: Lost) -> Settlement | None:
        return None

    def timed_out(self, delivery: Delivery, fate: TimedOut) -> Settlement:
        return Settlement(delivery, reason=f"limit {fate.limit}")

    def terminated(self, delivery: Delivery, fate: Terminated) -> Settlement:
        return Settlement(delivery, reason=f"signal {fate.signal}")


judge = Judge()


def delivery(receipt: int, strikes: int = 0, shelf: Shelf = Shelf.READY) -> Delivery:
    return Delivery("celery", 100 + receipt, b"{}", strikes, shelf, was=receipt)


def test_only_what_ran_when_its_runner_died_gets_a_strike() -> None:
    settled = verdicts.after_runner_death([delivery(1), delivery(2), delivery(3)], {2: Lost("signal 9")}, judge)
    assert [(s.shelf, s.strikes) for s in settled] == [(Shelf.READY, 0), (Shelf.SUSPECT, 1), (Shelf.READY, 0)]
    assert all(s.verdict is Verdict.REQUEUE for s in settled)


def test_nothing_ran_when_its_runner_died() -> None:
    settled = verdicts.after_runner_death([delivery(1), delivery(2)], {}, judge)
    assert [s.strikes for s in settled] == [0, 0]


def test_the_third_death_of_its_process_convicts() -> None:
    (settled,) = verdicts.after_runner_death([delivery(7, 2, Shelf.SUSPECT)], {7: Lost("signal 11 (SIGSEGV)")}, judge)
    assert settled.verdict is Verdict.DEAD
    assert settled.strikes == 3
    assert settled.detail == "signal 11 (SIGSEGV)"


def test_what_ran_in_runners_that_died_of_one_cause_is_suspected_and_not_convicted() -> None:
    held = [delivery(7, 2, Shelf.SUSPECT)]
    (settled,) = verdicts.after_runner_death(held, {7: Lost("its template died", definite=False)}, judge)
    assert (settled.verdict, settled.shelf, settled.strikes) == (Verdict.REQUEUE, Shelf.QUARANTINE, 3)


def test_all_that_a_dead_node_held_is_suspected_and_none_convicted() -> None:
    held = [delivery(1), delivery(2, 2, Shelf.QUARANTINE), delivery(3, 9, Shelf.SUSPECT)]
    settled = verdicts.after_node_death(held, "node died", judge)
    assert all(s.verdict is Verdict.REQUEUE for s in settled)
    assert [(s.shelf, s.strikes) for s in settled] == [
        (Shelf.SUSPECT, 1),
        (Shelf.QUARANTINE, 3),
        (Shelf.QUARANTINE, 10),
    ]


def test_alone_on_a_node_that_died_is_definite() -> None:
    (settled,) = verdicts.after_node_death([delivery(1, 2, Shelf.QUARANTINE)], "node died", judge)
    assert settled.verdict is Verdict.DEAD


def test_what_a_supervisor_was_passing_on_keeps_its_strikes() -> None:
    (settled,) = verdicts.unharmed([delivery(1, 2, Shelf.SUSPECT)])
    assert (settled.verdict, settled.shelf, settled.strikes) == (Verdict.REQUEUE, Shelf.SUSPECT, 2)


def test_a_verdict_survives_an_outage() -> None:
    judged = Settlement(delivery(1, 2), Verdict.DEAD, reason="lost", strikes=3)
    first, second = verdicts.resumed([delivery(1, 2), delivery(2, 1, Shelf.SUSPECT)], {1: judged})
    assert (first.verdict, first.strikes, first.delivery) == (Verdict.DEAD, 3, delivery(1, 2))
    assert (second.verdict, second.shelf, second.strikes) == (Verdict.REQUEUE, Shelf.SUSPECT, 1)


def test_what_we_ended_because_of_one_run_is_that_runs_fate_alone() -> None:
    held = [delivery(1), delivery(2), delivery(3)]
    settled = verdicts.after_runner_death(held, {1: TimedOut(5.0), 3: Terminated(15)}, judge)
    assert [(s.verdict, s.reason, s.strikes) for s in settled] == [
        (Verdict.DONE, "limit 5.0", 0),
        (Verdict.REQUEUE, "", 0),
        (Verdict.DONE, "signal 15", 0),
    ]
