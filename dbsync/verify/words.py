"""Say a comparison's outcome in words: lines for a person, without markup. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from dbsync.model.names import TableName
from dbsync.verify.report import Difference, Key, Kind, Report, TableReport, only_extras

HEADINGS = ("TABLE", "SOURCE", "UPSTREAM", "MISSING", "EXTRA", "DIFFERENT")
_NAMED = 3
"""So many tables fit into a command that somebody will read."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Count with a noun.

    >>> counted(1, "row"), counted(1204, "row"), counted(2, "batch", "batches")
    ('1 row', '1,204 rows', '2 batches')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def shown_key(key: Key) -> str:
    """Show a key as a row's name.

    >>> shown_key(("SUBJ-0012", "1000", None))
    '(SUBJ-0012, 1000, null)'
    """
    return f"({', '.join('null' if leaf is None else leaf for leaf in key)})"


def cells(table: TableReport) -> tuple[str, ...]:
    """Give a table's line under HEADINGS; a count of nothing is a dash that the eye passes over."""
    if table.problem:
        return (str(table.table), "-", "-", "-", "-", "-")
    counts = (table.missing, table.extra, table.different)
    return (
        str(table.table),
        f"{table.source_rows:,}",
        f"{table.upstream_rows:,}",
        *(f"{count:,}" if count else "-" for count in counts),
    )


def listing(report: Report, *, ignore_extra: bool = False) -> Iterator[str]:
    """Name the rows that differ, one a line, and how many are not listed."""
    shown = [one for one in report.differences if not (ignore_extra and one.kind is Kind.EXTRA)]
    for difference in shown:
        yield f"{difference.table} {shown_key(difference.key)}   {_how(difference)}"
    unnamed = 0 if ignore_extra else sum(table.unnamed for table in report.tables)
    unlisted = report.differing(ignore_extra=ignore_extra) - unnamed - len(shown)
    if unlisted and shown:
        yield f"... and {counted(unlisted, 'row')} more (--limit)"


def remarks(report: Report) -> Iterator[str]:
    """Say what else is worth knowing: what could not be compared, and what was not."""
    for table in report.tables:
        if table.problem:
            yield f"{table.table}: not compared, {table.problem}"
        if table.missing_columns:
            yield f"{table.table}: only one side has {'; '.join(table.missing_columns)}, so it was not compared"
        if table.unnamed:
            yield f"{table.table}: {counted(table.unnamed, 'extra row')} upstream; over this route it does not name them"
        if table.other_origin:
            yield f"{table.table}: {counted(table.other_origin, 'row')} upstream of other origin, left out"
        yield from (f"{table.table}: {note}" for note in table.notes)


def remedies(
    report: Report,
    *,
    ignore_extra: bool = False,
    pending: int | None = None,
    way: str = "",
    held: Collection[TableName] = (),
) -> Iterator[str]:
    """Say what to type next, once for each kind of difference; ``way`` is the option that led to the upstream, if one did.

    Of the tables in ``held`` changes wait in quarantine upstream: sent again, a row would wait behind its own case.
    """
    if pending:
        yield "Try    dbsync run --once   ships what waits; then compare again"
    if any(table.problem or table.missing_columns for table in report.tables):
        yield "Try    dbsync check   says what the two sides lack"
    behind = [t.table for t in report.tables if t.missing or t.different]
    yield from _aside([name for name in behind if name in held])
    yield from _again(way, [name for name in behind if name not in held], alone=not set(behind) & set(held))
    if report.extra and not ignore_extra:
        yield "Extra  Rows of other nodes? Compare with --ignore-extra."
        yield "       Deleted at the source while capture was off? Delete them upstream too."


def _aside(tables: Sequence[TableName]) -> Iterator[str]:
    if tables:
        yield (
            f"Try    {' '.join(['dbsync quarantine list', *map(_word, tables)])}   changes wait there (at the upstream: --here);"
            " decide on these first, and compare again"
        )


def _again(way: str, tables: Sequence[TableName], *, alone: bool) -> Iterator[str]:
    """Say how rows are sent again; where not all tables are meant, each is named."""
    if not tables or not (alone or len(tables) <= _NAMED):
        return
    words = ["dbsync verify", way, "--repair", *(_word(name) for name in tables if len(tables) <= _NAMED)]
    yield f"Try    {' '.join(word for word in words if word)}   sends these rows again"


def repaired(rows: int) -> Iterator[str]:
    """Say what a repair did, and what to type next.

    >>> list(repaired(0))
    ['Repair  no row of the source had to be sent again']
    """
    if not rows:
        yield "Repair  no row of the source had to be sent again"
        return
    yield f"Repair  {counted(rows, 'row')} in the change log once more"
    yield "Try     dbsync run --once   ships them (a running service does so by itself); then compare again"


def closing(report: Report, *, ignore_extra: bool = False, pending: int | None = None) -> Iterator[str]:
    """Give the last lines: the answer, and what may explain it."""
    compared = f"{counted(len(report.tables), 'table')}, {counted(report.source_rows, 'row')}"
    ignored = f" ({counted(report.extra, 'extra row')} upstream ignored)" if ignore_extra and report.extra else ""
    if report.agrees(ignore_extra=ignore_extra):
        yield f"{compared}: source and upstream agree{ignored}."
    else:
        yield f"{compared}: {' and '.join(_disagreements(report, ignore_extra=ignore_extra))}{ignored}."
        if only_extras(report.tables):
            yield "Upstream only has more than the source. If other nodes ship to it too: dbsync verify --ignore-extra"
    if pending:
        yield f"{counted(pending, 'change')} {'is' if pending == 1 else 'are'} not shipped yet."


def moments(asked: datetime | None, answered: datetime | None) -> Iterator[str]:
    """Say of what moment a comparison by stick is.

    >>> list(moments(datetime(2026, 11, 24, 10, 12), datetime(2026, 11, 26, 8, 5)))
    ['As it was on 2026-11-24 10:12 UTC; upstream answered on 2026-11-26 08:05 UTC. What changed since is not in it.']
    """
    if asked is not None and answered is not None:
        yield (
            f"As it was on {asked:%Y-%m-%d %H:%M} UTC; upstream answered on {answered:%Y-%m-%d %H:%M} UTC."
            " What changed since is not in it."
        )


def under_way(*, tables: int, rows: int, again: int) -> Iterator[str]:
    """Say what is asked where no line goes.

    >>> list(under_way(tables=17, rows=1204, again=0))
    ['17 tables, 1,204 rows: asked about by the question under way.']
    >>> list(under_way(tables=1, rows=1204, again=2))
    ['2 rows have changed since they were asked about: they are asked about once more, by the question under way.']
    """
    if again:
        verb = "has" if again == 1 else "have"
        yield (
            f"{counted(again, 'row')} {verb} changed since {'it was' if again == 1 else 'they were'} asked about:"
            f" {'it is' if again == 1 else 'they are'} asked about once more, by the question under way."
        )
    else:
        yield f"{counted(tables, 'table')}, {counted(rows, 'row')}: asked about by the question under way."


def _disagreements(report: Report, *, ignore_extra: bool) -> Iterator[str]:
    tables = sum(bool(table.differing(ignore_extra=ignore_extra)) for table in report.tables)
    if tables:
        rows = report.differing(ignore_extra=ignore_extra)
        yield f"{counted(rows, 'row')} in {counted(tables, 'table')} {'differs' if rows == 1 else 'differ'}"
    lacking = sum(bool(table.problem or table.missing_columns) for table in report.tables)
    if lacking:
        yield f"{counted(lacking, 'table')} could not be compared in full"


def _how(difference: Difference) -> str:
    if difference.kind is Kind.MISSING:
        return "missing" if difference.captured else "missing: not captured yet (known here by its primary key)"
    if difference.kind is Kind.EXTRA:
        return "extra"
    shown = (
        column.column
        if column.source is None and column.upstream is None
        else f"{column.column} {_value(column.source)} -> upstream {_value(column.upstream)}"
        for column in difference.columns
    )
    return f"different: {', '.join(shown)}" if difference.columns else "different"


def _value(value: str | None) -> str:
    return "null" if value is None else repr(value)


def _word(name: TableName) -> str:
    """Write a table as one word of a shell's command line."""
    return shlex.quote(str(name))
