"""``dbsync backfill``: rows that were there before the triggers."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dbsync import schema
from dbsync.capture.backfill import backfill as run_backfill
from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.errors import UsageError
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import connect, translated
from dbsync.service.install import refuse_without_upstream, registered

SAY_EVERY = 60.0
"""Seconds between two lines where there is no terminal."""


def backfill(
    tables: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TABLE",
            help="Names or patterns; all captured tables unless given.",
            autocompletion=complete.registered,
        ),
    ] = None,
    *,
    again: Annotated[bool, typer.Option("--again", help="Begin anew with tables that were finished before.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put the rows that were there before the triggers into the change log; dbsync run ships them like any change.

    Goes on where it was cut. Rows that the upstream has already are brought up to date, none is doubled.
    """
    chosen = settings(config)
    refuse_without_upstream(chosen)
    with connect(chosen.node.source, name="source") as connection:
        schema.require(connection, "source")
        found = registered(chosen, connection)
        wanted = _wanted(found.registry, tables)
        estimates = {t.name: max(t.table.estimated_rows, 0) for t in found.registry.shipped() if t.name in wanted}
        with _Progress(sum(estimates.values())) as progress, translated("source"):
            rows = run_backfill(connection, found.registry, found.catalog, wanted, progress.advance, again=again)
    if not wanted:
        output.line("nothing to do: dbsync.toml selects no table that is shipped")
        return
    output.line(
        f"{rows:,} rows of {len(wanted):,} tables are in the change log" if rows else "nothing to do: all done before"
    )


def _wanted(registry: Registry, patterns: Sequence[str] | None) -> list[TableName]:
    names = [table.name for table in registry.shipped()]
    if not patterns:
        return names
    for pattern in patterns:
        if not any(name.matches(pattern) for name in names):
            raise UsageError(f"no captured table matches {pattern!r}", hint="dbsync tables --registered")
    return [name for name in names if any(name.matches(pattern) for pattern in patterns)]


class _Progress:
    """A bar on a terminal, a line a minute elsewhere; both on stderr."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,} of about {task.total:,} rows"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = TaskID(0)

    def __enter__(self) -> _Progress:
        self._bar.start()
        self._task = self._bar.add_task("backfill", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, table: TableName, rows: int) -> None:
        """Count rows that are in the change log now."""
        self._done += rows
        self._bar.update(self._task, completed=self._done, total=max(self._total, self._done), description=str(table))
        if not sys.stderr.isatty() and time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            output.talk(f"backfill: {self._done:,} of about {self._total:,} rows, now {table}")
