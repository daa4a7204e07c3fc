"""A user's project in a folder: its files, its workers, its clients. What the end-to-end tests are played on.

Workers and scripts are real processes; a client may also be loaded into this process, from the same file.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.processes import Node, until


class Stage:
    """`env` is that of every process started here; each worker's log goes to a file of its own."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.env = env or {}
        self.nodes: list[Node] = []
        self._loaded: list[ModuleType] = []

    def write(self, name: str, text: str, **words: object) -> Path:
        """A file; `@word@` in the text is replaced."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(text)
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        path.write_text(text, encoding="utf-8")
        return path

    def node(self, *args: str, app: str = "tasks", start: bool = True, cwd: Path | None = None, **options: Any) -> Node:
        """A worker; with `start` it is ready on return."""
        log = self.folder / f"node-{len(self.nodes)}.log"
        env = {**self.env, **options.pop("env", {})}
        node = Node(app, *args, cwd=cwd or self.folder, log=log, env=env, **options)
        self.nodes.append(node)
        if start:
            node.start()
        return node

    def client(self, name: str = "tasks.py") -> ModuleType:
        """The module, loaded into this process as its authors would import it, under its own name."""
        path = self.folder / name
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._loaded.append(module)
        return module

    def python(self, script: str, *, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A script of the user's, in a process of its own, from stdin."""
        return self._run([sys.executable, "-c", textwrap.dedent(script)], cwd, check)

    def cli(self, *args: str, cwd: Path | None = None, check: bool = True) -> str:
        """What `celeriac …` prints."""
        return self._run([sys.executable, "-m", "celeriac", *args], cwd, check).stdout

    def notes(self, name: str = "notes") -> list[str]:
        """The lines that tasks have appended to a file of the folder."""
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def noted(self, line: str, *, times: int = 1, within: float = 15.0) -> None:
        """Wait until the line has been written so often."""
        until(lambda: self.notes().count(line) >= times, within=within, what=f"{line!r} in {self.notes()}")

    def show(self) -> None:
        """Print what the workers have logged: pytest shows it for tests that fail."""
        for node in self.nodes:
            print(f"---- {' '.join(node.command)}\n{node.output()}")

    def close(self) -> None:
        for module in self._loaded:
            if hasattr(module, "app"):
                module.app.close()
        try:
            for node in self.nodes:
                if node.alive:
                    node.stop(within=20)
        finally:
            for node in self.nodes:
                node.assert_gone()

    def _run(self, command: list[str], cwd: Path | None, check: bool) -> subprocess.CompletedProcess[str]:
        run = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert run.returncode == 0 or not check, f"{run.stdout}\n{run.stderr}"
        return run
