"""What is wrong with a configuration file, as data with a position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dbsync.config.locate import Loc, Positions, Span
from dbsync.errors import ConfigError

FILE_NAME = "dbsync.toml"
_TOP = Span(line=1, column=1, length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A problem by its path in the document; it has no line yet.

    ``at`` says what to point at: the key, its value, or the section that lacks something.
    ``quoted`` is False where the line would add nothing to the message.
    """

    loc: Loc
    message: str
    hint: str = ""
    at: Literal["key", "value", "section"] = "value"
    quoted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where it stands. Lines and columns count from 1, columns in characters.

    ``source_line`` is the line as written, and may hold a secret: show it through
    :func:`dbsync.config.explain.explain`, which masks it. It is empty where the line would add nothing.
    """

    line: int
    column: int
    length: int
    message: str
    source_line: str = ""
    hint: str = ""
    """What was probably meant: ``did you mean 'key'?``"""

    def at(self, path: Path | str = FILE_NAME) -> str:
        """Give the place as editors and terminals understand it: ``dbsync.toml:21:1``."""
        return f"{path}:{self.line}:{self.column}"


class InvalidConfig(ConfigError):
    """The file was read and cannot be used; ``problems`` has every reason, in the order of the file."""

    def __init__(self, problems: Iterable[Problem], path: Path | str = FILE_NAME) -> None:
        self.problems = tuple(problems)
        self.path = path
        super().__init__(
            f"{counted(len(self.problems))} (nothing was started)",
            where=str(path),
            why="; ".join(f"line {problem.line}: {problem.message}" for problem in self.problems),
            hint="mend the file, then: dbsync check",
        )


def counted(number: int) -> str:
    """Count problems in words: ``1 problem``, ``2 problems``."""
    return "1 problem" if number == 1 else f"{number:,} problems"


def place(faults: Iterable[Fault], text: str, positions: Positions) -> tuple[Problem, ...]:
    """Give every fault its line, in the order of the file."""
    lines = text.split("\n")
    placed = [_placed(fault, lines, positions) for fault in faults]
    return tuple(sorted(placed, key=lambda problem: (problem.line, problem.column)))


def _placed(fault: Fault, lines: list[str], positions: Positions) -> Problem:
    span = positions.key(fault.loc) if fault.at == "key" else positions.value(fault.loc)
    known = span is not None and fault.quoted
    span = span or _TOP
    return Problem(
        line=span.line,
        column=span.column,
        length=span.length,
        message=fault.message,
        source_line=lines[span.line - 1] if known else "",
        hint=fault.hint,
    )
