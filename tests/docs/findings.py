"""The page of findings, made of what the program says of them and of the tests that inject their faults."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from dbsync.check.explained import Explained, explanations

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "findings.md"
SOURCES = [*(ROOT / "dbsync" / "check").glob("*.py"), *(ROOT / "dbsync" / "keys").glob("problems.py"),
           *(ROOT / "dbsync" / "cli").glob("check.py"), *(ROOT / "dbsync" / "service").glob("past.py"),
           *(ROOT / "dbsync" / "relay").glob("check.py")]  # fmt: skip
_SAID = {"ok", "warning", "error", "say"}
_LEAD = """\
# Findings of `dbsync check`

What `dbsync check` can find, what it means, and what to do. Each finding on the screen names the place and a remedy to paste;
`dbsync check --explain CODE` prints what stands here. Codes are stable: scripts may go by them. An error makes the command exit 1, a
warning does not, and *ok* is worth a line. `python -m tests.docs.manual` makes this page, and a test compares it.

`[check]` in [dbsync.toml](config.md) says from when on some of them are warned of.
"""
_TESTED = """\
## Faults, each injected by a test

Each of these is made on purpose in a database that was healthy, told by the check, mended by what its remedy says as far as that
can be typed, and gone.

| | finding | injected in |
|---|---|---|"""


def severities() -> dict[str, set[str]]:
    """Read from the program's own text which findings it makes, and of which severity."""
    found: dict[str, set[str]] = {}
    for source in SOURCES:
        for node in _nodes(source):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
                continue
            said, code = node.func.id.strip("_"), node.args[0]
            if said in _SAID and isinstance(code, ast.Constant) and isinstance(code.value, str):
                found.setdefault(code.value, set()).update({"warning", "error"} if said == "say" else {said})
    return found


def literals() -> set[str]:
    """Give every text that stands in those sources."""
    return {
        node.value
        for source in SOURCES
        for node in _nodes(source)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@retry(retry=retry_if_exception_type(SystemError), stop=stop_after_attempt(5), reraise=True)
def _nodes(source: Path) -> Iterator[ast.AST]:
    """Parse a source; again where another thread parses at the same moment, as whoever shows a traceback does.

    CPython 3.11 then may say "AST constructor recursion depth mismatch" (python/cpython#106905).
    """
    return ast.walk(ast.parse(source.read_text()))


def tested() -> dict[str, list[str]]:
    """Find the tests that inject the fault behind a finding: path and name, by code."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in _nodes(path):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            for code in dict.fromkeys(re.findall(r"(?:recognises|injected)\(\s*'(\w+)'", _decorators(node))):
                found.setdefault(code, []).append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def page() -> str:
    """Make the page."""
    severity = severities()
    groups: dict[str, list[Explained]] = {}
    for one in explanations().values():
        groups.setdefault(one.group, []).append(one)
    lines = [_LEAD]
    for group, members in groups.items():
        lines += [f"## {group}", "", "| finding | | means | what to do |", "|---|---|---|---|"]
        lines += [f"| `{one.code}` | {_said(severity.get(one.code))} | {one.means} | {one.remedy} |" for one in members]
        lines.append("")
    return "\n".join([*lines, _TESTED, *_rows(), ""])


def _rows() -> Iterator[str]:
    by_code = tested()
    told = [code for code in explanations() if code in by_code]
    for number, code in enumerate(told, start=1):
        for place in by_code[code]:
            path, _, name = place.partition("::")
            words = name.removeprefix("test_").replace("_", " ")
            yield f"| {number} | `{code}` | [{words}](../../{path}) |"


def _said(severity: set[str] | None) -> str:
    return " or ".join(one for one in ("ok", "warning", "error") if one in (severity or {"error"}))


def _decorators(node: ast.FunctionDef) -> str:
    return "\n".join(ast.unparse(decorator) for decorator in node.decorator_list)
