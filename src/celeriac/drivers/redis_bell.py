"""A self-pipe: what a thread that polls a socket is woken by. It carries no data."""

from __future__ import annotations

import os
import select

from ..foundation.polling import poller


class Bell:
    """`ring` from any thread makes the file descriptor readable until `silence`."""

    __slots__ = ("_reading", "_writing")

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def fileno(self) -> int:
        return self._reading

    def ring(self) -> None:
        """Safe after `close`."""
        try:
            os.write(self._writing, b"!")
        except OSError:
            pass  # full: it rings already; closed: nobody listens

    def silence(self) -> None:
        if select.select([self._reading], [], [], 0)[0]:  # under eventlet even this descriptor's read would wait
            try:
                os.read(self._reading, 4096)
            except BlockingIOError:
                pass

    def sleep(self, seconds: float, also: int | None = None) -> bool:
        """Wait so long; True, and silent again, if it rang or the file descriptor `also` became readable."""
        poll = poller()
        poll.register(self._reading, select.POLLIN)
        if also is not None:
            poll.register(also, select.POLLIN)
        if not poll.poll(1000 * max(0.0, seconds)):
            return False
        self.silence()
        return True

    def close(self) -> None:
        """Safe twice."""
        reading, writing = self._reading, self._writing
        self._reading = self._writing = -1
        if reading >= 0:
            os.close(reading)
            os.close(writing)

    def __del__(self) -> None:
        self.close()
