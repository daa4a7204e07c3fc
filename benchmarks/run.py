"""The command: runs the sides of every row in turns, each on a private server, and writes `results.md`.

A row or a side that fails says why, and the others go on. Ctrl-C and SIGTERM end every process that was started.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType

if __package__ in (None, ""):  # run as a file: `python benchmarks/run.py`
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    __package__ = "benchmarks"

from . import report
from .case import Effort, Side
from .catalogue import ROWS, Row
from .client import Figures

HERE = Path(__file__).resolve().parent
QUICK = Effort(seconds=0.5, repeat=1, scale=0.02)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the number of failed rows, at most 1 as an exit status."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _leave)
    effort = QUICK if options.quick else Effort()
    if options.repeat:
        effort.repeat = options.repeat
    rows = _chosen(options)
    if options.list:
        print("\n".join(f"{row.key:20} {row.title}" for row in rows))
        return 0
    # Only whole rows at full counts may stand in the published results.
    name = "results-quick.json" if options.quick or options.peer else "results.json"
    output: Path = options.output or HERE / name
    failed = 0
    for row in rows:
        kept = _run(row, effort, options.peer, options.quick)
        failed += bool(kept["failures"])
        # Written after each row: an interrupted run keeps what it has.
        known = report.read(output) | {row.key: kept}
        report.write(output, known)
        output.with_suffix(".md").write_text(report.document(ROWS, known))
    print(f"\n{output.with_suffix('.md')}")
    return min(failed, 1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small counts, once: proves the harness, says little")
    parser.add_argument("--only", action="append", metavar="ROW", default=[], help="this row (may be repeated)")
    parser.add_argument("--engine", choices=("redis", "sqlite"), help="rows of this engine")
    parser.add_argument("--peer", action="append", choices=report.PEERS, help="this side only (may be repeated)")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions of each side (3)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where rows are kept, FILE.md beside it")
    parser.add_argument("--list", action="store_true", help="print the rows and measure nothing")
    return parser.parse_args(arguments)


def _chosen(options: argparse.Namespace) -> list[Row]:
    wanted = set(options.only)
    rows = [row for row in ROWS if not wanted or {row.key, row.key.partition("-")[2]} & wanted]
    rows = [row for row in rows if options.engine in (None, row.engine.lower())]
    if not rows:
        sys.exit(f"no such row; there are: {' '.join(row.key for row in ROWS)}")
    return rows


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM as an exception, so that every `with` block ends its processes."""
    sys.exit(128 + number)


def _run(row: Row, effort: Effort, peers: list[str] | None, quick: bool) -> report.Stored:
    before = report.load()
    print(f"\n{row.key}: {row.title} (load {before})", flush=True)
    sides = [side for side in (make() for make in row.sides) if peers is None or side.peer.name in peers]
    runs: dict[str, list[Figures]] = {side.peer.name: [] for side in sides}
    failures: dict[str, str] = {}
    for _ in range(min(effort.repeat, row.repeat)):
        for side in sides:
            name = side.peer.name
            if name not in failures:
                _once(row, side, effort, runs[name], failures)
    return report.stored(runs, failures, before=before, quick=quick)


def _once(row: Row, side: Side, effort: Effort, runs: list[Figures], failures: dict[str, str]) -> None:
    """One repetition of one side. A side that failed is not tried again in this row."""
    name = side.peer.name
    side.count = effort.count(side.count) if not runs else side.count
    try:
        with tempfile.TemporaryDirectory(prefix="celeriac-stage-") as directory:
            with closing(row.stage(Path(directory))) as stage:
                figures = row.measure(side, stage, effort)
    except Exception as error:
        failures[name] = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        print(f"  {name:9} FAILED: {failures[name]}", flush=True)
        return
    runs.append(figures)
    text = "; ".join(report.summary(metric, [figures[metric.key]]) for metric in row.metrics)
    print(f"  {name:9} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
