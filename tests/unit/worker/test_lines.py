"""A supervisor's end of a line waits for nobody: a runner reads nothing as long as its task runs."""

from __future__ import annotations

from celeriac.worker.lines import Line


def test_a_runner_that_does_not_read_keeps_nobody_waiting_and_misses_no_word() -> None:
    here, there = Line.pair()
    here.impatient = True
    words = [("pause", {"why": str(n)}) for n in range(2000)] + [("mourn", {"payload": "x" * 64_000})] * 10
    for word, more in words:
        here.say(word, **more)  # 270 words, or four long ones, are all that a socket has room for
    assert not here.push()
    heard = []
    while len(heard) < len(words):
        here.push()
        heard += there.said()
    assert heard == words
    assert here.push()
    there.close()
    here.say("stop")
    assert here.push()  # nothing is kept for the dead
    here.close()
