"""What happens in the demo: write the app, start a worker, send tasks, watch them, judge the end, leave no process.

Everything is the real thing: the worker is a process of its own, the queue is the embedded one, and the exit code says
whether every task ended as its source promises.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import states
from .screen import Row, screen

if TYPE_CHECKING:
    from ...client.result import AsyncResult

#: Seconds until the demo gives up.
_PATIENCE = 45.0
#: Seconds between two looks at the tasks.
_TICK = 0.1
#: Seconds for the worker to end by itself.
_GRACE = 10.0


class Order:
    """One task that was sent: what it must come to, and what was seen of it on the way."""

    def __init__(self, call: str, result: AsyncResult[Any], *, end: str = states.SUCCESS, on_the_way: str = "") -> None:
        self.row = Row(call)
        self.result = result
        self._end = end
        self._on_the_way = on_the_way
        self._seen: set[str] = set()

    def look(self) -> None:
        """Bring the row up to date."""
        state, value = self.result.state, self.result.result
        self._seen.add(state)
        self.row.state, self.row.note = state, _note(state, value)

    @property
    def ended(self) -> bool:
        return self.row.state in states.READY_STATES

    @property
    def as_promised(self) -> bool:
        return self.row.state == self._end and (not self._on_the_way or self._on_the_way in self._seen)


def play(folder: Path | None) -> int:
    """The whole demo in `folder` (None: a new temporary one). Returns the exit code: 0 if all went as it should."""
    place = _write_app(folder)
    print(f"The app: {place / 'shop.py'}   (embedded queue in {place / '.celeriac'}, no server)")
    with _worker(place) as (process, log):
        print(f"The worker: celeriac -A shop worker -l info   (process {process.pid}, log in {log})\n", flush=True)
        orders = _send(place)
        trouble = _watch(orders, process)
    if trouble or not all(order.as_promised for order in orders):
        _report(trouble or "not every task ended as it should", orders, log)
        return 1
    _tell(place)
    return 0


def _write_app(folder: Path | None) -> Path:
    place = Path(tempfile.mkdtemp(prefix="celeriac-demo-")) if folder is None else folder.absolute()
    place.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("shop.py").read_text(encoding="utf-8")
    (place / "shop.py").write_text(source, encoding="utf-8")
    # Whatever queue the environment names is not ours to play with.
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_CONFIG_MODULE"):
        os.environ.pop(name, None)
    os.environ["CELERIAC_HOME"] = str(place / ".celeriac")
    return place


@contextmanager
def _worker(place: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A worker in a session of its own: asked to end at the end, and made to if it does not."""
    log = place / "worker.log"
    command = [sys.executable, "-m", "celeriac", "-A", "shop", "worker", "-l", "info", "-c", "2"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=place, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process, log
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # as it should be
        pass
    process.wait()


def _send(place: Path) -> list[Order]:
    """Import the app as any producer would, and call its tasks."""
    sys.path.insert(0, str(place))
    shop: Any = importlib.import_module("shop")
    texts = ("your order is on its way", "您的订单已发货", "ваш заказ отправлен")
    orders = [
        Order(f"send_sms.delay('+49 {number}', …)", shop.send_sms.delay(f"+49 {number}", text))
        for number, text in enumerate(texts, 170)
    ]
    orders.append(Order("charge.delay(1001)", shop.charge.delay(1001), on_the_way=states.RETRY))
    orders.append(Order("refund.delay(1002)", shop.refund.delay(1002), end=states.FAILURE))
    orders.append(Order("print_labels.delay(20)", shop.print_labels.delay(20), on_the_way="PROGRESS"))
    return orders


def _watch(orders: list[Order], process: subprocess.Popen[bytes]) -> str:
    """Show the tasks until all have ended. Returns what went wrong meanwhile, else nothing."""
    deadline = time.monotonic() + _PATIENCE
    with screen() as shown:
        while True:
            for order in orders:
                if not order.ended:
                    order.look()
            shown.show([order.row for order in orders])
            if all(order.ended for order in orders):
                return ""
            if time.monotonic() > deadline:
                return f"not all tasks ended within {_PATIENCE:.0f} s"
            try:
                return f"the worker ended with exit code {process.wait(_TICK)}"
            except subprocess.TimeoutExpired:
                continue


def _note(state: str, value: Any) -> str:
    if state == "PROGRESS" and isinstance(value, dict):  # the state may be older than the value
        return "{bar:<20} {current}/{total}".format(bar="#" * (20 * value["current"] // value["total"]), **value)
    if isinstance(value, BaseException):
        text = f"{type(value).__name__}: {value}"
        return f"{text}; again in 1 s" if state == states.RETRY else text
    return "" if value is None else str(value)


def _report(trouble: str, orders: list[Order], log: Path) -> None:
    print(f"celeriac: error: {trouble}", file=sys.stderr)
    for order in orders:
        mark = "ok" if order.as_promised else "!!"
        print(f"  {mark} {order.row.state:<8} {order.row.call}  {order.row.note}", file=sys.stderr)
    text = log.read_text(encoding="utf-8", errors="replace")
    print(f"The worker's log ({log}):\n{text}", file=sys.stderr)


def _tell(place: Path) -> None:
    # In an environment that is not active the command is not on the path.
    command = "celeriac" if shutil.which("celeriac") else f"{sys.executable} -m celeriac"
    print(
        f"""
What happened: three messages were sent; `charge` failed twice, waited in the queue and was tried again; `refund`
failed for good, and its ValueError came back to the caller; `print_labels` told how far it was.

Go on with it:
  cd {place}
  {command} -A shop worker -l info &
  {command} -A shop call send_sms --args='["+49 171", "hello"]'
  {command} -A shop queues
Then read shop.py there (30 lines), the quickstart in README.md, and docs/architecture.md."""
    )
