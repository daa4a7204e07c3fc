"""The post: news from other threads for the supervisor's loop, as callables that the loop runs."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable


class Post:
    """`put` from any thread; `fileno` becomes readable when there is something to `take`."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)

    def fileno(self) -> int:
        return self._here.fileno()

    def put(self, news: Callable[[], None]) -> None:
        self._queue.put(news)
        try:
            self._there.send(b"!")
        except OSError:
            pass  # full: the loop has been told already; closed: nobody is interested any more

    def take(self) -> list[Callable[[], None]]:
        try:
            self._here.recv(4096)
        except BlockingIOError:
            pass
        news = []
        while not self._queue.empty():
            news.append(self._queue.get_nowait())
        return news

    def close(self) -> None:
        self._here.close()
        self._there.close()
