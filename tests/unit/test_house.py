"""The rules of the house that no tool checks by itself: floors, small files, headers, READMEs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "celeriac"
MODULES = sorted(PACKAGE.rglob("*.py"))
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]


def test_floors_stand() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_files_stay_small() -> None:
    files = [path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*")]
    code = [path for path in files if path.suffix in (".py", ".lua", ".sql") and path.is_file()]
    long = {str(path.relative_to(ROOT)): lines for path in code if (lines := len(path.read_bytes().splitlines())) > 500}
    assert not long, "more than one actor lives in a file of more than 500 lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body:
        assert ast.get_docstring(tree), "a module docstring says what it is for and what it must not do"


@pytest.mark.parametrize(
    "path", sorted([*PACKAGE.rglob("*.lua"), *PACKAGE.rglob("*.sql")]), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_every_script_has_a_header(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("--"), "a script begins with what it takes, returns and is for"


def test_both_readmes_show_the_same_commands_and_code() -> None:
    english, chinese = (_code(path) for path in READMES)
    assert english == chinese


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_what_a_readme_links_to_exists(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


def _code(path: Path) -> list[str]:
    """The code blocks without their comments: those are translated."""
    blocks = re.findall(r"^```(?:\w+)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    return [re.sub(r"[ ]*# .*", "", block) for block in blocks]
