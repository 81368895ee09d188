"""``dbsync verify``: say whether source and upstream hold the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, Any

import psycopg
import typer

from dbsync.catalog.inspect import inspect
from dbsync.cli import output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.config.discover import discover
from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.errors import Refusal, UsageError
from dbsync.keys.register import register
from dbsync.model.findings import Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import Connection, connect, translated
from dbsync.service.backlog import backlog
from dbsync.service.resend import repairing
from dbsync.statements import statement
from dbsync.verify import words
from dbsync.verify.direct import Options
from dbsync.verify.direct import verify as compare_databases
from dbsync.verify.report import Report


def verify(  # noqa: PLR0913 - each is an option
    tables: Annotated[
        list[str] | None,
        typer.Argument(metavar="TABLE", help="Names or patterns, such as 'clinic_*'; all tables unless given."),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=0, help="List so many rows that differ; all are counted.")] = 20,
    ignore_extra: Annotated[
        bool,
        typer.Option(
            "--ignore-extra",
            help="Rows that only upstream has are no difference: for an upstream that several nodes ship to.",
        ),
    ] = False,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show the values that differ, not only the columns' names.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Send the source's rows that upstream lacks or has otherwise again, all of them, not only those listed.",
        ),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Compare source and upstream by natural key; change nothing.

    References are compared as the keys they stand for, so ids may differ. Rows are missing (only the source has
    them), extra (only upstream has them) or different. Exits 0 when both sides agree, 1 when they differ. Only
    digests travel, and the keys of what differs. Rows on their way appear as differences.

    With --repair, rows that are missing or different upstream go into the source's change log once more, as they are
    now, and are shipped like any change. Extra rows are never deleted. It still exits 1: run dbsync run --once, then
    compare again.

    JSON: agree (bool), ignore_extra, pending (changes not shipped yet; null if unknown), repaired (rows in the change
    log once more; null without --repair), tables and differences. Each
    of tables: table, source_rows, upstream_rows, missing, extra, different, not_captured (of the missing),
    other_origin, missing_columns, notes, problem (null when it was compared). Each of differences: table, kind, key
    (the leaves as text; the primary key where captured is false), captured, columns (column, source, upstream; the
    values null without --show-values).
    """
    settings = load(discover(config, os.environ), os.environ)
    options = Options(limit=limit, show_values=show_values, progress=_progress)
    found = _compare(settings, tables or (), options, repair=repair)
    if json:
        output.as_json(found.as_json(ignore_extra=ignore_extra))
    else:
        show(found, ignore_extra=ignore_extra)
    if not found.report.agrees(ignore_extra=ignore_extra):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a comparison found, and what was done about it."""

    report: Report
    pending: int | None
    """Changes not shipped yet; None if unknown."""
    repaired: int | None
    """Rows in the change log once more; None where nothing was to be repaired."""

    def as_json(self, *, ignore_extra: bool) -> dict[str, Any]:
        """Give it as ``--json`` prints it."""
        report = self.report.as_json(ignore_extra=ignore_extra, pending=self.pending)
        return {**report, "repaired": self.repaired}


def show(found: Found, *, ignore_extra: bool = False) -> None:
    """Print it for a person: the tables, the first rows that differ, what to do, and the answer last."""
    report, pending, repaired = found.report, found.pending, found.repaired
    output.table(words.HEADINGS, [words.cells(compared) for compared in report.tables], right=words.HEADINGS[1:])
    _block(words.listing(report))
    _block(words.remarks(report))
    if not report.agrees(ignore_extra=ignore_extra):
        _block(words.remedies(report, pending=pending) if repaired is None else words.repaired(repaired))
    _block(words.closing(report, ignore_extra=ignore_extra, pending=pending))


def _compare(settings: Config, patterns: Sequence[str], options: Options, *, repair: bool) -> Found:
    """Compare the tables that are asked for; with ``repair``, send again on the way what upstream lacks."""
    with (
        closing(connect(settings.node.source, name="source")) as source,
        closing(connect(settings.upstream.database, name="upstream")) as upstream,
        repairing(settings) if repair else nullcontext() as mend,
    ):
        registry = _registry(settings, source)
        pending = _pending(source, settings.upstream.label)
        chosen = _selected(registry, patterns)
        report = compare_databases(registry, source, upstream, chosen, options=replace(options, repair=mend))
    _clear()
    return Found(report=report, pending=pending, repaired=mend.rows.total() if mend else None)


def _block(lines: Iterable[str]) -> None:
    """Print lines after an empty one, if there are any."""
    for position, line in enumerate(lines):
        if not position:
            output.line("")
        output.line(line)


def _registry(settings: Config, source: Connection) -> Registry:
    with translated("source"):
        registry, findings = register(settings, inspect(source))
    wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
    if wrong:
        raise Refusal(
            "nothing was compared",
            where=wrong[0].where,
            why=wrong[0].what + (f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""),
            hint="dbsync check",
        )
    return registry


def _selected(registry: Registry, patterns: Sequence[str]) -> list[TableName] | None:
    """Give the shipped tables that names or patterns select; each has to select one."""
    if not patterns:
        return None
    shipped = [table.name for table in registry.shipped()]
    idle = [pattern for pattern in patterns if not any(name.matches(pattern) for name in shipped)]
    if idle:
        raise UsageError(f"no shipped table is called {', '.join(idle)}", hint="dbsync tables --registered")
    return [name for name in shipped if any(name.matches(pattern) for pattern in patterns)]


def _pending(source: Connection, link: str) -> int | None:
    """Count the changes that no receipt covers yet; None where nothing was shipped or the log cannot be read."""
    try:
        if source.execute(statement("changelog", "link"), {"link": link}).fetchone() is None:
            return None
        waiting = backlog(source, link)
    except psycopg.Error:
        return None  # not installed yet, or not for this role: the comparison does not need it
    return sum(table.changes for table in waiting.tables.values())


def _progress(table: TableName, position: int, total: int) -> None:
    """Say on a terminal where the comparison is, on one line that the next one overwrites."""
    if sys.stderr.isatty():
        _clear()
        sys.stderr.write(f"comparing {position}/{total}  {table}")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
