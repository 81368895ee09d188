"""Show the problems of a configuration file to the person who has to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dbsync.config.problems import FILE_NAME, Problem, counted
from dbsync.config.redact import MASK, secret_spans

_WIDEST = 100
"""Longer source lines are cut around the place that is meant."""


def explain(problems: Sequence[Problem], path: Path | str = FILE_NAME) -> str:
    """Render problems, each with its place, its line and what was probably meant; secrets are masked.

    ::

        dbsync.toml: 2 problems (nothing was started)
          dbsync.toml:4:7    ${UPSTREAM_PASSWORD} is not set
          dbsync.toml:21:1   unknown key 'keyy'
           21 | keyy = ["number"]
              | ^^^^ did you mean 'key'?
    """
    width = max((len(problem.at(path)) for problem in problems), default=0)
    lines = [f"{path}: {counted(len(problems))} (nothing was started)"]
    for problem in problems:
        lines.append(f"  {problem.at(path):<{width}}   {_message(problem)}")
        lines += _snippet(problem)
    return "\n".join(lines)


def _message(problem: Problem) -> str:
    return problem.message if problem.source_line or not problem.hint else f"{problem.message}: {problem.hint}"


def _snippet(problem: Problem) -> list[str]:
    if not problem.source_line:
        return []
    source, start, stop = _masked(problem.source_line, problem.column - 1, problem.column - 1 + problem.length)
    source, start, stop = _clipped(source, start, stop)
    carets = " " * start + "^" * max(1, stop - start)
    return [f"{problem.line:>5} | {_printable(source)}", f"{'':>5} | {carets} {problem.hint}".rstrip()]


def _masked(source: str, start: int, stop: int) -> tuple[str, int, int]:
    """Mask secrets, and move the underlined range along."""
    for first, last in reversed(secret_spans(source)):
        source = source[:first] + MASK + source[last:]
        start, stop = (_moved(place, first, last) for place in (start, stop))
    return source, start, stop


def _moved(place: int, first: int, last: int) -> int:
    if place <= first:
        return place
    return first + len(MASK) if place <= last else place - (last - first) + len(MASK)


def _clipped(source: str, start: int, stop: int) -> tuple[str, int, int]:
    """Cut a long line to the part around the underlined range."""
    if len(source) <= _WIDEST:
        return source, start, stop
    left = 0 if start < _WIDEST // 2 else start - 20
    window = source[left : left + _WIDEST]
    before, after = "…" if left else "", "…" if left + _WIDEST < len(source) else ""
    start, stop = start - left + len(before), min(stop - left, _WIDEST) + len(before)
    return before + window + after, start, stop


def _printable(source: str) -> str:
    return "".join(character if character.isprintable() else " " for character in source)
