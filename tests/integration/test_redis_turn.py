"""One turn on a real Redis: what settles together, what is refused, and what a refusal leaves as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import time

import pytest

from celeriac.brokers.base import Counts, Settlement, Shelf, Verdict
from celeriac.brokers.redis import RedisBroker
from celeriac.errors import BrokerError, FencedError, LayoutError, OperationalError
from celeriac.wire.message import Record
from tests.integration.redis_tools import (
    SUCCESS,
    backend_of,
    broker_of,
    done,
    id_of,
    ids,
    outgoing,
    turn,
)
from tests.servers import RedisServer

STARTED = b'{"status": "STARTED", "result": null}'


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[RedisBroker]:
    redis_server.ask("FLUSHALL")
    broker = broker_of(redis_server.url(0))
    broker.enlist("me", ["celery"])
    yield broker
    broker.close()


def count(broker: RedisBroker, queue: str = "celery") -> Counts:
    return broker.count([queue])[queue]


def test_result_acknowledgement_and_follow_ups_are_one_step_over_two_databases(
    broker: RedisBroker, redis_server: RedisServer
) -> None:
    backend = backend_of(redis_server.url(5))
    assert broker.join(backend.identity, backend.location)
    broker.publish([outgoing("a")])
    consumer = broker.consumer("me", ["celery"])
    (delivery,) = turn(consumer, limit=5).deliveries
    answer = turn(consumer, [done(delivery, follow_ups=(outgoing("b", "other"), outgoing("c", "other", 5)))])
    assert answer.refused == ()
    assert backend.get_many(["a", "b"]) == {"a": SUCCESS}
    assert redis_server.ask("PTTL", "celery-task-meta-a", db=5) > 86_000_000
    assert redis_server.ask("EXISTS", "celery-task-meta-a", db=0) == 0
    assert [id_of(payload) for payload in broker.peek("other")] == ["b", "c"]
    assert redis_server.ask("LLEN", "other\x06\x163") == 1
    assert count(broker) == Counts()


def test_a_settlement_that_comes_too_late_is_refused_as_a_whole(broker: RedisBroker, redis_server: RedisServer) -> None:
    backend = backend_of(redis_server.url(1))
    broker.join(backend.identity, backend.location)
    broker.publish([outgoing("a"), outgoing("b"), outgoing("c")])
    consumer = broker.consumer("me", ["celery"])
    first, second, third = turn(consumer, limit=5).deliveries
    assert broker.give_back("me", ["celery"], first.receipt) == third.receipt
    answer = turn(
        consumer,
        [
            done(first),
            done(second),
            done(third, follow_ups=(outgoing("d", "other"),)),
        ],
    )
    assert answer.refused == (second.receipt, third.receipt)
    assert set(backend.get_many(["a", "b", "c"])) == {"a"}
    assert count(broker, "other").ready == 0
    assert [id_of(payload) for payload in broker.peek("celery")] == ["b", "c"]


def test_a_state_on_the_way_never_replaces_the_last_word(broker: RedisBroker, redis_server: RedisServer) -> None:
    backend = backend_of(redis_server.url(1))
    broker.join(backend.identity, backend.location)
    consumer = broker.consumer("me", ["celery"])
    turn(consumer, [Settlement(None, record=Record("a", STARTED, final=False))])
    assert backend.get_many(["a"]) == {"a": STARTED}
    turn(consumer, [Settlement(None, record=Record("a", SUCCESS, expires=None))])
    turn(consumer, [Settlement(None, record=Record("a", STARTED, final=False))])
    assert backend.get_many(["a"]) == {"a": SUCCESS}
    assert redis_server.ask("PTTL", "celery-task-meta-a", db=1) == -1
    backend.put_many([Record("a", STARTED, final=False), Record("b", STARTED, final=False)])
    assert backend.get_many(["a", "b"]) == {"a": SUCCESS, "b": STARTED}


@pytest.mark.parametrize(
    ("document", "final"),
    [
        (b'{"status": "FAILURE"}', True),
        (b'{"status":"REVOKED"}', True),
        (b'{"result": {"status": "SUCCESS"}, "status": "RETRY"}', False),
        (b'{"result": {"status": "RETRY"}, "status": "SUCCESS"}', True),
        (b'{"status": "PROGRESS", "result": "SUCCESS"}', False),
        (b"status: SUCCESS\nresult: 3\n", True),
        (b"\x85\xa6status\xa7SUCCESS\xa6result\x03", True),
        (b"\x80\x04\x95\x00\x8c\x06status\x94\x8c\x07SUCCESS\x94", True),
        (b"nonsense", False),
        (b"", False),
    ],
)
def test_the_last_word_is_known_in_any_serializer(redis_server: RedisServer, document: bytes, final: bool) -> None:
    backend = backend_of(redis_server.url(2))
    backend.put_many([Record("x", document)])
    backend.put_many([Record("x", STARTED, final=False)])
    assert backend.get_many(["x"])["x"] == (document if final else STARTED)


def test_without_a_lease_nothing_is_reserved_or_settled(broker: RedisBroker) -> None:
    broker.publish([outgoing("a"), outgoing("b")])
    consumer = broker.consumer("me", ["celery"])
    (delivery,) = turn(consumer, limit=1).deliveries
    broker.enlist("heir", ["celery"])
    (moved,) = broker.recover("me", ["celery"], "heir")
    assert moved.payload == delivery.payload
    with pytest.raises(FencedError, match="me"):
        turn(consumer, [done(delivery)], 5)
    assert count(broker) == Counts(ready=1, in_flight=1)
    heir = broker.consumer("heir", ["celery"])
    assert turn(heir, [done(moved)]).refused == ()
    assert count(broker) == Counts(ready=1)


def test_recovering_needs_a_lease_that_stands_still(broker: RedisBroker) -> None:
    broker.publish([outgoing("a")])
    turn(broker.consumer("me", ["celery"]), limit=1)
    broker.enlist("heir", ["celery"])
    (counter,) = (value for name, value in broker.leases(["celery"]).items() if name == "me")
    assert broker.renew(["me", "ghost"], ["celery"]) == ["ghost"]
    assert broker.recover("me", ["celery"], "heir", counter) == []
    assert len(broker.recover("me", ["celery"], "heir", counter + 1)) == 1
    assert broker.recover("me", ["celery"], "heir", counter + 1) == []
    with pytest.raises(FencedError):
        broker.recover("me", ["celery"], "nobody")


def test_an_order_survives_priorities_give_back_and_requeue(broker: RedisBroker, redis_server: RedisServer) -> None:
    names = [("p0a", 0), ("p0b", None), ("p3", 3), ("p5", 5), ("p9", 9)]
    broker.publish([outgoing(name, priority=priority) for name, priority in names])
    expected = [name for name, _ in names]
    assert redis_server.ask("LLEN", "celery\x06\x163") == 2
    consumer = broker.consumer("me", ["celery"])
    deliveries = turn(consumer, limit=9).deliveries
    assert ids(deliveries) == expected
    assert [delivery.receipt for delivery in deliveries] == [1, 2, 3, 4, 5]
    assert broker.give_back("me", ["celery"], 0) == 5
    assert redis_server.ask("LLEN", "celery\x06\x163") == 2
    deliveries = turn(consumer, limit=9).deliveries
    assert ids(deliveries) == expected
    assert [delivery.receipt for delivery in deliveries] == [6, 7, 8, 9, 10]
    again = turn(consumer, [Settlement(delivery, Verdict.REQUEUE) for delivery in deliveries], 9).deliveries
    assert ids(again) == expected
    assert [delivery.payload for delivery in again] == [delivery.payload for delivery in deliveries]


def test_put_off_messages_come_back_when_due_the_earliest_first(broker: RedisBroker, redis_server: RedisServer) -> None:
    body = b"the same bytes"
    broker.publish(
        [outgoing("same", body=body), outgoing("same", body=body), outgoing("late"), outgoing("soon", priority=9)]
    )
    # Two messages may have the same bytes: here they are made so.
    redis_server.ask("LSET", "celery", 1, redis_server.ask("LINDEX", "celery", 2))
    consumer = broker.consumer("me", ["celery"])
    deliveries = turn(consumer, limit=9).deliveries
    now = turn(consumer).now
    assert abs(now - time()) < 5
    dues = [now - 3, now - 2, now + 3600, now - 5]
    turn(consumer, [Settlement(d, Verdict.PUT_OFF, due=due) for d, due in zip(deliveries, dues, strict=True)])
    assert count(broker) == Counts(delayed=4)
    assert [round(due - now) for due, _ in broker.delayed("celery")] == [-5, -3, -2, 3600]
    moved, following = broker.promote(["celery"])
    assert moved == 3
    assert following is not None
    assert 3590 < following < 3601
    assert ids(turn(consumer, limit=9).deliveries) == ["same", "same", "soon"]
    assert broker.release("celery") == 1
    assert broker.promote(["celery"]) == (0, None)
    assert ids(turn(consumer, limit=9).deliveries) == ["late"]


def test_suspects_run_alone_and_keep_their_strikes_and_priority(broker: RedisBroker, redis_server: RedisServer) -> None:
    broker.publish([outgoing("a", priority=6), outgoing("b"), outgoing("c")])
    consumer = broker.consumer("me", ["celery"])
    b, c, a = turn(consumer, limit=9).deliveries
    broker.publish([outgoing("d")])
    answer = turn(
        consumer,
        [
            Settlement(a, Verdict.REQUEUE, shelf=Shelf.SUSPECT, strikes=1),
            Settlement(b, Verdict.REQUEUE, shelf=Shelf.SUSPECT),
        ],
        9,
    )
    assert answer.suspects, "c is still held"
    held = [c, *answer.deliveries]
    answer = turn(consumer, [done(delivery, record=None) for delivery in held], 9)
    (alone,) = answer.deliveries
    assert (id_of(alone), alone.shelf, alone.strikes) == ("a", Shelf.SUSPECT, 1)
    assert turn(consumer, limit=9).deliveries == [], "nothing runs beside it"
    broker.give_back("me", ["celery"], 0)
    (again,) = turn(consumer, limit=9).deliveries
    assert (id_of(again), again.strikes) == ("a", 1)
    broker.give_back("me", ["celery"], 0)
    assert count(broker) == Counts(suspects=2)
    (again,) = turn(consumer, limit=9).deliveries
    turn(consumer, [Settlement(again, Verdict.REQUEUE, shelf=Shelf.QUARANTINE, strikes=2)])
    (other,) = turn(consumer, limit=9).deliveries
    assert turn(consumer, limit=9, shelf=Shelf.QUARANTINE).deliveries == []
    (alone,) = turn(consumer, [done(other, record=None)], 9, shelf=Shelf.QUARANTINE).deliveries
    assert (id_of(alone), alone.shelf, alone.strikes) == ("a", Shelf.QUARANTINE, 2)
    turn(consumer, [Settlement(alone, Verdict.REQUEUE)])
    assert redis_server.ask("LLEN", "celery\x06\x166") == 1


def test_dead_letters_keep_bytes_reason_and_priority(broker: RedisBroker, redis_server: RedisServer) -> None:
    broker.publish([outgoing("a", priority=9), outgoing("b")])
    redis_server.ask("LPUSH", "celery", b"\x01no message\n at all\xff")
    consumer = broker.consumer("me", ["celery"])
    b, junk, a = turn(consumer, limit=9).deliveries
    assert junk.payload == b"\x01no message\n at all\xff"
    verdict = Verdict.DEAD
    turn(consumer, [Settlement(a, verdict, reason="lost", detail="line\nbreak ü", task="t", task_id="a")])
    turn(consumer, [Settlement(junk, verdict, reason="undecodable"), Settlement(b, verdict, reason="rejected")])
    assert count(broker) == Counts(dead=3)
    letters = broker.dead_letters(["celery"])
    assert {letter.reason for letter in letters[:2]} == {"undecodable", "rejected"}
    assert letters[2].detail == "line\nbreak ü"
    assert letters[2].payload == a.payload
    by_reason = {letter.reason: letter for letter in letters}
    found = broker.requeue_dead("celery", [by_reason["lost"].id, "celery:99", by_reason["undecodable"].id])
    assert found == [by_reason["lost"].id, by_reason["undecodable"].id]
    again = turn(consumer, limit=9).deliveries
    assert [delivery.payload for delivery in again] == [junk.payload, a.payload]
    assert redis_server.ask("LLEN", "celery\x06\x169") == 0
    assert count(broker) == Counts(in_flight=2, dead=1)


def test_reserving_is_bounded_by_bytes_but_for_the_first(broker: RedisBroker) -> None:
    broker.publish([outgoing(n, body=b"x" * 3000) for n in range(10, 50)])
    consumer = broker.consumer("me", ["celery"])
    size = len(broker.peek("celery", 1)[0])
    assert len(turn(consumer, limit=30, max_bytes=1).deliveries) == 1
    assert ids(turn(consumer, limit=30, max_bytes=20 * size + 1).deliveries) == [str(n) for n in range(11, 31)]
    assert ids(turn(consumer, limit=5, max_bytes=99 * size).deliveries) == [str(n) for n in range(31, 36)]


def test_many_queues_take_turns_and_priorities_go_first(broker: RedisBroker) -> None:
    queues = ["a", "b", "c"]
    broker.enlist("all", queues)
    for queue in queues:
        broker.publish([outgoing(f"{queue}{n}", queue) for n in range(4)])
    broker.publish([outgoing("low", "a", 9)])
    consumer = broker.consumer("all", queues)
    assert sorted(ids(turn(consumer, limit=3).deliveries)) == ["a0", "b0", "c0"]
    singles = [ids(turn(consumer, limit=1).deliveries)[0][0] for _ in range(6)]
    assert sorted(singles[:3]) == sorted(singles[3:]) == queues
    rest = ids(turn(consumer, limit=99).deliveries)
    assert (rest[-1], len(rest)) == ("low", 4)


def test_a_large_settlement_goes_out_in_pieces(broker: RedisBroker, redis_server: RedisServer) -> None:
    backend = backend_of(redis_server.url(1))
    broker.join(backend.identity, backend.location)
    broker.publish([outgoing(n) for n in range(2500)])
    consumer = broker.consumer("me", ["celery"])
    deliveries = [delivery for _ in range(3) for delivery in turn(consumer, limit=5000).deliveries]
    assert len(deliveries) == 2500
    document = b'{"status": "SUCCESS", "result": "%s"}' % (b"x" * 2000)
    broker.publish([outgoing("more")])
    answer = turn(consumer, [done(d, record=Record(id_of(d), document)) for d in deliveries], 5)
    assert answer.refused == ()
    assert ids(answer.deliveries) == ["more"]
    assert count(broker) == Counts(in_flight=1)
    assert len(backend.get_many([str(n) for n in range(2500)])) == 2500


def test_a_key_that_is_no_queue_spoils_nothing(broker: RedisBroker, redis_server: RedisServer) -> None:
    broker.publish([outgoing("a")])
    consumer = broker.consumer("me", ["celery"])
    (delivery,) = turn(consumer, limit=1).deliveries
    redis_server.ask("SET", "taken", "by something else")
    with pytest.raises(BrokerError, match="no queue but a string"):
        turn(consumer, [done(delivery, follow_ups=(outgoing("b", "taken"),))])
    assert turn(consumer, [done(delivery)]).refused == ()
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        broker.publish([outgoing("c", "taken")])


def test_a_full_server_takes_no_new_message_and_lets_workers_finish(new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis(appendfsync=None)
    broker, backend = broker_of(server.url(0)), backend_of(server.url(1))
    broker.join(backend.identity, backend.location)
    broker.enlist("me", ["celery"])
    broker.publish([outgoing("a"), outgoing("b")])
    consumer = broker.consumer("me", ["celery"])
    (first,) = turn(consumer, limit=1).deliveries
    server.ask("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(OperationalError, match="maxmemory"):
        broker.publish([outgoing("c")])
    (second,) = turn(consumer, [done(first)], 1).deliveries
    assert id_of(second) == "b"
    assert turn(consumer, [done(second)]).refused == ()
    assert set(backend.get_many(["a", "b"])) == {"a", "b"}
    # With nothing to acknowledge the first write needs room: refused as a whole, and brought home later.
    consumer.send([Settlement(None, record=Record("d", SUCCESS), follow_ups=(outgoing("e"),))], 0)
    with pytest.raises(OperationalError, match="maxmemory"):
        consumer.receive()
    server.ask("CONFIG", "SET", "maxmemory", 0)
    assert consumer.receive().refused == ()
    assert [id_of(payload) for payload in broker.peek("celery")] == ["e"]


def test_scripts_may_be_forgotten_by_the_server(broker: RedisBroker, redis_server: RedisServer) -> None:
    broker.publish([outgoing("a")])
    consumer = broker.consumer("me", ["celery"])
    turn(consumer)
    redis_server.ask("SCRIPT", "FLUSH")
    (delivery,) = turn(consumer, limit=5).deliveries
    redis_server.ask("SCRIPT", "FLUSH")
    assert turn(consumer, [done(delivery)]).refused == ()
    assert count(broker) == Counts()


def test_a_newer_layout_is_refused(redis_server: RedisServer) -> None:
    redis_server.ask("SET", "celeriac:layout", "2", db=9)
    with pytest.raises(LayoutError, match="layout 2"):
        broker_of(redis_server.url(9))
    broker_of(redis_server.url(9), global_keyprefix="mine:").close()


def test_counts_purge_and_dismiss(broker: RedisBroker) -> None:
    broker.publish([outgoing("a"), outgoing("b", priority=5), outgoing("c")])
    consumer = broker.consumer("me", ["celery"])
    a, c, _ = turn(consumer, limit=9).deliveries
    turn(
        consumer, [Settlement(a, Verdict.PUT_OFF, due=time() + 60), Settlement(c, Verdict.REQUEUE, shelf=Shelf.SUSPECT)]
    )
    broker.publish([outgoing("d", priority=9)])
    assert count(broker) == Counts(ready=1, delayed=1, in_flight=1, suspects=1)
    assert broker.purge(["celery"]) == 3
    assert count(broker) == Counts(in_flight=1)
    broker.dismiss("me", ["celery"])
    assert count(broker) == Counts(ready=1)
    assert broker.leases(["celery"]) == {}
    with pytest.raises(FencedError):
        turn(consumer, limit=1)


def test_no_key_is_left_behind(broker: RedisBroker, redis_server: RedisServer) -> None:
    broker.publish([outgoing("a")])
    consumer = broker.consumer("me", ["celery"])
    (delivery,) = turn(consumer, limit=9).deliveries
    turn(consumer, [done(delivery)])
    broker.dismiss("me", ["celery"])
    left = set(redis_server.ask("KEYS", "*"))
    assert left == {b"celeriac:layout", b"_kombu.binding.celery", b"_kombu.binding_permanent.celery"}
