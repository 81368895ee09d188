"""What the commands print: data on stdout, talk on stderr."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from json import dumps
from typing import Literal

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dbsync.check.explained import Explained
from dbsync.errors import DbsyncError
from dbsync.model.findings import Finding, Severity, is_fine

_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
_WIDE = 100_000
_FOLDED = 8
"""The least width of a column whose cells may be folded."""
_GAP = 2
_UTF_8 = {"utf-8", "utf8"}


def line(text: str) -> None:
    """Print a line of data."""
    _data().print(text, markup=False, soft_wrap=True)


def talk(text: str) -> None:
    """Say something to the person; it is no data, and where it cannot be said the work goes on."""
    with suppress(OSError):
        Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def as_json(value: object) -> None:
    """Print a value as one JSON document."""
    sys.stdout.write(json_text(value, orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def json_text(value: object, option: int = 0) -> str:
    r"""Write a value as JSON; on a stdout that has not every letter, with JSON's own escapes in place of those beyond ASCII.

    >>> _escaped('{"name": "Ñandú"}')
    '{"name": "\\u00d1and\\u00fa"}'
    """
    text = orjson.dumps(value, option=option).decode()
    return text if (sys.stdout.encoding or "utf-8").lower() in _UTF_8 else _escaped(text)


def _escaped(text: str) -> str:
    """Escape what is not ASCII; in JSON that stands within strings only."""
    return text if text.isascii() else "".join(one if one.isascii() else dumps(one)[1:-1] for one in text)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows under headings; the columns named in ``right`` hold numbers. Only a terminal cuts long cells.

    Numbers and the names of tables it never cuts: where they do not fit beside each other, they stand below each other.
    """
    console, lines = _data(), [list(row) for row in rows]
    whole = {place for place, heading in enumerate(headings) if heading in right or not place or heading == "TABLE"}
    if console.width < _least_width(headings, lines, whole):
        _stacked(console, headings, lines)
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for place, heading in enumerate(headings):
        justify: Literal["left", "right"] = "right" if heading in right else "left"
        grid.add_column(heading, justify=justify, overflow="fold", no_wrap=place in whole)
    for line_ in lines:
        grid.add_row(*map(Text, line_))
    console.print(grid)


def _least_width(headings: Sequence[str], lines: Sequence[Sequence[str]], whole: Collection[int]) -> int:
    """Give the width below which something would be cut that is to stay whole."""
    columns = [[heading, *(row[place] for row in lines)] for place, heading in enumerate(headings)]
    widths = [max(map(cell_len, column)) for column in columns]
    return sum(w if place in whole else min(w, _FOLDED) for place, w in enumerate(widths)) + _GAP * (len(headings) - 1)


def _stacked(console: Console, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print each row as some lines, one a column."""
    width = max(map(cell_len, headings))
    for first, *others in lines:
        console.print(Text.assemble((f"{headings[0].strip()} ", "dim"), first.strip()), soft_wrap=True)
        for heading, cell in zip(headings[1:], others, strict=True):
            console.print(Text.assemble((f"  {heading:<{width}}  ", "dim"), cell), soft_wrap=True)


def failure(error: DbsyncError) -> None:
    """Print an error with its four parts: what, where, why, and what to type next."""
    talk(f"dbsync: {error.what}")
    for label, text in (("where", error.where), ("why", error.why), ("try", error.hint)):
        if text:
            talk(f"  {label.ljust(5)}  {text}")


def findings(found: Sequence[Finding]) -> None:
    """Print findings with their remedies, one after the other."""
    console = _data()
    width = max((len(finding.where) for finding in found), default=0)
    width = min(width, 36)
    for finding in found:
        head = Text()
        head.append(f"{finding.severity.value:<9}", style=_COLOURS[finding.severity])
        head.append(f"{finding.where:<{width}}  {finding.what}")
        if finding.severity is not Severity.OK:  # what --explain wants to know
            head.append(f"   {finding.code}", style="dim")
        console.print(head, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<9}{'try':>{width}}  {finding.remedy}", style="dim"), soft_wrap=True)


def findings_json(found: Sequence[Finding], *, fine: bool) -> None:
    """Print findings as ``{"ok": ..., "findings": [...]}``."""
    as_json({"ok": fine, "findings": [asdict(finding) for finding in found]})


def checked(found: Sequence[Finding], *, json: bool) -> None:
    """Print what a check found, and exit 1 where something stands in the way."""
    fine = is_fine(found)
    if json:
        findings_json(found, fine=fine)
    else:
        findings(found)
        talk(f"{summary(found)}{'' if fine else ': mend the errors before anything is started'}")
    if not fine:
        raise typer.Exit(1)


def explained(found: Explained) -> None:
    """Print what a finding means."""
    for label, text in (("code", found.code), ("means", found.means), ("try", found.remedy)):
        line(f"{label:<6} {text}")


def summary(found: Sequence[Finding]) -> str:
    """Count findings in words: ``2 errors, 1 warning``."""
    parts = []
    for severity in (Severity.ERROR, Severity.WARNING):
        number = sum(finding.severity is severity for finding in found)
        if number:
            parts.append(f"{number:,} {severity.value}{'' if number == 1 else 's'}")
    return ", ".join(parts) or "nothing is wrong"


def _data() -> Console:
    """Give a console on stdout as it is now; what goes to a pipe is as wide as it needs to be."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
