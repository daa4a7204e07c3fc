"""Chords whose members run partly on a stock worker and partly on ours: one set, in Celery's keys, completed once."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

import celery
import pytest

import celeriac
from celeriac.errors import ChordError
from tests.interop.peers import OURS, SHARED, STOCK, Market, other
from tests.processes import until

pytest.importorskip("celery")

CANVAS: dict[str, ModuleType] = {OURS: celeriac, STOCK: celery}


def send(market: Market, kind: str, tag: str, bad: int | None = None) -> Any:
    """A chord of 20 members; one of them fails where `bad` says so."""
    shop = market.client[kind]
    members = [shop.member.s(tag, number, number == bad).set(queue=SHARED) for number in range(20)]
    return CANVAS[kind].chord(members)(shop.total.s(tag).set(queue=SHARED))


def idle(market: Market) -> None:
    """When this has run on both, nothing that came before is on its way any more."""
    for kind in (OURS, STOCK):
        assert market.client[kind].add.apply_async((1, 1), queue=kind).get(timeout=15) == 2


def test_the_body_runs_once_whoever_runs_the_members(market: Market) -> None:
    chords = {f"chord-{kind}-{turn}": (kind, turn) for turn in range(5) for kind in (OURS, STOCK)}
    results = {tag: send(market, kind, tag) for tag, (kind, _) in chords.items()}
    assert {tag: result.get(timeout=30) for tag, result in results.items()} == dict.fromkeys(chords, sum(range(20)))
    idle(market)
    notes = [note for note in market.notes() if note[-1] in chords]
    members = Counter((note[2], note[3]) for note in notes if note[1] == "member")
    assert set(members.values()) == {1}
    assert len(members) == 200
    assert Counter(note[2] for note in notes if note[1] == "total") == Counter(list(chords))
    shares = Counter((note[0], note[1]) for note in notes)
    print(f"shares: {shares}")
    assert {library for library, _ in shares} == {"celeriac", "celery"}
    assert "celeriac.chord_body" not in market.worker[STOCK].output()
    assert market.server.ask("KEYS", f"celeriac:*{SHARED}*:own") == []


@pytest.mark.parametrize("kind", [OURS, STOCK])
def test_a_member_that_fails_ends_the_chord_once_all_have_ended(market: Market, kind: str) -> None:
    tag = f"bad-chord-{kind}"
    result = send(market, kind, tag, bad=7)
    until(lambda: result.state == "FAILURE", within=30, what="the chord ends")
    idle(market)
    for seen in market.reads(result.id):
        assert type(seen.result).__name__ == ChordError.__name__
        assert "ValueError" in str(seen.result)
    notes = [note for note in market.notes() if note[-1] == tag]
    assert len([note for note in notes if note[1] == "member"]) == 20
    assert [note for note in notes if note[1] == "total"] == []


@pytest.mark.parametrize("last", [OURS, STOCK])
def test_results_of_a_stock_chord_come_in_its_shape(market: Market, last: str) -> None:
    """A member that gives several results, whoever completes the chord."""
    shop, name = market.client[STOCK], f"go-shape-{last}"
    first, one, two = (shop.add.s(*args).set(queue=other(last)) for args in ((1, 1), (1,), (2,)))
    several = celery.chain(first, celery.group(one, two))
    result = celery.chord([several, shop.last.s(name).set(queue=last)])(shop.echo.s().set(queue=last))
    key = f"celery-taskset-meta-{result.parent.id}.j"
    until(lambda: market.server.ask("ZCARD", key, db=1) == 2, what="all but one are counted")
    (market.folder / name).touch()
    assert result.get(timeout=15) == [[[[3, 4], "last"]], {}]


def test_what_either_has_counted_the_other_reads(market: Market) -> None:
    """Values of every kind, all members on one worker, the one that completes on the other."""
    values = [None, "ä", 1.5, [1, {"a": []}], {"x": None}, float("inf"), 2**70]
    for kind, first, last in ((OURS, OURS, STOCK), (STOCK, STOCK, OURS)):
        shop = market.client[kind]
        members = [shop.give.s(value).set(queue=first) for value in values]
        # The last one waits for the others, which its worker has not.
        members.append(shop.last.s(f"go-{kind}").set(queue=last))
        result = CANVAS[kind].chord(members)(shop.echo.s().set(queue=last))
        until(
            lambda key=f"celery-taskset-meta-{result.parent.id}.j": (
                market.server.ask("ZCARD", key, db=1) == len(values)
            ),
            what="all but one are counted",
        )
        (market.folder / f"go-{kind}").touch()
        assert result.get(timeout=15) == [[[*values, "last"]], {}]
