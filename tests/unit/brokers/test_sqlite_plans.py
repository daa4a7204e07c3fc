"""No statement of the SQLite broker reads or sorts all of a table that grows with a queue: SQLite's plans say so."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import celeriac.brokers.sqlite as adapter
from celeriac.brokers.registry import open_broker
from celeriac.drivers.sqlite.named import statements

#: Tables of a few rows, and scans that end at a LIMIT.
_ALLOWED = re.compile(
    r"SCAN (numbers|leases|listeners|held|\(subquery-1\)|revoked|past USING COVERING INDEX past_since)$"
)


def test_no_statement_scans_what_grows(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    broker = open_broker(f"sqlite:///{path}")
    broker.open()
    broker.close()
    connection = sqlite3.connect(path)
    odd = {}
    for name, statement in vars(statements(Path(adapter.__file__).with_name("statements.sql"))).items():
        numbered = [int(number) for number in re.findall(r"\?(\d)", statement)]
        count = max(numbered) if numbered else statement.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", [1] * count)]
        odd[name] = [step for step in plan if "TEMP B-TREE" in step or ("SCAN" in step and not _ALLOWED.match(step))]
    connection.close()
    assert {name: steps for name, steps in odd.items() if steps} == {}
    assert len(odd) > 50
