"""The app of the bad citizens: tasks that do to their process what no task should, and ordinary ones beside them."""

from __future__ import annotations

import ctypes
import itertools
import locale
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from celeriac import Celery
from celeriac.result import allow_join_result

app = Celery("citizens", broker=os.environ["FAULT_BROKER"], backend=os.environ["FAULT_BACKEND"])
app.conf.worker_lease = 3.0
for _name in ("celery.app.trace", "celery.worker.strategy"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

#: Where `meet` notes who came.
_HALL = Path(os.environ["FAULT_HALL"])


@app.task
def ordinary(number: int) -> int:
    return number * 2


@app.task
def meet(name: str, guests: int) -> int:
    """Ends when so many of the same name run at once: then so many runners serve."""
    (_HALL / f"{name}.{os.getpid()}-{threading.get_ident()}").touch()
    deadline = time.monotonic() + 10
    while len(list(_HALL.glob(f"{name}.*"))) < guests:
        assert time.monotonic() < deadline, "nobody else came"
        time.sleep(0.005)
    return os.getpid()


# -- those that end their process --------------------------------------------------------------------------------------


@app.task
def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def reads_address_zero() -> None:
    ctypes.string_at(0)


@app.task
def leaves_at_once() -> None:
    os._exit(3)


# -- exceptions that are no good ---------------------------------------------------------------------------------------


class WithLock(Exception):
    """Cannot be pickled, nor made again from its args."""

    def __init__(self, lock: Any, *, named: int) -> None:
        super().__init__(lock, named)
        self.lock = lock
        self.named = named


class Irreducible(Exception):
    def __reduce__(self) -> NoReturn:
        raise RuntimeError("not to be reduced")


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Falling(BaseException):
    """No Exception."""


@app.task
def raises_with_lock() -> None:
    raise WithLock(threading.Lock(), named=1)


@app.task
def raises_irreducible() -> None:
    raise Irreducible("here", {1, 2})


@app.task
def raises_speechless() -> None:
    raise Speechless("unheard")


@app.task
def raises_falling() -> None:
    raise Falling("down")


@app.task
def raises_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


@app.task
def raises_generator_exit() -> None:
    raise GeneratorExit


@app.task
def exits() -> None:
    sys.exit()


@app.task
def exits_with_a_code() -> None:
    sys.exit(3)


@app.task
def raises_half_a_character() -> None:
    raise ValueError("half \ud83d")


@app.task
def raises_a_book() -> None:
    raise ValueError("x" * 20_000_000)


@app.task
def recurses() -> int:
    def deeper(depth: int) -> int:
        return deeper(depth + 1) + 1

    return deeper(0)


@app.task
def raises_a_long_chain() -> None:
    error: Exception | None = None
    for number in range(3000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    assert error is not None
    raise error


# -- results that are no good ------------------------------------------------------------------------------------------


@app.task
def returns_a_lock() -> Any:
    return {"deep": [threading.Lock()]}


@app.task
def returns_itself() -> Any:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@app.task
def returns_a_well() -> Any:
    well: list[Any] = []
    for _ in range(100_000):
        well = [well]
    return well


@app.task
def returns_half_a_character() -> str:
    return "half \ud83d"


@app.task
def returns_a_book() -> str:
    return "x" * 20_000_000


@app.task
def returns_a_generator() -> Any:
    return (number for number in range(3))


# -- those that leave their process in disorder ------------------------------------------------------------------------


@app.task
def eats_memory() -> None:
    """The limit stays: the runner goes on with what is left."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    list(map(bytearray, itertools.repeat(1 << 16)))


@app.task
def eats_every_crumb() -> None:
    """Down to the last few bytes, and it keeps them: nothing is left for the runner."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (16 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    size = 1 << 20
    while size >= 64:
        try:
            while True:
                _LEFT.append(bytearray(size))
        except MemoryError:
            size >>= 1
    raise MemoryError("every crumb")


_LEFT: list[Any] = []


@app.task
def forks_and_calls() -> list[str]:
    """The child calls a task, waits for its result and returns from the body; the parent says what came."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        with allow_join_result():
            os.write(writing, str(ordinary.delay(21).get(timeout=10)).encode())
        return ["the child's"]
    os.close(writing)
    with open(reading, encoding="ascii") as pipe:
        told = pipe.read()
    os.wait()
    return ["the parent's", told]


@app.task
def forks_many() -> list[int]:
    """Each child calls and waits for nothing; they end in four ways."""
    children = []
    for how in range(4):
        child = os.fork()
        if child == 0:
            ordinary.delay(how)
            if how == 0:
                os._exit(5)
            if how == 1:
                sys.exit(6)
            if how == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return [-1]
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@app.task
def leaves_threads() -> str:
    for daemon in (True, False):
        for _ in range(3):
            threading.Thread(target=threading.Event().wait, daemon=daemon).start()
    return "left"


@app.task
def closes_descriptors() -> str:
    os.closerange(3, 4096)
    return "closed"


@app.task
def closes_standard_streams() -> str:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
    for fd in range(3):
        try:
            os.close(fd)
        except OSError:
            pass
    return "closed"


@app.task
def replaces_handlers() -> str:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    return "ignored"


@app.task
def deletes_its_folder() -> bool:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)
    return not os.path.exists(folder)


@app.task
def changes_its_language() -> str:
    os.environ.update(LC_ALL="C", LANG="C", TZ="Pacific/Kiritimati")
    time.tzset()
    os.umask(0o777)
    return locale.setlocale(locale.LC_ALL, "C")


@app.task
def changes_the_interpreter() -> str:
    sys.setrecursionlimit(120)
    sys.setswitchinterval(10)
    warnings.simplefilter("error")
    logging.disable()
    logging.getLogger().handlers.clear()
    return "changed"


@app.task
async def blocks_the_loop() -> str:
    """For longer than a lease."""
    time.sleep(4.0)
    return "blocked"


@app.task
def starts_programs() -> str:
    """One is waited for, one is not: it ends by itself."""
    subprocess.Popen(["sleep", "0.2"])
    return subprocess.run(["echo", "said"], capture_output=True, text=True, check=True).stdout
