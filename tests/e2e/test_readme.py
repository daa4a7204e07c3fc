"""The README's quickstart, run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.processes import Node

README = Path(__file__).parents[2] / "README.md"


def test_the_quickstart(new_node: Callable[..., Node], tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    module = next(block for block in blocks if "def add" in block)
    script = next(block for block in blocks if "from tasks import add" in block)
    (tmp_path / "tasks.py").write_text(module, encoding="utf-8")
    new_node("tasks", "-c", "1", loglevel="WARNING").start(ready=False)
    (tmp_path / "use.py").write_text(_checked(script), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr


def _checked(script: str) -> str:
    """The script, with what its comments promise asserted."""
    promised = re.sub(r"^(add\.delay.*?)\s+# (\d+)$", r"assert \1 == \2", script, flags=re.MULTILINE)
    assert promised != script
    kept = promised.replace("add.send_many", "many = add.send_many")
    return f"{kept}\nassert [result.get(timeout=30) for result in many] == [2 * n for n in range(10_000)]\n"
